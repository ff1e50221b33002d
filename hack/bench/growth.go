package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// growth is what becomes of a call's cost, and of the memory, with more of something. A new one is one more entry of growths.
type growth struct {
	name, about string
	sizes       []int
	// of is a gateway that has so many.
	of func(n int) gatewaySpec
	// reloads tells that a changed configuration is measured too.
	reloads bool
}

func growths() []growth {
	return []growth{
		{
			"growth with servers", "servers with 10 tools each",
			[]int{10, 100, 1000},
			func(n int) gatewaySpec { return gatewaySpec{catalog: catalog{servers: n, tools: 10}} }, true,
		},
		{
			"growth with tools", "tools of one server",
			[]int{10, 1000, 10_000},
			func(n int) gatewaySpec { return gatewaySpec{catalog: catalog{servers: 1, tools: n}} }, false,
		},
		{
			"growth with sessions", "open sessions of clients that rest",
			[]int{10, 1000, 10_000},
			func(n int) gatewaySpec { return gatewaySpec{sessions: n} }, false,
		},
	}
}

// The quantities whose growth is measured.
const (
	growingCPU    = "CPU of a call"
	growingBroker = "broker/router's memory"
	growingEnvoy  = "Envoy's memory"
	growingReload = "a change of the configuration"
)

// grown is one gateway of a growth.
type grown struct {
	row    string
	size   int
	spec   gatewaySpec
	c      benchCase
	target target
}

// measureGrowths measures one growth after the other.
func measureGrowths(ctx context.Context, s *stage, o options, progress io.Writer) ([]growthReport, error) {
	var out []growthReport
	for _, g := range o.growths {
		adapters := slices.DeleteFunc([]string{extProcRow, moduleRow}, func(name string) bool {
			return !slices.ContainsFunc(o.rows, func(r row) bool { return r.name == name })
		})
		if len(adapters) == 0 {
			_, _ = fmt.Fprintf(progress, "bench: %s is left out: it has none of the chosen rows\n", g.name)
			continue
		}
		r, err := g.measure(ctx, s, adapters, o, progress)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// measure has all sizes there at once, and measures them in turns as rows of a case are.
func (g *growth) measure(ctx context.Context, s *stage, adapters []string, o options, progress io.Writer) (growthReport, error) {
	out := growthReport{Name: g.name, About: g.about, Sizes: g.sizes, Connections: usualConnections}
	var all []grown
	defer func() {
		for _, one := range all {
			s.end(one.spec)
		}
	}()
	for _, adapter := range adapters {
		for _, n := range g.sizes {
			_, _ = fmt.Fprintf(progress, "bench: %s: preparing %s with %s\n", g.name, adapter, thousands(n))
			one, err := g.prepare(ctx, s, adapter, n)
			if err != nil {
				return out, fmt.Errorf("%s with %d: %w", adapter, n, err)
			}
			all = append(all, one)
		}
	}
	found := map[quantity][][]float64{}
	order := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // for an order, not for a secret
	for n := range o.rounds {
		_, _ = fmt.Fprintf(progress, "bench: %s: round %d of %d\n", g.name, n+1, o.rounds)
		for _, i := range order.Perm(len(all)) {
			if err := all[i].round(ctx, s, g, o, found, progress); err != nil {
				return out, fmt.Errorf("%s with %d, round %d: %w", all[i].row, all[i].size, n+1, err)
			}
		}
	}
	for _, name := range []string{growingCPU, growingBroker, growingEnvoy, growingReload} {
		for _, adapter := range adapters {
			if values := found[quantity{name, adapter}]; values != nil {
				out.Quantities = append(out.Quantities, newGrowing(name, adapter, g.sizes, values))
			}
		}
	}
	return out, nil
}

func (g *growth) prepare(ctx context.Context, s *stage, adapter string, n int) (grown, error) {
	one := grown{row: adapter, size: n, spec: g.of(n)}
	one.spec.module = adapter == moduleRow
	server := serverSessionless
	if of := one.spec.catalog; of.servers > 0 {
		server = of.server(of.servers / 2)
	}
	one.c = benchCase{name: g.name, work: workCall, catalog: one.spec.catalog, tool: toolName, body: 1024, connections: usualConnections}
	var err error
	if one.target, err = s.behindGateway(ctx, one.spec, server, &one.c); err != nil {
		return one, err
	}
	return one, openSessions(ctx, one.target, one.spec.sessions)
}

// openers is over how many connections sessions are opened.
const openers = 8

// openSessions opens sessions that stay open without a connection.
func openSessions(ctx context.Context, t target, n int) error {
	errs := make([]error, openers)
	var all sync.WaitGroup
	for i := range min(n, openers) {
		all.Go(func() {
			c := &client{}
			defer c.close()
			// The session that it opens first is one of them.
			if errs[i] = c.open(ctx, job{URL: t.url, Work: workCall, Tool: t.tool, Body: 1024, Connections: 1}, i); errs[i] != nil {
				return
			}
			for range (n - i - 1) / openers {
				_ = c.conn.SetDeadline(time.Now().Add(setupTime)) // as in open
				if errs[i] = errors.Join(c.initialize(), ctx.Err()); errs[i] != nil {
					return
				}
			}
			c.session = "" // or it would be ended
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// quantity is one of a row.
type quantity struct{ name, row string }

// round measures everything of one gateway once.
func (one *grown) round(ctx context.Context, s *stage, g *growth, o options, found map[quantity][][]float64, progress io.Writer) error {
	note := func(name string, value float64) {
		key := quantity{name, one.row}
		if found[key] == nil {
			found[key] = make([][]float64, len(g.sizes))
		}
		at := slices.Index(g.sizes, one.size)
		found[key][at] = append(found[key][at], value)
	}
	// Before the calls, since what these leave behind for a moment has nothing to do with the size.
	memory := held(one.target.parts)
	for name, of := range map[string]part{growingBroker: partGateway, growingEnvoy: partEnvoy} {
		if bytes, ok := memory[of]; ok {
			note(name, float64(bytes)/(1<<20))
		}
	}
	r, err := measureAgain(ctx, s, &one.c, one.target, 0, o, progress)
	if err != nil {
		return err
	}
	if envoy, ok := r.cpu[partEnvoy]; ok && r.cpu[partGateway]+envoy > 0 {
		note(growingCPU, microseconds(envoy+r.cpu[partGateway])/float64(r.Calls))
	}
	if !g.reloads {
		return nil
	}
	took, err := one.reload(ctx, s)
	if err == nil {
		note(growingReload, float64(took)/float64(time.Millisecond))
	}
	return err
}

// reload gives the first server another prefix, or its own again, and tells how long it takes until its tool is called so.
func (one *grown) reload(ctx context.Context, s *stage) (time.Duration, error) {
	path := filepath.Join(s.folder, one.spec.name()+"-config.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	prefix := one.spec.catalog.prefix(one.spec.catalog.server(0))
	other := "other_" + prefix
	if bytes.Contains(config, []byte(other)) {
		prefix, other = other, prefix
	}
	config = bytes.Replace(config, fmt.Appendf(nil, "%q", prefix), fmt.Appendf(nil, "%q", other), 1)
	c := &client{}
	defer c.close()
	if err := c.open(ctx, one.c.job(one.target), 0); err != nil {
		return 0, err
	}
	// Whoever reads it meanwhile must not find half of it.
	if err := errors.Join(os.WriteFile(path+".new", config, 0o600), os.Rename(path+".new", path)); err != nil {
		return 0, err
	}
	began := time.Now()
	c.prepare(callBody(other+toolName, 1024, false))
	for {
		err := c.call()
		took := time.Since(began)
		switch {
		case err == nil:
			return took, nil
		case !errors.Is(err, errAnswer):
			return 0, err
		case took > setupTime:
			return 0, fmt.Errorf("%s: the changed configuration is not in force after %s: %w", one.row, setupTime, err)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// end stops one gateway.
func (s *stage) end(spec gatewaySpec) {
	if g := s.gateways[spec]; g != nil {
		g.with.stop()
		g.broker.stop()
		delete(s.gateways, spec)
	}
}
