package hooks

import "github.com/guestos/aibuild/jenkins"

// Clients are what a Dispatcher works with, as far as that may change while it
// runs; the fields are those of the Dispatcher.
type Clients struct {
	Jenkins            *jenkins.Client
	GitLab             *Client
	Job                string
	MaxPerJob, MaxRuns int
	StatusURL          string
}

// Use changes them. It may be called before Run and by Before, as a pass is
// under way at every other time. Others may use the same clients.
func (d *Dispatcher) Use(c Clients) {
	if c.Jenkins != nil {
		own := *c.Jenkins
		own.OnSession = d.onSession
		c.Jenkins = &own
	}
	for into, value := range map[*int]int{&c.MaxPerJob: 8, &c.MaxRuns: 32} {
		if *into == 0 {
			*into = value
		}
	}
	d.Jenkins, d.GitLab, d.StatusURL = c.Jenkins, c.GitLab, c.StatusURL
	d.Job, d.MaxPerJob, d.MaxRuns = c.Job, c.MaxPerJob, c.MaxRuns
}
