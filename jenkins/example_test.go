package jenkins_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// A build is started, followed to its end, and its log is read.
func ExampleClient() {
	server, err := jenkinstest.Start(jenkinstest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	job := jenkinstest.Job{Path: "aibuild/build", Command: "exit 3", UnstableReturn: 3, Parameters: []jenkinstest.Parameter{{Name: "AIBUILD_RUN_ID"}}}
	if err := server.AddJob(job); err != nil {
		log.Fatal(err)
	}

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := jenkins.Client{URL: server.URL(), User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Transport: transport}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	started, err := client.Start(ctx, "aibuild/build", map[string]string{"AIBUILD_RUN_ID": "0198f6a2"})
	var item jenkins.Item
	for ; err == nil && item.Build == 0; time.Sleep(10 * time.Millisecond) {
		item, err = client.Queued(ctx, started.QueueID)
	}
	build := jenkins.Build{Building: true}
	for ; err == nil && build.Building; time.Sleep(10 * time.Millisecond) {
		build, err = client.Build(ctx, item.Job, item.Build)
	}
	if err != nil {
		log.Fatal(err)
	}
	text, _, _, err := client.Log(ctx, item.Job, item.Build, 0)
	fmt.Println(build.Number, build.Result, build.Params["AIBUILD_RUN_ID"], len(text) > 0, err)
	// Output: 1 UNSTABLE 0198f6a2 true <nil>
}
