package testbed

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a test waits for what a healthy machine does within a second or two.
const Patience = 30 * time.Second

// Command is how a program is started.
type Command struct {
	Path string
	Args []string
	// Env is added to the test's own environment.
	Env []string
	// Dir is where it runs; empty means where the test does.
	Dir string
	// Group has signals go to all that it starts, as Ctrl-C on a terminal does.
	Group bool
}

// Process is a running program. It is killed when the test ends, and if that failed its output is shown.
type Process struct {
	name  string
	cmd   *exec.Cmd
	group bool
	out   *output
	done  chan struct{}
}

// Start starts a program.
func Start(t testing.TB, name string, c Command) *Process {
	t.Helper()
	p := &Process{name: name, group: c.Group, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...) //nolint:noctx // the context of a test ends before its cleanup, which stops the process gently
	p.cmd.Env, p.cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = dieWithUs()
	if c.Group {
		if p.cmd.SysProcAttr == nil {
			p.cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		p.cmd.SysProcAttr.Setpgid = true
	}
	// A grandchild that outlives the process may hold the pipe.
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("cannot start %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is asked for by those who care
	}()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, tail(p.Output()))
		}
	})
	return p
}

// tail is the end of a text that is long.
func tail(s string) string {
	const most = 8 << 10
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}

// end stops the process with its own manners, and without them if it has none.
func (p *Process) end() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(Patience):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal. One that has ended gets none.
func (p *Process) Signal(sig os.Signal) {
	if number, ok := sig.(syscall.Signal); ok && p.group {
		_ = syscall.Kill(-p.PID(), number)
		return
	}
	_ = p.cmd.Process.Signal(sig)
}

// Kill ends the process without a warning and waits for it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// ExitCode waits for the end of the process.
func (p *Process) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		t.Fatalf("%s did not end within %v", p.name, Patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output is what the process has said so far, on both of its outputs.
func (p *Process) Output() string { return p.out.String() }

// Said waits until the process has said something.
func (p *Process) Said(t testing.TB, text string) {
	t.Helper()
	Await(t, p.name+" to say "+text, func() bool { return strings.Contains(p.Output(), text) })
}

// Await polls until a condition holds.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	AwaitWithin(t, Patience, what, holds)
}

// AwaitWithin is Await with a limit of its own, where how long it takes is what is tested.
func AwaitWithin(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain for %s", limit, what)
		case <-t.Context().Done():
			t.Fatalf("the test ended while it waited for %s", what)
		}
	}
}

// output is a buffer that a process writes while a test reads.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
