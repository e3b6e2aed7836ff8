package glance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"
	"github.com/hashicorp/go-hclog"
)

// session is one login in one cluster, for one goroutine.
type session struct {
	*job
	cluster string
	cloud   cloud
	log     hclog.Logger
	http    http.Client
	image   *gophercloud.ServiceClient
	user    string
	project tokens.Project
	roles   []string
}

// login reads the cluster's entry and gets a token. The caller closes the session.
func (j *job) login(ctx context.Context, cluster string) (*session, error) {
	entry, err := readCloud(j.CloudsFile, cluster)
	if err != nil {
		return nil, &ClusterError{Cluster: cluster, Op: "login", Err: err}
	}
	s := &session{job: j, cluster: cluster, cloud: entry, log: j.Log.With("cluster", cluster)}
	s.http.Transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       entry.tls,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       30 * time.Second,
		WriteBufferSize:       256 << 10,
	}
	s.http.CheckRedirect = stayHome
	if err := s.authenticate(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// stayHome refuses to follow a redirection to another host: the token, or the
// password of a login, would go along.
func stayHome(next *http.Request, before []*http.Request) error {
	if next.URL.Host != before[0].URL.Host || next.URL.Scheme != before[0].URL.Scheme {
		return http.ErrUseLastResponse
	}
	if len(before) > 3 {
		return errors.New("redirected too often")
	}
	return nil
}

func (s *session) close() { s.http.CloseIdleConnections() }

// authenticate gets a new token and finds Glance in the catalog.
func (s *session) authenticate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.CallTimeout)
	defer cancel()
	provider, err := openstack.NewClient(s.cloud.auth.IdentityEndpoint)
	if err != nil {
		return s.fail("login", err)
	}
	provider.HTTPClient = s.http
	provider.UserAgent.Prepend("aibuild")
	if err := openstack.Authenticate(ctx, provider, s.cloud.auth); err != nil {
		return s.fail("login", err)
	}
	s.cloud.secrets = append(s.cloud.secrets, provider.Token())
	if err := s.identify(provider.GetAuthResult()); err != nil {
		return s.fail("login", err)
	}
	// Asked for without a version, the locator answers from the catalog alone;
	// with one it would call Glance outside of our context.
	endpoint := s.cloud.endpoint
	endpoint.ApplyDefaults("image")
	address, err := provider.EndpointLocator(endpoint)
	if err != nil {
		return s.fail("endpoint", err)
	}
	base, err := utils.BaseEndpoint(address)
	if err != nil {
		return s.fail("endpoint", err)
	}
	base = gophercloud.NormalizeURL(base)
	s.image = &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: base, ResourceBase: base + "v2/", Type: "image"}
	return nil
}

// identify notes who we are: only images of our own project may be changed.
func (s *session) identify(result gophercloud.AuthResult) error {
	var who interface {
		ExtractProject() (*tokens.Project, error)
		ExtractUser() (*tokens.User, error)
		ExtractRoles() ([]tokens.Role, error)
	}
	switch r := result.(type) {
	case tokens.CreateResult:
		who = r
	case tokens.GetResult:
		who = r
	default:
		return fmt.Errorf("the login gave no Keystone v3 token: set identity_api_version to 3")
	}
	project, err := who.ExtractProject()
	if err != nil {
		return err
	}
	if project == nil || project.ID == "" {
		return fmt.Errorf("the token belongs to no project: set project_name in clouds.yaml")
	}
	user, err := who.ExtractUser()
	if err != nil {
		return err
	}
	roles, err := who.ExtractRoles()
	if err != nil {
		return err
	}
	s.project, s.user, s.roles = *project, user.Name, nil
	for _, role := range roles {
		s.roles = append(s.roles, role.Name)
	}
	return nil
}

// call makes one request of Glance's API within CallTimeout. A token that was
// refused (an upload outlived it) is replaced once.
func (s *session) call(ctx context.Context, op string, request func(context.Context) error) error {
	err := s.once(ctx, request)
	if gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) {
		if err := s.authenticate(ctx); err != nil {
			return err
		}
		err = s.once(ctx, request)
	}
	return s.fail(op, err)
}

func (s *session) once(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.CallTimeout)
	defer cancel()
	return request(ctx)
}

// fail makes err a *ClusterError without secrets.
func (s *session) fail(op string, err error) error {
	return clusterError(s.cluster, op, err, s.cloud.redact)
}

// describe is who and where we are, for logs.
func (s *session) describe() string {
	return s.user + " in project " + s.project.Name + " (" + strings.Join(s.roles, ", ") + ")"
}
