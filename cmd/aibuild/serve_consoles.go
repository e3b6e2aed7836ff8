package main

import (
	"context"
	"errors"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// consoles reads the consoles of builds from Jenkins, for who follows them.
type consoles struct{ service *service }

func (c consoles) Console(ctx context.Context, run lineage.Run, start int64) (text []byte, next int64, more bool, err error) {
	client := c.service.settings.Load().clients.Jenkins
	if client == nil {
		return nil, 0, false, errors.New("no jenkins is configured: set jenkins.url")
	}
	return client.Log(ctx, run.JenkinsJob, run.Build, start)
}
