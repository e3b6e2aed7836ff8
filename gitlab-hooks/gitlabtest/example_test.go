package gitlabtest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func Example() {
	ctx := context.Background()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header.Get("X-Gitlab-Event"), r.Header.Get("X-Gitlab-Token"))
	}))
	defer receiver.Close()

	s, err := gitlabtest.Start(gitlabtest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if _, err := s.CreateProject(ctx, gitlabtest.Project{Path: "group/images"}); err != nil {
		fmt.Println(err)
	}
	if _, err := s.AddHook("group/images", gitlabtest.Hook{URL: receiver.URL, Token: "secret"}); err != nil {
		fmt.Println(err)
	}

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
	}
	defer os.RemoveAll(dir)
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"commit", "--quiet", "--allow-empty", "--message=first"},
		{"push", "--quiet", s.CloneURL("group/images", s.RootToken()), "main"},
	} {
		if out, err := gitCommand(ctx, dir, args...).CombinedOutput(); err != nil {
			fmt.Println(err, string(out))
		}
	}
	if err := s.Idle(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(s.Deliveries(1)[0].Status)
	// Output:
	// Push Hook secret
	// 200
}
