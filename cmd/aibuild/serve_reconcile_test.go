package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack"
	osconfig "github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// webRoot is a web root in which images are found as builds leave them.
type webRoot struct {
	t    *testing.T
	root string
	site *publish.Site
}

func newWebRoot(t *testing.T, root string) *webRoot {
	t.Helper()
	site, err := publish.Open(t.Context(), publish.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return &webRoot{t, root, site}
}

// left puts an image there, as it is so long after the build; what has been
// recorded of it waits in its manifest.
func (w *webRoot) left(name, verdict string, age time.Duration) *aibuild.Image {
	w.t.Helper()
	disk := filepath.Join(w.t.TempDir(), name+".qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", disk, "1M").CombinedOutput(); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	id := uuid.Must(uuid.NewV7()).String()
	img := &aibuild.Image{UUID: id, Name: name, File: name + ".qcow2", Schema: 1}
	img.Definition.Name, img.Definition.Arch, img.Definition.OS = name, "x86_64", definition.OS{Distro: "tiny", Version: "1"}
	img.Definition.Release.Clusters, img.Definition.Release.Visibility = []string{"alpha", "beta"}, "private"
	finish := func(sums publish.Sums) (map[string][]byte, error) {
		at := time.Now().Add(-age)
		add := func(r lineage.Record) {
			r.ID, r.At, r.Actor, r.Channel, r.ImageUUID = uuid.Must(uuid.NewV7()).String(), at, "builder", "jenkins", id
			img.Records, img.Pending = append(img.Records, r), append(img.Pending, r.ID)
		}
		add(lineage.Record{Verb: lineage.VerbBuilt, Built: &lineage.Built{Name: name, Arch: "x86_64", OSType: "tiny", OSVer: "1", BuiltAt: at, Artifact: lineage.Artifact{
			Format: "qcow2", Size: sums.Size, VirtualSize: 1 << 20, SHA256: sums.SHA256, SHA512: sums.SHA512, Ref: "main", Memory: 256 << 20, User: "root",
		}}})
		if verdict != "" {
			add(lineage.Record{Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: verdict, TestCase: "all (1 cases)", TestedAt: at}})
		}
		b, err := json.Marshal(img)
		return map[string][]byte{"manifest.json": b}, err
	}
	item := publish.Item{Name: name, UUID: id, Files: map[string]string{img.File: disk}, Image: img.File, Finish: finish}
	if _, err := w.site.Put(w.t.Context(), item); err != nil {
		w.t.Fatal(err)
	}
	w.touch(img, age)
	return img
}

func (w *webRoot) folder(img *aibuild.Image) string {
	return filepath.Join(w.root, "images", "build", img.Name, img.UUID)
}

func (w *webRoot) touch(img *aibuild.Image, age time.Duration) {
	w.t.Helper()
	at := time.Now().Add(-age)
	if err := os.Chtimes(w.folder(img), at, at); err != nil {
		w.t.Fatal(err)
	}
}

// pending says how many records of an image wait.
func (w *webRoot) pending(img *aibuild.Image) int {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.folder(img), "manifest.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(decoded[aibuild.Image](w.t, string(b)).Pending)
}

func storeOf(t *testing.T, dsn string) *lineage.Store {
	t.Helper()
	store, err := lineage.Open(t.Context(), lineage.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func gone(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}

// What builds elsewhere could not record is delivered from the web root, and
// nobody who works on an image is disturbed.
func testWebJournals(t *testing.T, m *mariadb) {
	dsn, _ := m.empty()
	store, web := storeOf(t, dsn), newWebRoot(t, t.TempDir())
	good, fresh, busy := web.left("good", lineage.Passed, time.Hour), web.left("fresh", lineage.Passed, 0), web.left("busy", "", time.Hour)
	broken := web.left("broken", "", time.Hour)
	placed(t, filepath.Join(web.folder(broken), "manifest.json"), "{")
	web.touch(broken, time.Hour)
	unlock, err := store.Lock(t.Context(), "busy", 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &aibuild.Pipeline{Site: web.site, DataDir: t.TempDir(), Recorder: store, Actor: "daemon", LockWait: time.Second}
	var seen aibuild.SiteJournals
	deliver := func(when string, want int) {
		t.Helper()
		if n, err := p.DeliverSite(t.Context(), &seen); n != want || err == nil || !strings.Contains(err.Error(), broken.UUID) {
			t.Errorf("%s: %d, %v; want %d delivered, and an error for the broken one alone", when, n, err, want)
		}
	}
	deliver("at first", 1)
	if web.pending(good) != 0 || web.pending(fresh) != 2 || web.pending(busy) != 1 {
		t.Errorf("%d, %d and %d records wait", web.pending(good), web.pending(fresh), web.pending(busy))
	}
	found, err := store.Resolve(t.Context(), lineage.Query{Ref: good.UUID})
	if err != nil || len(found) != 1 || found[0].State != lineage.StatePassed {
		t.Errorf("in the database: %+v, %v", found, err)
	}
	events, _, err := store.Events(t.Context(), lineage.EventFilter{ImageUUID: good.UUID})
	if err != nil || len(events) != 2 || events[0].Actor != "builder" {
		t.Errorf("the audit: %+v, %v", events, err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	web.touch(fresh, time.Hour)
	deliver("when nobody works on them any more", 2)
	deliver("when nothing waits", 0)

	// While the database is away nothing is lost.
	late := web.left("late", lineage.Passed, time.Hour)
	m.stop()
	deliverErr := func() error { _, err := p.DeliverSite(t.Context(), &seen); return err }
	if err := deliverErr(); err == nil || !strings.Contains(err.Error(), late.UUID) || web.pending(late) != 2 {
		t.Errorf("without a database: %v, %d records wait", err, web.pending(late))
	}
	m.start()
	deliver("when it is back", 1)
}

// building is a run with a build in Jenkins.
func building(t *testing.T, store *lineage.Store) lineage.Run {
	t.Helper()
	run, err := store.OpenRun(t.Context(), lineage.Run{Image: "web", Project: siteProject, Ref: "refs/heads/main", Commit: "c0ffee", Folder: "images/web", From: "build"}, "ann", "api", "test")
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := store.ClaimRuns(t.Context(), "test", 1, time.Minute)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %+v, %v", claimed, err)
	}
	step := lineage.RunStep{RunID: run.ID, Fence: claimed[0].Fence, Run: lineage.Run{State: lineage.RunBuilding, JenkinsJob: "aibuild/build", Build: 1}, Release: true}
	if err := store.StepRun(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	run.State = lineage.RunBuilding
	return run
}

// The daemon itself does all of it soon after its start.
func testReconcilers(t *testing.T, m *mariadb) {
	dsn, name := m.empty()
	store, web, data := storeOf(t, dsn), newWebRoot(t, t.TempDir()), t.TempDir()
	recorded := func(img *aibuild.Image, age time.Duration) {
		t.Helper()
		if err := store.Record(t.Context(), img.Records...); err != nil {
			t.Fatal(err)
		}
		img.Pending = nil
		b, err := json.Marshal(img)
		if err != nil {
			t.Fatal(err)
		}
		placed(t, filepath.Join(web.folder(img), "manifest.json"), string(b))
		web.touch(img, age)
	}
	const old = 20 * 24 * time.Hour
	untested := web.left("web", "", old)
	recorded(untested, old)
	newest := web.left("web", lineage.Passed, old)
	recorded(newest, old)
	waiting := web.left("app", lineage.Passed, time.Hour)
	half := filepath.Join(web.root, "images", "build", "web", ".part-image-00000000-0-1-1-abcdefgh")
	work := filepath.Join(data, "work", "dead")
	evidence := filepath.Join(data, "runs", "failed")
	for _, dir := range []string{half, work, evidence} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-old)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	placed(t, filepath.Join(work, "owner"), "1 0\n") // pid 1 began at another time
	run := building(t, store)
	sign, err := json.Marshal([]lineage.Record{{RunID: run.ID, Verb: lineage.VerbOpened, Run: &run}})
	if err != nil {
		t.Fatal(err)
	}
	placed(t, filepath.Join(work, "run"), string(sign))
	config := placed(t, filepath.Join(t.TempDir(), "config.yaml"), "retention: {failed: 15d}\n")
	s := launch(t, data, []string{"AIBUILD_DSN=" + dsn, "AIBUILD_WEB_ROOT=" + web.root}, "--config", config)
	s.eventually("what waited is recorded", func() bool { return web.pending(waiting) == 0 })
	s.eventually("what is half published is gone", func() bool { return gone(half) })
	s.eventually("what a dead process left is gone", func() bool { return gone(work) })
	if now, err := store.Run(t.Context(), run.ID); err != nil || now.State != lineage.RunBuilding {
		t.Errorf("how a build ended is for Jenkins to say: %+v, %v", now, err)
	}
	s.eventually("what failed is pruned", func() bool { return gone(web.folder(untested)) && gone(evidence) })
	if gone(web.folder(newest)) || gone(web.folder(waiting)) {
		t.Error("a good image was pruned")
	}
	s.ran("prune")
	s.says("pruned", 2)
	var verb, actor string
	err = m.root.QueryRow("SELECT verb, actor FROM "+name+".event WHERE image_uuid = ? ORDER BY id DESC LIMIT 1", untested.UUID).Scan(&verb, &actor)
	if err != nil || verb != lineage.VerbPruned || actor != "daemon" {
		t.Errorf("the audit: %s by %s, %v", verb, actor, err)
	}
	for _, c := range new(reconciler).chores() {
		if c.name != "payloads" { // a minute after the start
			s.metric(`aibuild_reconciler_failures_total{chore="` + c.name + `"} 0`)
			s.ran(c.name)
		}
	}
	s.signal(os.Interrupt)
	s.well()

	// What cannot be put right is counted, and stops nothing.
	if err := os.MkdirAll(work, 0o700); err != nil {
		t.Fatal(err)
	}
	placed(t, filepath.Join(work, "owner"), "1 0\n")
	placed(t, filepath.Join(work, "run"), "{") // the sign of its run
	s = launch(t, data, []string{"AIBUILD_DSN=" + dsn, "AIBUILD_WEB_ROOT=" + web.root}, "--config", config)
	s.metric(`aibuild_reconciler_failures_total{chore="leftovers"} 1`)
	s.ran("webhooks")
	if code, body := s.get("/readyz"); code != 200 || !strings.Contains(body, "trouble") || strings.Contains(body, data) {
		t.Errorf("/readyz = %d %s", code, body)
	}
	s.says("sweep "+work, 1)
	s.signal(os.Interrupt)
	s.well()
}

// GitLab disables a webhook after failures, and says so when it is asked.
func TestServeChecksWebhooks(t *testing.T) {
	gitlab, err := gitlabtest.Start(gitlabtest.Options{AutoDisable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gitlab.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := gitlab.CreateUser(gitlabtest.User{Username: "bot"}); err != nil {
		t.Fatal(err)
	}
	if _, err := gitlab.CreateProject(t.Context(), gitlabtest.Project{Path: siteProject, Members: map[string]gitlabtest.Role{"bot": gitlabtest.Developer}}); err != nil {
		t.Fatal(err)
	}
	var status atomic.Int32
	status.Store(http.StatusInternalServerError)
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	t.Cleanup(daemon.Close)
	hook, err := gitlab.AddHook(siteProject, gitlabtest.Hook{URL: daemon.URL + hookPath, Token: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &service{log: hclog.New(&hclog.LoggerOptions{Output: &log})}
	as := func(token string) *settings {
		return &settings{
			watched: []hooks.Watched{{Mirror: hooks.Mirror{Project: siteProject}}},
			clients: hooks.Clients{GitLab: &hooks.Client{URL: gitlab.URL(), Token: token}},
		}
	}
	s.settings.Store(as(gitlab.RootToken()))
	var r reconciler
	look := func(when string, want int) {
		t.Helper()
		if err := r.checkWebhooks(t.Context(), s, nil); err != nil || r.unwell() != want {
			t.Errorf("%s: %v, %d are not well, want %d", when, err, r.unwell(), want)
		}
	}
	look("at first", 0)
	const script = `cd "$0" && git init -q -b main && for i in 1 2 3 4; do
		git -c user.name=tester -c user.email=t@example.com commit -q --allow-empty -m x && git push -q "$1" main; done`
	if out, err := exec.Command("bash", "-ec", script, t.TempDir(), gitlab.CloneURL(siteProject, gitlab.RootToken())).CombinedOutput(); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	if err := gitlab.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	look("after four failures", 1)
	look("again", 1)
	if n := strings.Count(log.String(), "gitlab has disabled the hook until"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, log.String())
	}
	status.Store(http.StatusOK)
	press := fmt.Sprintf("%s/api/v4/projects/%s/hooks/%d/test/push_events", gitlab.URL(), url.PathEscape(siteProject), hook.ID)
	request, err := http.NewRequest(http.MethodPost, press, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("PRIVATE-TOKEN", gitlab.RootToken())
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusCreated || response.Body.Close() != nil {
		t.Fatalf("the Test button: %v, %v", response, err)
	}
	look("after the Test button", 0)

	// GitLab shows webhooks only to maintainers: not to know is no failure.
	bot, err := gitlab.CreateToken(gitlabtest.Token{User: "bot"})
	if err != nil {
		t.Fatal(err)
	}
	s.settings.Store(as(bot.Secret))
	look("as a developer", 0)
	s.settings.Store(as("wrong"))
	if err := r.checkWebhooks(t.Context(), s, nil); err == nil || !strings.Contains(err.Error(), siteProject) {
		t.Errorf("with a wrong token: %v", err)
	}
	s.settings.Store(&settings{})
	look("without gitlab", 0)
}

// Somebody deletes an image in a cloud, and a process dies while it uploads: the
// daemon finds both.
func TestServeComparesClusters(t *testing.T) {
	p := newPerson(t)
	web := newWebRoot(t, p.lab.env["AIBUILD_WEB_ROOT"])
	img := web.left("compared", lineage.Passed, time.Hour)
	p.must(0, "publish", img.UUID)
	p.must(0, "release", "--yes", img.UUID)
	if got := p.states(img.UUID); got != "alpha:visible beta:visible" {
		t.Fatalf("released: %s", got)
	}
	p.lab.deleteGlance(t, "alpha", p.lab.glance(t, "alpha", "compared", false)[0].ID)

	dead := web.left("dead", lineage.Passed, time.Hour)
	p.must(0, "publish", dead.UUID)
	store := storeOf(t, p.lab.env["AIBUILD_DSN"])
	if err := store.Record(t.Context(), lineage.Record{ID: uuid.NewString(), Actor: "builder", Channel: "jenkins", ImageUUID: dead.UUID, Verb: lineage.VerbReleased,
		Released: &lineage.Target{Cluster: "beta", State: lineage.TargetUploading}}); err != nil {
		t.Fatal(err)
	}
	begun := begin(t, p.lab, "beta", "dead", dead.UUID)

	env := []string{"JENKINS_URL="}
	for k, v := range p.lab.env {
		env = append(env, k+"="+v)
	}
	s := launch(t, p.data, env)
	s.ran("clusters")
	if got := p.states(img.UUID); got != "alpha:missing beta:visible" {
		t.Errorf("after the comparison: %s", got)
	}
	checked := p.lab.sql(t, "SELECT COUNT(*) FROM release_target WHERE image_uuid = '"+img.UUID+"' AND checked_at > UTC_TIMESTAMP(6) - INTERVAL 5 MINUTE")
	if strings.TrimSpace(checked) != "2" {
		t.Errorf("%s of 2 clusters were checked", checked)
	}
	if got := p.states(dead.UUID); got != "beta:failed" {
		t.Errorf("the dead upload: %s", got)
	}
	s.says(begun, 1)
	for _, hidden := range []bool{false, true} {
		if left := p.lab.glance(t, "beta", "dead", hidden); len(left) != 0 {
			t.Errorf("beta still has %+v", left)
		}
	}
	s.metric(`aibuild_reconciler_failures_total{chore="clusters"} 0`)
	p.must(0, "release", "--yes", dead.UUID)
	s.signal(os.Interrupt)
	s.well()
}

// begin creates an image in a cluster, as a process that dies before it has
// uploaded anything, and gives its Glance id.
func begin(t *testing.T, l *lab, cluster, name, uuid string) string {
	t.Helper()
	auth, endpoint, tls, err := clouds.Parse(clouds.WithLocations(l.env["OS_CLIENT_CONFIG_FILE"]), clouds.WithCloudName(cluster))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := osconfig.NewProviderClient(t.Context(), auth, osconfig.WithTLSConfig(tls))
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewImageV2(provider, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Create(t.Context(), client, images.CreateOpts{
		Name: name, DiskFormat: "qcow2", ContainerFormat: "bare", Properties: map[string]string{"aibuild_uuid": uuid},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return img.ID
}
