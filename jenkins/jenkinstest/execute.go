package jenkinstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// start lets an entry become a build, or gives a pipeline that runs the executor it waits for.
func (s *Server) start(e *entry, on slot) {
	e.phase = pending
	if e.step != nil {
		on.node.running[on.at] = e.step
		s.leave(e, e.step)
		e.step.on, e.step.nodeName = on, on.node.Name
		e.step.granted <- on
		return
	}
	b := &build{item: e.item, job: e.item.job, queueID: e.id, params: e.params, on: on, granted: make(chan slot, 1)}
	ctx, cancel := context.WithCancel(s.ctx)
	b.cancel = cancel
	if on.node != nil {
		on.node.running[on.at], b.nodeName = b, on.node.Name
	}
	s.work.Go(func() {
		defer cancel()
		if s.create(e, b) {
			s.run(ctx, b)
		}
	})
}

// create turns a pending entry into a build with a number.
func (s *Server) create(e *entry, b *build) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.phase != pending { // its job was deleted
		s.free(b)
		return false
	}
	it := e.item
	b.number, b.started, b.estimate, b.causes = it.nextBuild, s.now(), it.estimate(), e.causes
	b.dir = filepath.Join(s.itemDir(it), "builds", strconv.Itoa(b.number))
	it.nextBuild++
	it.active++
	it.builds = append(it.builds, b)
	s.leave(e, b)
	s.problemLocked("keep the job", s.saveItem(it))
	s.problemLocked("keep the build", b.save())
	return true
}

// free gives a build's executor back.
func (s *Server) free(b *build) {
	if n := b.on.node; n != nil && n.running[b.on.at] == b {
		n.running[b.on.at] = nil
	}
}

// has says whether a build was not deleted meanwhile, and its folder with it.
func (s *Server) has(b *build) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.item.build(b.number) == b
}

// run takes a build from its first line of log to its end.
func (s *Server) run(ctx context.Context, b *build) {
	log, err := newLog(b.logFile())
	if err != nil {
		if s.has(b) {
			s.problem("open the log", err)
		}
		s.finish(b, "FAILURE", nil)
		return
	}
	for _, c := range b.causes {
		log.line(c.text())
	}
	var result string
	if b.job.kind() == Pipeline {
		result = s.runPipeline(ctx, b, log)
	} else {
		log.line("Running as SYSTEM")
		result = s.runCommand(ctx, b, log)
	}
	s.finish(b, result, log)
}

// runPipeline waits for an executor and runs the command there.
func (s *Server) runPipeline(ctx context.Context, b *build, log *buildLog) string {
	log.line("[Pipeline] Start of Pipeline", "[Pipeline] node")
	s.mu.Lock()
	now := s.now()
	wish := &entry{id: s.newID(), item: b.item, step: b, phase: buildable, since: now, due: now, buildableSince: now}
	s.queue = append(s.queue, wish)
	s.maintain()
	s.mu.Unlock()
	select {
	case <-b.granted:
	case <-ctx.Done():
		s.mu.Lock()
		if wish.phase != left {
			s.leave(wish, nil)
		}
		s.mu.Unlock()
		return "ABORTED"
	}
	result := s.runCommand(ctx, b, log)
	log.line("[Pipeline] }", "[Pipeline] // node", "[Pipeline] End of Pipeline")
	return result
}

// runCommand runs the job's script in a workspace that no other running build has.
func (s *Server) runCommand(ctx context.Context, b *build, log *buildLog) string {
	workspace, err := s.workspace(b)
	if err != nil {
		log.line("ERROR: " + err.Error())
		return "FAILURE"
	}
	defer s.leaveWorkspace(workspace)
	s.mu.Lock()
	job, cmd, where := b.job, s.command(b, workspace), s.whereOf(b, workspace)
	s.mu.Unlock()
	log.line(where...)
	if cmd.Path == "" && job.kind() == Pipeline {
		log.line("ERROR: the stand-in runs no Groovy; give the job a Command, or the server Options.Adopted")
		return "FAILURE"
	}
	if cmd.Path == "" {
		return "SUCCESS" // no steps, nothing to fail
	}
	script := cmd.Args[len(cmd.Args)-1]
	if err := os.WriteFile(script, []byte(job.Command), 0o755); err != nil {
		log.line("ERROR: " + err.Error())
		return "FAILURE"
	}
	defer os.Remove(script) //nolint:errcheck // a script that stays does no harm
	if job.Script != "" {
		if err := os.WriteFile(scriptFile(script), []byte(job.Script), 0o644); err != nil {
			log.line("ERROR: " + err.Error())
			return "FAILURE"
		}
		defer os.Remove(scriptFile(script)) //nolint:errcheck // as above
	}
	if job.kind() == Freestyle {
		log.line("[" + filepath.Base(workspace) + "] $ " + cmd.Path + " " + strings.Join(cmd.Args, " "))
	}
	code, err := s.exec(ctx, b, cmd, log)
	if err != nil {
		log.line("ERROR: " + err.Error())
		return "FAILURE"
	}
	return resultOf(job, code, log)
}

// exec runs the command; a build that is to end at once gets KILL instead of TERM. Both streams go through one
// pipe, so that the log has their lines in the order in which they were written.
func (s *Server) exec(ctx context.Context, b *build, cmd process.Cmd, log *buildLog) (code int, err error) {
	path, err := process.Look(cmd.Path)
	if err != nil {
		return 0, err
	}
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"-c", `exec "$@" 2>&1`, "sh", path}, cmd.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := cmd.Start(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		s.mu.Lock()
		hard := b.abort != nil && b.abort.Hard
		s.mu.Unlock()
		if hard {
			_ = p.Signal(syscall.SIGKILL) // a process that is gone is what we want
		}
	}
	result, err := p.Wait()
	if failed, ok := errors.AsType[*process.Error](err); ok && result != nil && (failed.Err == nil || ctx.Err() != nil) {
		err = nil
	}
	if err != nil {
		return 0, err
	}
	return result.ExitCode, nil
}

// resultOf is what an exit code means for a job.
func resultOf(job Job, code int, log *buildLog) string {
	step := "Build step 'Execute shell' "
	say := func(text string) {
		if job.kind() == Freestyle {
			log.line(step + text)
		}
	}
	switch {
	case code == 0:
		return "SUCCESS"
	case code == job.UnstableReturn:
		say("changed build result to UNSTABLE")
		return "UNSTABLE"
	case code == job.NotBuiltReturn:
		return "NOT_BUILT"
	}
	say("marked build as failure")
	if job.kind() == Pipeline {
		log.line(fmt.Sprintf("ERROR: script returned exit code %d", code))
	}
	return "FAILURE"
}

// finish ends a build: its result, its log's last line, its executor.
func (s *Server) finish(b *build, result string, log *buildLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.abort != nil {
		result = b.abort.Result
		if b.job.kind() == Freestyle {
			log.line("Build was aborted")
		}
		for _, by := range b.abort.By {
			log.line("Aborted by " + by.Name)
		}
	}
	b.setResult(result)
	b.duration = s.now().Sub(b.started).Truncate(time.Millisecond)
	if rest := b.job.PostProduction; rest > 0 && b.job.kind() == Freestyle && s.ctx.Err() == nil {
		b.stage = finishing
		s.mu.Unlock()
		sleep(s.ctx, rest)
		s.mu.Lock()
	}
	log.line("Finished: " + b.result)
	s.problemLocked("close the log", log.close())
	b.stage = complete
	b.item.active--
	s.free(b)
	if b.item.build(b.number) == b { // not deleted meanwhile
		s.problemLocked("keep the build", b.save())
	}
	s.maintain()
}

func sleep(ctx context.Context, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// buildLog is a build's log file. A nil one drops everything.
type buildLog struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first of a write
}

func newLog(path string) (*buildLog, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return &buildLog{file: file}, err
}

// Write is for the command's output, both streams at once.
func (l *buildLog) Write(text []byte) (int, error) {
	if l == nil {
		return len(text), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.file.Write(text)
	if l.err == nil {
		l.err = err
	}
	return n, err
}

// line writes whole lines of Jenkins' own; what goes wrong is kept for close.
func (l *buildLog) line(lines ...string) {
	for _, text := range lines {
		_, _ = l.Write([]byte(text + "\n"))
	}
}

func (l *buildLog) close() error {
	if l == nil {
		return nil
	}
	return errors.Join(l.err, l.file.Close())
}
