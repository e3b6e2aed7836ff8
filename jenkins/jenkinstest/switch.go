package jenkinstest

import (
	"fmt"
	"slices"
)

// AddJob makes a job, and the folders above it that are missing.
func (s *Server) AddJob(j Job) error {
	if err := j.check(); err != nil {
		return err
	}
	names, err := splitPath(j.Path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.root
	for _, name := range names[:len(names)-1] {
		if it.children[name] == nil {
			it.children[name] = newFolder(name, it)
			if err := s.saveItem(it.children[name]); err != nil {
				return err
			}
		}
		if it = it.children[name]; !it.isFolder() {
			return fmt.Errorf("job %s: %s is no folder", j.Path, it.fullName())
		}
	}
	name := names[len(names)-1]
	job := it.children[name]
	switch {
	case job == nil:
		job = &item{name: name, parent: it, nextBuild: 1}
		it.children[name] = job
	case job.isFolder():
		return fmt.Errorf("job %s: there is a folder of that name", j.Path)
	}
	job.job, job.config = j, ""
	return s.saveItem(job)
}

// withJob does something with a job that must be there.
func (s *Server) withJob(path string, do func(*item) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.root.find(path)
	if it == nil || it.isFolder() {
		return fmt.Errorf("jenkins stand-in: there is no job %q", path)
	}
	return do(it)
}

// DisableJob forbids builds of a job, or allows them again.
func (s *Server) DisableJob(path string, disabled bool) error {
	return s.withJob(path, func(it *item) error {
		s.disable(it, disabled)
		return nil
	})
}

// DropParameters takes declared parameters away, by name; without names, all. Jenkins then drops the values that
// triggers send for them without a word.
func (s *Server) DropParameters(path string, names ...string) error {
	return s.withJob(path, func(it *item) error {
		var rest []Parameter
		for _, p := range it.job.Parameters {
			if len(names) > 0 && !slices.Contains(names, p.Name) {
				rest = append(rest, p)
			}
		}
		it.job.Parameters, it.config = rest, ""
		return s.saveItem(it)
	})
}

// DeleteBuild makes a build as if it had never been; one that runs is ended.
func (s *Server) DeleteBuild(path string, number int) error {
	return s.withJob(path, func(it *item) error {
		b := it.build(number)
		if b == nil {
			return fmt.Errorf("jenkins stand-in: job %s has no build %d", path, number)
		}
		s.deleteBuild(b)
		return nil
	})
}

// SetResult sets the result of a build that runs and goes on running, as a pipeline's step may. It only gets worse.
func (s *Server) SetResult(path string, number int, result string) error {
	return s.withJob(path, func(it *item) error {
		b := it.build(number)
		if _, known := severity[result]; !known || b == nil || !b.running() {
			return fmt.Errorf("jenkins stand-in: job %s: build %d does not run, or there is no result %q", path, number, result)
		}
		b.setResult(result)
		return nil
	})
}

// QuietDown makes Jenkins start nothing more, or start again: it is about to shut down.
func (s *Server) QuietDown(quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet(quiet)
}

// RejectTokens refuses every API token, as when an administrator revoked them, or takes them again.
func (s *Server) RejectTokens(reject bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noTokens = reject
}

// GoDown begins a restart: from now on every answer is a 503 page. Freestyle builds end (ABORTED); pipelines go
// on, as those on agents do, and nobody hears of it before ComeUp.
func (s *Server) GoDown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goDown()
}

func (s *Server) goDown() {
	if s.down != "" {
		return
	}
	s.down = "restarting"
	s.root.walk(func(it *item) {
		for _, b := range it.builds {
			if b.job.kind() == Freestyle {
				b.interrupt("ABORTED")
			}
		}
	})
}

// ComeUp ends a restart. Items that left the queue are forgotten, as always; with loseQueue those in it are too,
// as when Jenkins was killed. X-Jenkins-Session is another one, web sessions are gone, quieting down is over.
func (s *Server) ComeUp(loseQueue bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == "" {
		return
	}
	s.down, s.quieting, s.session = "", false, newSession()
	clear(s.left)
	clear(s.cookies)
	s.root.walk(func(it *item) { it.held = false })
	if loseQueue {
		s.queue = slices.DeleteFunc(s.queue, func(e *entry) bool { return e.step == nil && e.phase != pending })
	}
	s.maintain()
}

// Restart is GoDown and ComeUp at once.
func (s *Server) Restart(loseQueue bool) {
	s.GoDown()
	s.ComeUp(loseQueue)
}

// Posts counts the requests to start a build of a job that came in, whatever the answer was.
func (s *Server) Posts(path string) int {
	posts := 0
	_ = s.withJob(path, func(it *item) error { // a job that is not there got none
		posts = it.posts
		return nil
	})
	return posts
}

// Requests lists the requests that were answered, or cut, since Start; of very many, the last 50,000 at least.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}
