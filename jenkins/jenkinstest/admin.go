package jenkinstest

import (
	"errors"
	"net/http"
	"os"
	"strings"
)

// createItem is POST createItem?name=: XML in the body, or mode=copy with from=.
func (x *exchange) createItem(folder *item) answer {
	return x.need(ItemCreate, folder, func() answer {
		a, err := x.newItem(folder)
		if f, ok := errors.AsType[failure](err); ok {
			return x.complain(f)
		}
		if err != nil {
			return x.oops(http.StatusInternalServerError, "java.io.IOException: "+err.Error())
		}
		return a
	})
}

func (x *exchange) newItem(folder *item) (answer, error) {
	kind := x.r.Header.Get("Content-Type")
	isXML := strings.HasPrefix(kind, "application/xml") || strings.HasPrefix(kind, "text/xml")
	isCopy := x.form.Get("mode") == "copy"
	switch {
	case kind == "" && !isCopy:
		return answer{}, failure("No Content-Type header set")
	case !x.form.Has("name"):
		return answer{}, failure("Query parameter 'name' is required")
	}
	if err := x.profile.checkName(x.form.Get("name")); err != nil {
		return answer{}, err
	}
	name := strings.TrimSpace(x.form.Get("name"))
	if folder.children[name] != nil {
		return answer{}, failure("A job already exists with the name ‘" + name + "’")
	}
	it := &item{name: name, parent: folder, nextBuild: 1}
	config := string(x.body)
	switch {
	case isCopy:
		from := x.form.Get("from")
		source := x.root.find(strings.TrimPrefix(from, "/"))
		if source == nil {
			source = folder.find(from)
		}
		if source == nil || !x.caller.canRead(source) || from == "" {
			return answer{}, failure("No such job: " + from)
		}
		config = source.xml()
		it.job, it.held = source.job, true
	case !isXML:
		return answer{}, failure("No mode given")
	}
	if err := x.adopt(it, config, isCopy); err != nil {
		return answer{}, err
	}
	folder.children[name] = it
	if isCopy {
		return x.redirect(x.options.Context + "/" + it.path() + "configure"), x.saveItem(it)
	}
	return answerOf(http.StatusOK, "", ""), x.saveItem(it)
}

// adopt makes an item what a config.xml says. What only the stand-in knows of a job stays.
func (x *exchange) adopt(it *item, config string, keepCommand bool) error {
	job, folder, err := parseConfig(it.fullName(), []byte(config))
	switch {
	case err != nil:
		return err
	case folder:
		if it.children == nil {
			it.children = map[string]*item{}
		}
	default:
		old := it.job
		if old.Path == "" && job.kind() == Pipeline { // a new one
			old = x.options.Adopted
		}
		if keepCommand || job.kind() == Pipeline {
			job.Command, job.UnstableReturn = old.Command, old.UnstableReturn
		}
		if job.kind() == Pipeline {
			job.Label = old.Label
		}
		job.NotBuiltReturn, job.PostProduction, job.Clean = old.NotBuiltReturn, old.PostProduction, old.Clean
		it.job = job
	}
	it.config = config
	return nil
}

// configXML reads or replaces an item's configuration.
func (x *exchange) configXML(it *item) answer {
	switch x.r.Method {
	case http.MethodGet:
		return answerOf(http.StatusOK, "application/xml", it.xml())
	case http.MethodPost:
		err := x.adopt(it, string(x.body), false)
		if err == nil {
			it.held = false
			err = x.saveItem(it)
		}
		if err != nil {
			return x.oops(http.StatusInternalServerError, "java.io.IOException: Failed to persist config.xml: "+err.Error())
		}
		x.maintain()
		return answerOf(http.StatusOK, "", "")
	}
	return x.container(http.StatusBadRequest, x.r.URL.EscapedPath(), "Bad Request")
}

// deleteItem removes a job or a folder with all that is below.
func (x *exchange) deleteItem(it *item) answer {
	x.remove(it)
	x.problemLocked("delete the job", os.RemoveAll(x.itemDir(it)))
	return x.redirect(x.options.Context + "/" + it.parent.path())
}

// remove takes an item and what is below out of everything that goes on.
func (s *Server) remove(it *item) {
	delete(it.parent.children, it.name)
	it.walk(func(job *item) {
		for _, e := range s.inPhase(pending) {
			if e.item == job {
				s.leave(e, nil)
			}
		}
		s.cancelOf(job, true)
		for _, b := range job.builds {
			b.interrupt("ABORTED")
		}
		job.builds = nil
	})
}

// deleteBuild removes one build; a running one is ended first.
func (s *Server) deleteBuild(b *build) {
	b.interrupt("ABORTED")
	for i, other := range b.item.builds {
		if other == b {
			b.item.builds = append(b.item.builds[:i:i], b.item.builds[i+1:]...)
			break
		}
	}
	s.problemLocked("delete the build", os.RemoveAll(b.dir))
}

// disable forbids or allows builds; forbidding takes one entry out of the queue.
func (s *Server) disable(it *item, disabled bool) {
	if it.job.Disabled == disabled {
		return
	}
	it.job.Disabled, it.config, it.held = disabled, "", false
	s.problemLocked("keep the job", s.saveItem(it))
	if disabled {
		s.cancelOf(it, false)
	}
}

func (s *Server) quiet(quiet bool) {
	s.quieting = quiet
	s.maintain()
}

// stopBuild ends a build that runs. The answer is the same when there is nothing to end.
func (x *exchange) stopBuild(b *build, hard bool) answer {
	if !b.running() {
		return x.back()
	}
	return x.need(ItemCancel, b.item, func() answer {
		by := []cause{x.caller.cause()}
		if x.caller.anonymous {
			by = nil
		}
		b.interruptHow("ABORTED", by, hard)
		return x.back()
	})
}
