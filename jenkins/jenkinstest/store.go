package jenkinstest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// The home folder holds jobs/NAME/{job.json,config.xml,builds/N/{build.json,log}}, folders as jobs/NAME/jobs,
// queue.json and next-queue-id: the layout of a Jenkins, with files of our own.

// writeFile replaces a file at once. It need not outlive a power cut, so nothing is synced.
func writeFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *Server) itemDir(it *item) string {
	if it.parent == nil {
		return s.home
	}
	return filepath.Join(s.itemDir(it.parent), "jobs", it.name)
}

// kept is a job.json.
type kept struct {
	Job       Job
	NextBuild int
}

func (s *Server) saveItem(it *item) error {
	dir := s.itemDir(it)
	if it.isFolder() {
		if err := os.MkdirAll(filepath.Join(dir, "jobs"), 0o755); err != nil || it.config == "" {
			return err
		}
		return writeFile(filepath.Join(dir, "config.xml"), []byte(it.config))
	}
	if err := os.MkdirAll(filepath.Join(dir, "builds"), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(kept{it.job, it.nextBuild}, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(writeFile(filepath.Join(dir, "config.xml"), []byte(it.xml())), writeFile(filepath.Join(dir, "job.json"), text))
}

// load reads a home folder, as a Jenkins that starts does.
func (s *Server) load() error {
	if err := os.MkdirAll(filepath.Join(s.home, "jobs"), 0o755); err != nil {
		return err
	}
	if err := s.loadChildren(s.root); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.home, "next-queue-id"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if s.lastID, err = strconv.ParseInt(string(text), 10, 64); err != nil {
			return err
		}
	}
	return s.loadQueue()
}

func (s *Server) loadChildren(folder *item) error {
	entries, err := os.ReadDir(filepath.Join(s.itemDir(folder), "jobs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		it := &item{name: e.Name(), parent: folder, nextBuild: 1}
		folder.children[it.name] = it
		dir := s.itemDir(it)
		text, err := os.ReadFile(filepath.Join(dir, "job.json"))
		if errors.Is(err, fs.ErrNotExist) {
			it.children = map[string]*item{}
			err = s.loadChildren(it)
		} else if err == nil {
			err = s.loadJob(it, text)
		}
		if err != nil {
			return err
		}
		config, err := os.ReadFile(filepath.Join(dir, "config.xml"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		it.config = string(config)
	}
	return nil
}

func (s *Server) loadJob(it *item, text []byte) error {
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return err
	}
	it.job, it.nextBuild = k.Job, k.NextBuild
	builds := filepath.Join(s.itemDir(it), "builds")
	entries, err := os.ReadDir(builds)
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := loadBuild(it, filepath.Join(builds, e.Name()))
		if err != nil {
			return err
		}
		it.builds = append(it.builds, b)
	}
	slices.SortFunc(it.builds, func(a, b *build) int { return a.number - b.number })
	return nil
}

// newID gives ids that are never given again in this home.
func (s *Server) newID() int64 {
	s.lastID++
	s.problemLocked("keep the queue's id", writeFile(filepath.Join(s.home, "next-queue-id"), []byte(strconv.FormatInt(s.lastID, 10))))
	return s.lastID
}

// keptEntry is an entry of queue.json. Entries of pipelines that run are not kept: no pipeline outlives Close.
type keptEntry struct {
	ID                         int64
	Job                        string
	Params                     []value
	Causes                     []cause
	Since, Due, BuildableSince time.Time
}

func (s *Server) saveQueue() error {
	var all []keptEntry
	for _, e := range s.queue {
		if e.step == nil {
			all = append(all, keptEntry{e.id, e.item.fullName(), e.params, e.causes, e.since, e.due, e.buildableSince})
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.home, "queue.json"), text)
}

func (s *Server) loadQueue() error {
	text, err := os.ReadFile(filepath.Join(s.home, "queue.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var all []keptEntry
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, k := range all {
		if it := s.root.find(k.Job); it != nil && !it.isFolder() {
			s.queue = append(s.queue, &entry{id: k.ID, item: it, params: k.Params, causes: k.Causes, since: k.Since, due: k.Due, buildableSince: k.BuildableSince})
		}
	}
	return nil
}
