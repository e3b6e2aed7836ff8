package hooks

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// padded is a push of so many bytes, which do not compress well.
func padded(size int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, size)
	_, _ = random.Read(noise) // never fails
	head := bytes.TrimSuffix(goodBody(), []byte("}"))
	body := bytes.Join([][]byte{head, []byte(`,"noise":"`)}, nil)
	body = append(body, base64.StdEncoding.EncodeToString(noise)[:size-len(body)-2]...)
	return append(body, `"}`...)
}

// The largest delivery that GitLab can send is taken, a larger one is not, with its length told or not; and all the
// memory that they took is there for the next.
func TestLargestBodies(t *testing.T) {
	in := newInbox(t)
	spool, err := OpenSpool(t.TempDir(), 200<<20) // for a machine on which the database takes more than its second
	if err != nil {
		t.Fatal(err)
	}
	server, _ := receiver(t, &Handler{Inbox: in, Spool: spool})
	whole, larger := padded(maxPayload), append(padded(maxPayload), ' ')
	for range 2 {
		if got := send(t, server.URL, whole, "Idempotency-Key", "largest"); got.code != http.StatusAccepted {
			t.Errorf("25 MB: %d %s", got.code, got.body)
		}
		if got := send(t, server.URL, larger); got.code != http.StatusRequestEntityTooLarge {
			t.Errorf("25 MB and a byte: %d %s", got.code, got.body)
		}
		r, err := http.NewRequest(http.MethodPost, server.URL, io.MultiReader(bytes.NewReader(larger))) // its length is not told
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Gitlab-Token", secretCanary)
		response, err := http.DefaultClient.Do(r)
		if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge || response.Body.Close() != nil {
			t.Errorf("25 MB and a byte, in pieces: %v, %v", response, err)
		}
	}
	for end := time.Now().Add(time.Minute); spool.Stats().Events > 0; time.Sleep(50 * time.Millisecond) {
		if _, err := spool.Drain(t.Context(), in); err != nil && time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if all := in.all(t); len(all) != 1 || all[0].Size != maxPayload {
		t.Errorf("stored: %+v", all)
	}
}

// What two readers could read in two ways is refused, or read in the one way that the proof was held against.
func TestBodiesOfTwoMeanings(t *testing.T) {
	in := newInbox(t)
	server, _ := receiver(t, &Handler{Inbox: in, Secrets: func() []Secret {
		return []Secret{{"cloud/images", fixed(secretCanary)}, {"other/images", fixed("other")}}
	}})
	good := string(goodBody())
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	deep := func(open, end string) string {
		return with(`"user_id":4`, `"user_id":`+strings.Repeat(open, 100_000)+"1"+strings.Repeat(end, 100_000))
	}
	const elsewhere = `"project":{"path_with_namespace":"other/images"}`
	tests := []struct {
		name, body string
		code       int
	}{
		{"arrays in arrays", deep("[", "]"), 400},
		{"objects in objects", deep(`{"a":`, "}"), 400},
		{"arrays that never end", good + strings.Repeat("[", 100_000), 400},
		{"deep where the project is", with(`"project":{`, `"x":{},"project":`+strings.Repeat("[", 100_000)+"{"), 400},
		{"two projects", with(`"user_id":4`, elsewhere), 400},
		{"two projects, ours last", strings.Replace(good, "{", "{"+elsewhere+",", 1), 400},
		{"two projects, one by escapes", with(`"user_id":4`, strings.Replace(elsewhere, "project", `pr\u006fject`, 1)), 400},
		{"a project and none", with(`"user_id":4`, `"project":null`), 400},
		{"two paths", with(`"path_with_namespace":`, `"path_with_namespace":"other/images","path_with_namespace":`), 400},
		{"two paths, one by escapes", with(`"path_with_namespace":`, `"path\u005fwith_namespace":"other/images","path_with_namespace":`), 400},
		{"two refs", with(`"user_id":4`, `"ref":"refs/heads/x"`), 400},
		{"two refs, one a number", with(`"user_id":4`, `"ref":7`), 400},
		{"two afters", with(`"user_id":4`, `"after":"`+commitA+`"`), 400},
		{"two kinds", with(`"user_id":4`, `"object_kind":"tag_push"`), 400},
		{"names of other case are other names", with(`"user_id":4`, `"Project":{"Path_With_Namespace":"other/images"},"PROJECT":7,"REF":"refs/heads/x"`), 202},
		{"a project elsewhere in it", with(`"commits":[`, `"commits":[{`+elsewhere+`},`), 202},
		{"twice what is not read", with(`"user_id":4`, `"user_id":4,"user_id":"x"`), 202},
		{"the other project", with("cloud/images", "other/images"), 401},
		{"no utf-8 in a message", with("change 1", "change \xff\xfe"), 202},
		{"no utf-8 in the project", with("cloud/images", "cloud/\xff"), 400},
		{"no utf-8 in a name", with(`"user_username":"ann"`, "\"user_username\":\"\xc3\x28\""), 400},
		{"half a pair", with("refs/heads/main", `refs/heads/\ud800`), 202},
		{"a mark before it", "\ufeff" + good, 400},
		{"nul", with(`"user_id":4`, "\"user_id\":\x00"), 400},
		{"two documents", good + good, 400},
		{"a comment", with(`"user_id":4`, `/* */"user_id":4`), 400},
		{"a comma too much", with(`"user_id":4`, `"user_id":4,`), 400},
		{"nan", with(`"user_id":4`, `"user_id":NaN`), 400},
		{"a number without end", with(`"project_id":15`, `"project_id":1`+strings.Repeat("0", 100_000)), 200},
		{"an exponent", with(`"project_id":15`, `"project_id":15e0`), 200},
		{"a ref without end", with("refs/heads/main", "refs/heads/"+strings.Repeat("a", 1<<20)), 200},
		{"a project without end", with("cloud/images", strings.Repeat("a/", 1<<20)), 200},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := send(t, server.URL, []byte(test.body), "Idempotency-Key", fmt.Sprint("odd-", i))
			if got.code != test.code {
				t.Errorf("%d %s, want %d", got.code, got.body, test.code)
			}
		})
	}
	for _, e := range in.all(t) {
		if e.Project != "cloud/images" || e.Ref != "refs/heads/main" && e.Ref != "refs/heads/\ufffd" || e.After != commitB {
			t.Errorf("stored: %+v", e)
		}
	}
}

// slow is a client that says a part of a request and then a byte now and then.
type slow struct {
	net.Conn
	ended atomic.Bool
}

func newSlow(t *testing.T, address, begin string, wait *sync.WaitGroup) *slow {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &slow{Conn: conn}
	t.Cleanup(func() { s.Close() })
	if _, err := io.WriteString(s, begin); err != nil {
		t.Fatal(err)
	}
	wait.Go(func() {
		for s.SetReadDeadline(time.Now().Add(time.Second/2)) == nil {
			_, err := s.Read(make([]byte, 1))
			if late, ok := err.(net.Error); err == nil || !ok || !late.Timeout() { // an answer, or the end
				break
			}
			if _, err := s.Write([]byte("1")); err != nil {
				break
			}
		}
		s.ended.Store(true)
	})
	return s
}

// Whoever is slow at anything, with a right to it or none, is sent away in the end, costs little, and holds up nobody
// before that.
func TestSlowAttackers(t *testing.T) {
	before := memory()
	server, _ := receiver(t, &Handler{Inbox: newInbox(t)})
	address := server.Listener.Addr().String()
	idle := make([]net.Conn, 1000)
	for i := range idle {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle[i] = conn
		if _, err := io.WriteString(conn, "GET /hooks/gitlab HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 4096)); err != nil || n == 0 {
			t.Fatal(err)
		}
	}
	if used := memory() - before; used > 64<<20 {
		t.Errorf("1,000 idle connections take %d MiB", used>>20)
	}
	var all []*slow
	var wait sync.WaitGroup
	attack := func(n int, begin string) {
		for range n {
			all = append(all, newSlow(t, address, begin, &wait))
		}
	}
	const post = "POST /hooks/gitlab HTTP/1.1\r\nHost: x\r\n"
	attack(20, "P")
	attack(20, post+"X-Slow: ")
	attack(20, post+"X-Gitlab-Token: "+secretCanary+"\r\nContent-Length: 5000\r\n\r\n{")
	for _, size := range []string{"Content-Length: 20000", "Content-Length: 1000000", fmt.Sprint("Content-Length: ", maxPayload), "Transfer-Encoding: chunked"} {
		attack(20, post+"webhook-signature: v1,AAAA\r\n"+size+"\r\n\r\n5\r\n{")
	}
	for range 3 {
		got := send(t, server.URL, goodBody())
		if got.code != http.StatusAccepted {
			t.Errorf("beside slow clients: %d %s", got.code, got.body)
		}
	}
	for i, s := range all[60:] {
		if s.ended.Load() { // then they may have been waited for
			t.Errorf("slow client %d had ended before deliveries were answered", i)
			break
		}
	}
	ended := make(chan struct{})
	go func() { wait.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Error("slow clients are kept for ever")
	}
	if _, err := io.WriteString(idle[0], "GET /hooks/gitlab HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Errorf("an idle client was sent away with the slow ones: %v", err)
	}
}

// memory is what Go's heap and stacks take after a collection.
func memory() int64 {
	runtime.GC()
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return int64(now.HeapInuse + now.StackInuse)
}

// A signed delivery that is sent again is the same one, whatever is changed in what the signature does not cover; and
// is nothing once it is old.
func TestReplays(t *testing.T) {
	in := newInbox(t)
	key := signingKey(t)
	var later atomic.Int64
	server, _ := receiver(t, &Handler{Inbox: in,
		Secrets: func() []Secret { return []Secret{{"cloud/images", fixed(key)}, {"", fixed(secretCanary)}} },
		Now:     func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	now, body := time.Now(), goodBody()
	signed := []string{"X-Gitlab-Token", "", "Idempotency-Key", "id-1", "webhook-id", "id-1", "webhook-timestamp", fmt.Sprint(now.Unix()),
		"webhook-signature", opensslSignature(t, key, "id-1", now, body)}
	changed := func(pairs ...string) []string { return append(signed[:len(signed):len(signed)], pairs...) }
	first := send(t, server.URL, body, signed...)
	if first.code != http.StatusAccepted {
		t.Fatalf("%d %s", first.code, first.body)
	}
	for name, test := range map[string]struct {
		header []string
		code   int
	}{
		"as it was":                    {signed, 202},
		"another key":                  {changed("Idempotency-Key", "id-2"), 202},
		"no key":                       {changed("Idempotency-Key", ""), 202},
		"another event's name":         {changed("X-Gitlab-Event", "System Hook"), 202},
		"another id":                   {changed("webhook-id", "id-2"), 401},
		"no id":                        {changed("webhook-id", ""), 401},
		"no timestamp":                 {changed("webhook-timestamp", ""), 401},
		"another timestamp":            {changed("webhook-timestamp", fmt.Sprint(now.Unix()+1)), 401},
		"a timestamp with a fraction":  {changed("webhook-timestamp", fmt.Sprint(now.Unix(), ".0")), 401},
		"a timestamp without end":      {changed("webhook-timestamp", strings.Repeat("9", 1000)), 401},
		"a timestamp of the far past":  {changed("webhook-timestamp", "-9223372036854775808"), 401},
		"a timestamp of the far years": {changed("webhook-timestamp", "9223372036854775807"), 401},
		"no version":                   {changed("webhook-signature", strings.TrimPrefix(signed[9], "v1,")), 401},
		"another version":              {changed("webhook-signature", "v2"+signed[9][2:]), 401},
		"no signature":                 {changed("webhook-signature", ""), 401},
		"an empty signature":           {changed("webhook-signature", "v1,"), 401},
		"half a signature":             {changed("webhook-signature", signed[9][:20]), 401},
		"a token in its place":         {changed("webhook-signature", "", "X-Gitlab-Token", secretCanary), 401},
		"the key as a token":           {changed("webhook-signature", "", "X-Gitlab-Token", key), 401},
	} {
		got := send(t, server.URL, body, test.header...)
		if got.code != test.code || got.code == http.StatusAccepted && got.Event != first.Event {
			t.Errorf("%s: %d %s, want %d, and event %d", name, got.code, got.body, test.code, first.Event)
		}
	}
	twice, err := http.NewRequest(http.MethodPost, server.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(signed); i += 2 {
		twice.Header.Set(signed[i], signed[i+1])
	}
	later.Store(int64(6 * time.Minute))
	twice.Header["Webhook-Timestamp"] = []string{fmt.Sprint(now.Add(6 * time.Minute).Unix()), fmt.Sprint(now.Unix())}
	if response, err := http.DefaultClient.Do(twice); err != nil || response.StatusCode != http.StatusUnauthorized || response.Body.Close() != nil {
		t.Errorf("two timestamps: %v, %v", response, err)
	}
	for name, shift := range map[string]time.Duration{"old": 6 * time.Minute, "from the future": -6 * time.Minute} {
		later.Store(int64(shift))
		if got := send(t, server.URL, body, signed...); got.code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, got.code, got.body)
		}
	}
	if all, _, err := in.HookEvents(t.Context(), lineage.HookFilter{}); err != nil || len(all) != 1 {
		t.Errorf("stored: %+v, %v", all, err)
	}
}

// hostile are branch names that git takes, whatever a shell or a page would make of them.
var hostile = []string{";$(touch${IFS}canary)`touch>canary`", "'\"quotes\"'|größe", "--upload-pack=touch>canary", "<script>%0a{}&AIBUILD_FROM=x"}

// Names of branches and files, and the whole of a body, come from whoever may push. They arrive where they belong as they
// are, and nowhere else.
func TestHostilePushes(t *testing.T) {
	t.Chdir(t.TempDir())
	f := newFactory(t, "")
	watched := f.d.Projects()
	watched[0].Policy.Visibilities = []string{"private"}
	f.d.Projects = func() []Watched { return watched }
	main := f.send("one", library, head)
	f.ended()

	refs := map[string]string{} // by commit
	for _, name := range hostile {
		f.commits = []string{main}
		refs[f.send(name, library.with(files{"images/a/f": plain(name), "docs/" + name: plain("x"), "images/a/files/new\nline\"'": plain("x")}), "refs/heads/"+name)] = "refs/heads/" + name
	}
	told := 0
	for _, r := range f.ended() {
		ref := refs[r.Commit]
		if ref == "" {
			continue
		}
		given := readFile(t, filepath.Join(f.dir, r.ID))
		state, err := f.client.status(t.Context(), Status{Project: "ops/images", Commit: r.Commit, Name: "aibuild/a", Ref: ref})
		if r.Ref != ref || r.State != lineage.RunSuccess || !strings.Contains(given, "AIBUILD_REF="+ref+"\n") || !strings.Contains(given, "AIBUILD_FROM=build\n") || state != statusSuccess || err != nil {
			t.Errorf("%s: run %+v, status %q, %v; the job was given\n%s", ref, r, state, err, given)
		}
		told++
	}
	if told != len(refs) {
		t.Errorf("%d runs of %d branches", told, len(refs))
	}

	t.Run("names that are no text", func(t *testing.T) {
		before := len(f.runs())
		f.commits = []string{main}
		bad := f.send("no text", library.with(files{"images/a/files/\xff\xfe": plain("x")}), "refs/heads/odd-file")
		f.send("no text", library.with(files{"images/b/f": plain("x")}), "refs/heads/\xff\xfe")
		f.d.soon(choreHeads + "ops/images")
		runs := f.ended()
		i := slices.IndexFunc(runs, func(r lineage.Run) bool { return r.Commit == bad })
		if i < 0 || runs[i].State != lineage.RunRejected || !strings.Contains(runs[i].Reason, "rename the file") {
			t.Errorf("runs %+v", runs[:len(runs)-before])
		}
		if events := f.in.all(t); slices.ContainsFunc(events, func(e lineage.HookEvent) bool { return e.State == lineage.EventPending || !utf8.ValidString(e.Ref) }) {
			t.Errorf("events %+v", events)
		}
	})

	t.Run("public from a branch", func(t *testing.T) {
		f.commits = []string{main}
		wish := image("images/a", "a", "release: {clusters: [alpha], visibility: public}")
		id := f.send("public", library.with(wish), "refs/heads/wish")
		runs := f.ended()
		if r := runs[0]; r.Commit != id || r.State != lineage.RunRejected || !strings.Contains(r.Reason, "release.visibility") || !strings.Contains(r.Reason, "private") {
			t.Errorf("run %+v", r)
		}
	})

	t.Run("a body that leads elsewhere", func(t *testing.T) {
		trap, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var caught atomic.Int64
		go func() {
			for {
				conn, err := trap.Accept()
				if err != nil {
					return
				}
				caught.Add(1)
				conn.Close()
			}
		}()
		body := bytes.ReplaceAll(f.Deliveries(1)[0].Body, []byte(f.URL()), []byte("http://"+trap.Addr().String()))
		body = bytes.ReplaceAll(body, []byte("git@"), []byte("git@"+trap.Addr().String()+"/"))
		if bytes.Contains(body, []byte(f.URL())) || bytes.Count(body, []byte(trap.Addr().String())) < 5 {
			t.Fatalf("the body does not lead elsewhere: %s", body)
		}
		old := f.Deliveries(1)[0]
		f.Disturb(gitlabtest.Trouble{Drop: true})
		f.commits = []string{main}
		id := f.send("elsewhere", library.with(files{"images/a/f": plain("elsewhere")}), "refs/heads/elsewhere")
		body = bytes.ReplaceAll(body, []byte(afterOf(t, old.Body)), []byte(id))
		body = bytes.ReplaceAll(body, []byte(`"ref":"`+head+`"`), []byte(`"ref":"refs/heads/elsewhere"`))
		server := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Secrets: func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }})
		defer server.Close()
		if got := send(t, server.URL, body, "Idempotency-Key", "elsewhere"); got.code != http.StatusAccepted {
			t.Fatalf("%d %s", got.code, got.body)
		}
		f.until("the run is there", func() bool { return f.runs()[0].Commit == id })
		r := f.ended()[0]
		if given := readFile(t, filepath.Join(f.dir, r.ID)); r.State != lineage.RunSuccess || !strings.Contains(given, "AIBUILD_PROJECT="+f.URL()+"/ops/images.git\n") {
			t.Errorf("run %+v; the job was given\n%s", r, given)
		}
		if trap.Close(); caught.Load() != 0 {
			t.Errorf("%d connections were made to where the body led", caught.Load())
		}
	})
	noCanary(t, f.dir, f.mirror.Dir)
}

// afterOf is the commit that a body tells of.
func afterOf(t *testing.T, body []byte) string {
	t.Helper()
	r, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return r.after
}
