package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// stage is what the rows are measured on: everything is started when a row first needs it, and stopped at the end.
type stage struct {
	envoyBin, gatewayBin, moduleLib string
	pins                            pinning
	folder                          string
	running                         []*process
	closing                         []func()

	upstreamBase string // URL of the upstream without a path
	upstreamProc *process
	load         *loader
	guard        guard      // once a row needs it
	otlp         *collector // likewise
	envoys       map[string]*plainProcess
	gateways     map[gatewaySpec]*gateway
}

// target is where a row's calls go.
type target struct {
	url, tool string
	// listed is how many tools must be listed there before anything is measured; 0 means that nobody looks.
	listed int
	// authorization is sent with every request, if it is not empty.
	authorization string
	// parts are the processes whose CPU time belongs to the row, by what they are.
	parts map[part]*process
}

func newStage(o options) (*stage, error) {
	folder, err := os.MkdirTemp("", "mcp-bench-")
	if err != nil {
		return nil, err
	}
	return &stage{
		envoyBin: o.envoyBin, gatewayBin: o.gatewayBin, moduleLib: o.moduleLib, pins: o.pins, folder: folder,
		envoys: map[string]*plainProcess{}, gateways: map[gatewaySpec]*gateway{},
	}, nil
}

// stop stops everything in the reverse order of its start.
func (s *stage) stop() {
	for i := len(s.running) - 1; i >= 0; i-- {
		s.running[i].stop()
	}
	s.running = nil
	for _, end := range s.closing {
		end()
	}
	_ = os.RemoveAll(s.folder)
}

func (s *stage) command(ctx context.Context, of part, args ...string) *exec.Cmd {
	args = s.pins.command(of, args)
	// The context must not kill it: stop has an order, and gives time to end well.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.Dir = s.folder
	return cmd
}

func (s *stage) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := start(name, cmd)
	if err == nil {
		s.running = append(s.running, p)
	}
	return p, err
}

func (s *stage) helper(ctx context.Context, of part, role string) (*process, io.Reader, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	p, out, err := helper(string(of), s.command(ctx, of, self, role))
	if err == nil {
		s.running = append(s.running, p)
	}
	return p, out, err
}

// upstream is the URL of the upstream, without a path.
func (s *stage) upstream(ctx context.Context) (string, *process, error) {
	if s.upstreamProc == nil {
		p, out, err := s.helper(ctx, partUpstream, roleUpstream)
		if err != nil {
			return "", nil, err
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return "", nil, fmt.Errorf("the upstream told no address: %w", errors.Join(err, p.fault()))
		}
		s.upstreamProc, s.upstreamBase = p, "http://"+address[:len(address)-1]
	}
	return s.upstreamBase, s.upstreamProc, nil
}

// write puts a file into the stage's folder.
func (s *stage) write(name string, content []byte) (path string, err error) {
	path = filepath.Join(s.folder, name)
	return path, os.WriteFile(path, content, 0o600)
}

// loader is the load generator's process.
type loader struct {
	*process
	events *bufio.Scanner
}

func (s *stage) loader(ctx context.Context) (*loader, error) {
	if s.load == nil {
		p, out, err := s.helper(ctx, partLoad, roleLoad)
		if err != nil {
			return nil, err
		}
		s.load = &loader{process: p, events: bufio.NewScanner(out)}
	}
	return s.load, nil
}

// do has a job done, and calls the functions when the measured time begins and ends.
func (l *loader) do(ctx context.Context, j job, began, ended func()) (outcome, error) {
	// Whatever hangs, the events end with the process.
	limit := setupTime + j.Warmup + j.Duration + patience + 5*time.Second
	timer := time.AfterFunc(limit, func() { _ = l.cmd.Process.Kill() })
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { _ = l.cmd.Process.Kill() })()
	if err := json.NewEncoder(l.stdin).Encode(j); err != nil {
		return outcome{}, errors.Join(fmt.Errorf("the load generator takes no job: %w", err), ctx.Err())
	}
	for l.events.Scan() {
		var e event
		if err := json.Unmarshal(l.events.Bytes(), &e); err != nil {
			return outcome{}, fmt.Errorf("the load generator says %.100q: %w", l.events.Bytes(), err)
		}
		switch e.Name {
		case eventBegan:
			began()
		case eventEnded:
			ended()
		case eventDone:
			return *e.Outcome, nil
		}
	}
	<-l.ended
	return outcome{}, errors.Join(l.fault(), ctx.Err())
}

// probe opens one session at a target, until that works: then everything on the way is ready, all that is to be listed included.
func (t target) probe(ctx context.Context, wait *process, c *benchCase) error {
	return wait.until(ctx, probeTime, func(ctx context.Context) error {
		for _, w := range []work{workList, c.work} {
			j := c.job(t)
			if j.Work = w; w == workList && j.Tools == 0 {
				continue
			}
			if w == workFresh {
				j.Work = workCall // which its clients only make in turns
			}
			if err := j.try(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// probeTime is how long a gateway may take until all its servers are ready.
const probeTime = time.Minute

// try opens one client of the job and closes it.
func (j job) try(ctx context.Context) error {
	c := &client{}
	defer c.close()
	return c.open(ctx, j, 0)
}

// dismiss ends the gateways that have this catalog, unless it is the usual one: they would take time and memory from what is measured later.
func (s *stage) dismiss(of catalog) {
	for spec, g := range s.gateways {
		if spec.catalog == of && of != (catalog{}) {
			g.with.stop()
			g.broker.stop()
			delete(s.gateways, spec)
		}
	}
}

// counts is what the upstream has been asked so far.
func (s *stage) counts(ctx context.Context) (counts, error) {
	var out counts
	base, _, err := s.upstream(ctx)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+pathCounts, nil)
	if err != nil {
		return out, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, fmt.Errorf("the upstream's counts: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	err = json.NewDecoder(resp.Body).Decode(&out)
	return out, err
}
