package jenkins

import (
	"strings"
	"testing"
)

// FuzzAnswers decodes queues, builds and addresses of any shape: no panic, and nothing half-right comes out.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"items":[{"_class":"hudson.model.Queue$WaitingItem","id":143,"why":"x","task":{"url":"http://h/job/a/job/b/"},"actions":[{"parameters":[{"name":"AIBUILD_RUN_ID","value":"r1"}]}]}]}`,
		`{"items":[{"id":1,"task":{"_class":"a$PlaceholderTask","url":"job/a/12/"}},{"id":2,"cancelled":false,"executable":{"number":3,"url":"/job/a%2Fb/3/"}},null,7]}`,
		`{"items":[{"id":1,"actions":[null,{"parameters":{}},{"parameters":[{"name":"A","value":{"b":[1]}}]},{"causes":7}],"cancelled":true,"executable":null}]}`,
		`{"builds":[{"number":52,"building":false,"inProgress":false,"result":"SUCCESS","timestamp":1,"duration":2,"actions":[{"causes":[{"shortDescription":"c"}]}]}]}`,
		`{"allBuilds":[{"number":-1},{"number":9223372036854775807,"building":true,"result":"UNSTABLE","duration":9223372036854775807}]}`,
		`{"items":{"id":1},"builds":"none"}`,
	} {
		f.Add([]byte(body), "http://jenkins:8080/ci/queue/item/25/")
	}
	for _, address := range []string{"/ci/job/a/job/b%252Fc/14/", "job/a/12", "https://u:p@h/view/all/job/x/", "/job//", "%zz", "/job/job/12/", "//queue/item/-1"} {
		f.Add([]byte(`{}`), address)
	}
	client := Client{URL: "https://ci.example.org/ci"}
	f.Fuzz(func(t *testing.T, body []byte, address string) {
		checkItems(t, client, string(body))
		checkBuilds(t, client, string(body))
		if job, ok := client.jobOf(address); ok {
			if at, err := client.jobPath("", job); err == nil {
				if again, ok := client.jobOf(at); !ok || again != job {
					t.Errorf("job %q of %q comes back as %q, %v", job, address, again, ok)
				}
			}
		}
		if _, number, ok := client.buildOf(address); ok && number < 1 {
			t.Errorf("%q: build %d", address, number)
		}
		if id, ok := client.itemOf(address); ok && id < 1 {
			t.Errorf("%q: item %d", address, id)
		}
	})
}

func checkItems(t *testing.T, client Client, body string) {
	var raw rawQueue
	if decode(body, &raw) != nil {
		return
	}
	for _, item := range client.items(raw) {
		if item.ID < 1 || item.Build < 0 || (item.Cancelled || item.Build > 0) && !item.Left {
			t.Errorf("item %+v of %q", item, body)
		}
		if item.BuildURL != "" && !strings.HasPrefix(item.BuildURL, client.URL+"/job/") {
			t.Errorf("build at %q of %q", item.BuildURL, body)
		}
	}
}

func checkBuilds(t *testing.T, client Client, body string) {
	var raw struct{ Builds, AllBuilds []*rawBuild }
	if decode(body, &raw) != nil {
		return
	}
	for _, one := range append(raw.Builds, raw.AllBuilds...) {
		if one == nil {
			continue
		}
		build, err := client.build("", "a/b", *one)
		if err == nil && (build.Number < 1 || build.Building == (build.Result != "")) {
			t.Errorf("build %+v of %q", build, body)
		}
	}
}
