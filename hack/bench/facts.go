package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// fact is what is no work over connections and has no ratio. A new one is one more entry of facts.
type fact struct {
	name, about string
	find        func(ctx context.Context, s *stage, o options) ([]reading, error)
}

// reading is one number of a fact, measured several times.
type reading struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
}

// The readings that targets refer to.
const (
	readStart      = "standalone, from its start to the first answered call"
	readRoute      = "router.Route, 10 tools"
	readRouteMany  = "router.Route, 10 000 tools"
	readRouteAlloc = "router.Route, allocations"
)

func facts() []fact {
	return []fact{
		{"start", "how soon a gateway answers, Envoy included", findStart},
		{"router.Route", "the Go benchmark of the routing decision: tools/call, 1 KiB, in a session", findRoute},
	}
}

// maxStarts is how often a start is measured at most: it takes seconds, and differs little.
const maxStarts = 5

// findStart starts `mcp-broker-router standalone` as users do, on no CPU of its own, and waits for the first answered call.
func findStart(ctx context.Context, s *stage, o options) ([]reading, error) {
	base, _, err := s.upstream(ctx)
	if err != nil {
		return nil, err
	}
	if s.envoyBin == "" {
		return nil, errNoEnvoy
	}
	config, err := s.write("start-config.yaml", catalog{}.config(base))
	if err != nil {
		return nil, err
	}
	r := reading{Name: readStart, Unit: "s"}
	for range min(o.rounds, maxStarts) {
		took, err := s.startOnce(ctx, config)
		if err != nil {
			return nil, err
		}
		r.Values = append(r.Values, took.Seconds())
	}
	return []reading{r}, nil
}

func (s *stage) startOnce(ctx context.Context, config string) (time.Duration, error) {
	listen, err := freeAddress(ctx)
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), s.gatewayBin, "standalone", "--envoy", s.envoyBin, "--envoy-module", s.moduleLib,
		"--mcp-gateway-config", config, "--port", port, "--log-level", "warn", "--admin-address", "unix:"+filepath.Join(s.folder, "start-admin.sock"))
	cmd.Dir = s.folder
	began := time.Now()
	p, err := s.start("mcp-broker-router standalone", cmd)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	c := benchCase{work: workCall, body: 1024, connections: 1}
	j := c.job(target{url: "http://" + listen + "/mcp", tool: catalog{}.prefix(serverSessionless) + toolName})
	err = p.until(ctx, probeTime, j.try)
	return time.Since(began), err
}

// routeBenchmark is what `go test -bench` prints of the routing decision, which is measured where it is written.
const routeBenchmark = "^(BenchmarkRoute|BenchmarkSessionLookup)$"

// findRoute runs the Go benchmark. It needs the sources and Go: where these are not, the fact is left out.
func findRoute(ctx context.Context, s *stage, o options) ([]reading, error) {
	const pkg = "./internal/router"
	if _, err := os.Stat(pkg); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	tool, err := exec.LookPath("go")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	args := s.pins.command(partEnvoy, []string{
		tool, "test", "-run", "^$", "-bench", routeBenchmark, "-benchmem", "-benchtime", "200ms", "-count", strconv.Itoa(min(o.rounds, maxStarts)), pkg,
	})
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	dieTogether(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // what it started as well
	cmd.WaitDelay = stopTime
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go test %s: %w: %s%s", pkg, err, out.Bytes(), errs.Bytes())
	}
	return readRoutes(out.String())
}

// readRoutes reads the output of the benchmark. The check of the session's token counts apart.
func readRoutes(out string) ([]reading, error) {
	token := numbers(out, `BenchmarkSessionLookup`, "ns/op")
	if len(token) == 0 {
		return nil, errors.New("the benchmark of router.Route printed no result")
	}
	few, many := reading{Name: readRoute, Unit: "µs"}, reading{Name: readRouteMany, Unit: "µs"}
	for r, tools := range map[*reading]string{&few: "10", &many: "10000"} {
		for _, ns := range numbers(out, `BenchmarkRoute/sessions=false/tools=`+tools, "ns/op") {
			r.Values = append(r.Values, (ns-median(token))/1000)
		}
	}
	allocations := reading{Name: readRouteAlloc, Unit: "", Values: numbers(out, `BenchmarkRoute/sessions=false/tools=10`, "allocs/op")}
	return []reading{few, many, allocations}, nil
}

// numbers are those before a unit in the lines of a benchmark.
func numbers(out, benchmark, unit string) []float64 {
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(benchmark) + `(?:-\d+)?\s.*?([\d.]+) ` + regexp.QuoteMeta(unit) + `\b`)
	var found []float64
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		if n, err := strconv.ParseFloat(m[1], 64); err == nil {
			found = append(found, n)
		}
	}
	return found
}

func findAll(ctx context.Context, s *stage, o options, progress io.Writer) ([]factReport, error) {
	var out []factReport
	for _, f := range o.facts {
		_, _ = fmt.Fprintf(progress, "bench: %s\n", f.name)
		readings, err := f.find(ctx, s, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if readings == nil {
			_, _ = fmt.Fprintf(progress, "bench: %s is left out: it needs Go and the sources here\n", f.name)
			continue
		}
		out = append(out, factReport{Name: f.name, About: f.about, Readings: readings})
	}
	return out, nil
}
