package app

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process that this one starts and that never outlives it.
type child struct {
	name   string
	cmd    *exec.Cmd
	output *output
	done   chan struct{}
	err    error // once done
}

// startChild starts a command in a process group of its own, so that Ctrl-C on the terminal does not reach it. It gets
// nothing of our environment but what any program needs, so that no credential is in it, and what is added. What it writes is passed on line
// by line.
func startChild(name string, env []string, onLine func(string), path string, args ...string) (*child, error) {
	c := &child{name: name, output: &output{onLine: onLine}, done: make(chan struct{})}
	c.cmd = exec.Command(path, args...) //nolint:noctx // it is ended in an order that no context knows
	c.cmd.Env = append(plainEnvironment(os.LookupEnv), env...)
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = ownGroup()
	started := make(chan error)
	go func() {
		// The child dies with the thread that started it, so that thread must not end before the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			c.output.flush()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	return c, nil
}

func plainEnvironment(lookup func(string) (string, bool)) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ"} {
		if v, ok := lookup(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// stop asks the child to end, and ends it if it has not within grace, or as soon as hurry is closed.
func (c *child) stop(grace time.Duration, hurry <-chan struct{}) {
	c.output.mute()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return
	case <-timer.C:
	case <-hurry:
	}
	_ = c.cmd.Process.Kill()
	<-c.done
}

// ended is the error of a child that ended though nobody asked it to. It shows the child's last words.
func (c *child) ended() error {
	state := "with exit code 0"
	if c.err != nil {
		state = "with " + c.err.Error()
	}
	words := c.output.last()
	if len(words) == 0 {
		return fmt.Errorf("%s ended unexpectedly %s, without a word", c.name, state)
	}
	return fmt.Errorf("%s ended unexpectedly %s; its last words:\n  %s", c.name, state, strings.Join(words, "\n  "))
}

// lastLines is how many lines of a child's output are kept for the case that it dies.
const lastLines = 10

// maxLine bounds what is kept of an unfinished line.
const maxLine = 64 << 10

// output passes lines on and remembers the last ones.
type output struct {
	onLine func(string)

	mu    sync.Mutex
	muted bool
	rest  []byte
	lines []string
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, b...)
	for {
		line, rest, found := bytes.Cut(o.rest, []byte("\n"))
		if !found && len(o.rest) < maxLine {
			return len(b), nil
		}
		o.line(string(line))
		o.rest = rest
	}
}

func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.rest) > 0 {
		o.line(string(o.rest))
		o.rest = nil
	}
}

func (o *output) line(line string) {
	o.lines = append(o.lines, line)
	o.lines = o.lines[max(0, len(o.lines)-lastLines):]
	if !o.muted {
		o.onLine(line)
	}
}

// mute passes no more lines on: what a child says of its being stopped is of interest to nobody.
func (o *output) mute() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.muted = true
}

func (o *output) last() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.lines...)
}
