package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// round is one measurement of one row.
type round struct {
	outcome
	took time.Duration
	cpu  map[part]time.Duration // what the processes on the way spent in the measured time
}

func (r round) callsPerSecond() float64 { return float64(r.Calls) / r.took.Seconds() }

// series is all measurements of one row, in the order of the rounds.
type series struct {
	row    row
	target target
	rounds []round
}

// measure goes round by round, in each of which every row has its turn. The order changes from round to round, always in the same way, so that
// no row always follows the same other one.
func measure(ctx context.Context, s *stage, c benchCase, rows []row, o options, progress io.Writer) ([]series, error) {
	all := make([]series, len(rows))
	for i, r := range rows {
		_, _ = fmt.Fprintf(progress, "bench: preparing %s\n", r.name)
		t, err := r.reach(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("row %q: %w", r.name, err)
		}
		all[i] = series{row: r, target: t}
	}
	order := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // for an order, not for a secret
	for n := range o.rounds {
		_, _ = fmt.Fprintf(progress, "bench: %s: round %d of %d\n", c.name, n+1, o.rounds)
		for _, i := range order.Perm(len(all)) {
			one, err := measureOne(ctx, s, c, all[i].target, o)
			if err != nil {
				return nil, fmt.Errorf("row %q, round %d: %w", all[i].row.name, n+1, err)
			}
			all[i].rounds = append(all[i].rounds, one)
		}
	}
	return all, nil
}

func measureOne(ctx context.Context, s *stage, c benchCase, t target, o options) (round, error) {
	loader, err := s.loader(ctx)
	if err != nil {
		return round{}, err
	}
	processes := map[part]*process{partLoad: loader.process}
	for name, p := range t.parts {
		processes[name] = p
	}
	r := round{took: o.duration}
	var before, after map[part]time.Duration
	r.outcome, err = loader.do(ctx, job{URL: t.url, Tool: t.tool, Authorization: t.authorization, Body: c.body, Connections: o.connections, Rate: o.rate, Warmup: o.warmup, Duration: o.duration},
		func() { before = spent(processes) }, func() { after = spent(processes) })
	for _, p := range processes {
		err = errors.Join(err, p.fault())
	}
	switch {
	case err != nil:
		return round{}, err
	case r.Errors > 0:
		return round{}, fmt.Errorf("%d calls failed beside %d that succeeded; the first: %s", r.Errors, r.Calls, r.FirstError)
	case r.Calls == 0:
		return round{}, errors.New("not one call was answered in the measured time")
	}
	r.cpu = map[part]time.Duration{}
	for name, end := range after {
		if begin, ok := before[name]; ok {
			r.cpu[name] = end - begin
		}
	}
	return r, nil
}

// spent is the CPU time of each process so far. What cannot be found out is left out.
func spent(processes map[part]*process) map[part]time.Duration {
	out := make(map[part]time.Duration, len(processes))
	for name, p := range processes {
		if d, err := cpuTime(p.pid()); err == nil {
			out[name] = d
		}
	}
	return out
}
