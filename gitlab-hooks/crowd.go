package hooks

import "github.com/guestos/aibuild/aibuild/lineage"

// crowd is all runs that have not ended, arranged so that a run that asks for
// its turn need not look at each: there may be ten thousand.
type crowd struct {
	byID    map[string]*lineage.OpenRun
	byImage map[string][]*lineage.OpenRun // oldest first
	byRef   map[refOf][]*lineage.OpenRun
	byPush  map[pushOf][]*lineage.OpenRun
	started int            // are with Jenkins
	ofJob   map[string]int // of them
}

type refOf struct{ project, ref, image string }

type pushOf struct {
	project, ref string
	seq          int64
}

func gather(list []lineage.OpenRun) *crowd {
	c := &crowd{
		byID: make(map[string]*lineage.OpenRun, len(list)), byImage: map[string][]*lineage.OpenRun{}, byRef: map[refOf][]*lineage.OpenRun{},
		byPush: map[pushOf][]*lineage.OpenRun{}, ofJob: map[string]int{},
	}
	for i := range list {
		r := &list[i]
		c.byID[r.ID] = r
		c.byImage[r.Image] = append(c.byImage[r.Image], r)
		if r.HeadSeq != 0 {
			ref, push := refOf{r.Project, r.Ref, r.Image}, pushOf{r.Project, r.Ref, r.HeadSeq}
			c.byRef[ref], c.byPush[push] = append(c.byRef[ref], r), append(c.byPush[push], r)
		}
		c.count(r, 1)
	}
	return c
}

func (c *crowd) count(r *lineage.OpenRun, n int) {
	if withJenkins(r.State) {
		c.started += n
		c.ofJob[r.JenkinsJob] += n
	}
}

// moved keeps the picture true during a pass.
func (c *crowd) moved(now lineage.Run) {
	r := c.byID[now.ID]
	if r == nil || now.State == "" {
		return
	}
	c.count(r, -1)
	r.State, r.JenkinsJob = now.State, orElse(now.JenkinsJob, r.JenkinsJob)
	c.count(r, 1)
}
