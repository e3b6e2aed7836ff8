package glance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Quota is one limit of a project.
type Quota struct {
	Name  string `json:"name"`  // as Glance calls it: image_size_total (MiB), image_count_total, ...
	Limit int64  `json:"limit"` // -1: unlimited
	Used  int64  `json:"used"`
}

// Health is what Check found out about a cluster.
type Health struct {
	Cluster    string   `json:"cluster"`
	User       string   `json:"user"`
	Project    string   `json:"project"`
	ProjectID  string   `json:"project_id"`
	Roles      []string `json:"roles"`
	Endpoint   string   `json:"endpoint"`    // of Glance
	Versions   []string `json:"versions"`    // of Glance's API, newest first
	CanCreate  bool     `json:"can_create"`  // proven: an empty hidden image was made and deleted
	CanPublish bool     `json:"can_publish"` // visibility public, proven alike
	Quotas     []Quota  `json:"quotas"`      // empty where Glance shows none
	Problems   []string `json:"problems"`    // what will not work, and what to do about it
}

// versionThatHides of Glance's API brought os_hidden; later ones list it, too.
const versionThatHides = "v2.7"

// Check finds out whether a cluster can be used: login, project, roles, Glance
// and the versions of its API, the right to create images and public ones
// (proven with an empty, hidden image that exists for a moment), quotas. An
// error is a *ClusterError whose Hint says what to do; the Health has then
// what was found until there. Check does not repeat what fails.
func (r Releaser) Check(ctx context.Context, cluster string) (Health, error) {
	health := Health{Cluster: cluster}
	s, err := r.job().login(ctx, cluster)
	if err != nil {
		return health, err
	}
	defer s.close()
	health.User, health.Project, health.ProjectID, health.Roles = s.user, s.project.Name, s.project.ID, s.roles
	health.Endpoint = s.image.Endpoint
	if health.Versions, err = s.versions(ctx); err != nil {
		return health, err
	}
	if !slices.Contains(health.Versions, versionThatHides) {
		health.Problems = append(health.Problems, "Glance cannot hide images: an upgrade to OpenStack Rocky or later is needed; its API has "+
			strings.Join(health.Versions, " "))
	}
	if health.Quotas, err = s.quotas(ctx); err != nil {
		return health, err
	}
	for _, q := range health.Quotas {
		if q.Limit >= 0 && q.Used >= q.Limit {
			health.Problems = append(health.Problems,
				fmt.Sprintf("quota %s is used up (%d of %d): delete images or ask for more", q.Name, q.Used, q.Limit))
		}
	}
	if health.CanPublish, err = s.mayCreate(ctx, images.ImageVisibilityPublic); err != nil {
		return health, err
	}
	health.CanCreate = health.CanPublish
	if !health.CanCreate {
		if health.CanCreate, err = s.mayCreate(ctx, images.ImageVisibilityPrivate); err != nil {
			return health, err
		}
	}
	if !health.CanCreate {
		health.Problems = append(health.Problems, s.describe()+" may not create images: ask for the role member")
	}
	return health, nil
}

// versions asks for the versions of Glance's API.
func (s *session) versions(ctx context.Context) ([]string, error) {
	var answer struct {
		Versions []struct {
			ID string `json:"id"`
		} `json:"versions"`
	}
	err := s.call(ctx, "endpoint", func(ctx context.Context) error {
		_, err := s.image.Get(ctx, s.image.Endpoint, &answer,
			&gophercloud.RequestOpts{OkCodes: []int{http.StatusOK, http.StatusMultipleChoices}})
		return err
	})
	var ids []string
	for _, version := range answer.Versions {
		ids = append(ids, version.ID)
	}
	return ids, err
}

// quotas asks for the project's limits; older Glance does not know the question.
func (s *session) quotas(ctx context.Context) ([]Quota, error) {
	var answer struct {
		Usage map[string]struct {
			Limit int64 `json:"limit"`
			Usage int64 `json:"usage"`
		} `json:"usage"`
	}
	err := s.call(ctx, "check", func(ctx context.Context) error {
		_, err := s.image.Get(ctx, s.image.ServiceURL("info", "usage"), &answer, nil)
		return err
	})
	if hasStatus(err, http.StatusNotFound, http.StatusForbidden) {
		return nil, nil
	}
	var quotas []Quota
	for _, name := range slices.Sorted(maps.Keys(answer.Usage)) {
		quotas = append(quotas, Quota{Name: name, Limit: answer.Usage[name].Limit, Used: answer.Usage[name].Usage})
	}
	return quotas, err
}

// mayCreate tries it, as the rules of a cloud cannot be asked for.
func (s *session) mayCreate(ctx context.Context, visibility images.ImageVisibility) (bool, error) {
	hidden, id := true, uuid.NewString()
	err := s.call(ctx, "create", func(ctx context.Context) error {
		return images.Create(ctx, s.image, images.CreateOpts{
			ID: id, Name: "aibuild-check", Hidden: &hidden, Visibility: &visibility,
			DiskFormat: "raw", ContainerFormat: "bare",
		}).Err
	})
	if hasStatus(err, http.StatusForbidden) {
		return false, nil
	}
	cleanup, cancel := s.detached(ctx)
	defer cancel()
	if undone := s.remove(cleanup, id); undone != nil {
		err = errors.Join(err, fmt.Errorf("delete the empty image %s by hand: %w", id, undone))
	}
	return err == nil, err
}
