package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is one that was started here, and will be stopped by its id.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *tail
	stdin io.WriteCloser // nil unless it was asked for; its end tells our own helpers to end
	ended chan struct{}  // closed once it has been waited for
	err   error          // how it ended, to be read after ended
}

// stopTime is how long a process may take to end before it is killed.
const stopTime = 10 * time.Second

// start runs a command in a process group of its own: a Ctrl-C must reach this process alone, which then stops the others in their order.
func start(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: &tail{most: 4 << 10}, ended: make(chan struct{})}
	cmd.Stderr = p.log
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	dieTogether(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// helper starts this very binary in another role. Its standard output is returned to be read.
func helper(name string, cmd *exec.Cmd) (*process, io.Reader, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, in, err := os.Pipe() // not StdoutPipe, which Wait would close under the reader
	if err != nil {
		return nil, nil, err
	}
	cmd.Stdout = in
	p, err := start(name, cmd)
	_ = in.Close() // the process has its own copy
	if err != nil {
		_ = out.Close()
		return nil, nil, err
	}
	p.stdin = stdin
	return p, out, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process, by force if it doesn't end by itself.
func (p *process) stop() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended already
	}
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// fault tells why the process has ended, nil as long as it runs.
func (p *process) fault() error {
	select {
	case <-p.ended:
		// p.err is nil of one that ended well.
		return fmt.Errorf("%s has ended (%v); its last words:\n%s", p.name, p.err, p.log) //nolint:errorlint // so that there may be nothing to wrap
	default:
		return nil
	}
}

// until tries again and again until try succeeds, the process ends, or the time is over.
func (p *process) until(ctx context.Context, limit time.Duration, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.fault()
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s is not ready: %w; its last words:\n%s", p.name, err, p.log), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	most int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - t.most; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}
