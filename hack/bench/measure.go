package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// round is one measurement of one row.
type round struct {
	outcome
	took time.Duration
	cpu  map[part]time.Duration // what the processes on the way spent in the measured time
	rss  map[part]uint64        // bytes that they held at its end
	// counts are those of the upstream, of more than the measured time.
	counts counts
}

func (r round) callsPerSecond() float64 { return float64(r.Calls) / r.took.Seconds() }

// series is all measurements of one row, in the order of the rounds.
type series struct {
	row    row
	target target
	rounds []round
}

// peaks is how often a peak is measured of which the half is wanted.
const peaks = 3

// measure goes round by round, in each of which every row has its turn. The order changes from round to round, always in the same way, so that
// no row always follows the same other one. It tells the rate at which calls were made, 0 if one followed the other.
func measure(ctx context.Context, s *stage, c *benchCase, rows []row, o options, progress io.Writer) (all []series, rate int, err error) {
	for _, r := range rows {
		_, _ = fmt.Fprintf(progress, "bench: %s: preparing %s\n", c.name, r.name)
		t, err := r.reach(ctx, s, c)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: row %q: %w", c.name, r.name, err)
		}
		all = append(all, series{row: r, target: t})
	}
	if rate = o.rate; c.atHalf {
		if rate, err = s.halfOfPeak(ctx, c, all, o); err != nil {
			return nil, 0, err
		}
	}
	order := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // for an order, not for a secret
	for n := range o.rounds {
		_, _ = fmt.Fprintf(progress, "bench: %s: round %d of %d\n", c.name, n+1, o.rounds)
		for _, i := range order.Perm(len(all)) {
			one, err := measureAgain(ctx, s, c, all[i].target, rate, o, progress)
			if err != nil {
				return nil, 0, fmt.Errorf("%s: row %q, round %d: %w", c.name, all[i].row.name, n+1, err)
			}
			all[i].rounds = append(all[i].rounds, one)
		}
	}
	return all, rate, nil
}

// halfOfPeak is half of the calls per second that the base of the ratios can answer.
func (s *stage) halfOfPeak(ctx context.Context, c *benchCase, all []series, o options) (int, error) {
	base := slices.IndexFunc(all, func(s series) bool { return s.row.name == baseRow })
	if base < 0 {
		return 0, fmt.Errorf("%s: there is no %q whose peak it could be half of", c.name, baseRow)
	}
	var found []float64
	for range peaks {
		one, err := measureOne(ctx, s, c, all[base].target, 0, o)
		if err != nil {
			return 0, fmt.Errorf("%s: the peak of %q: %w", c.name, baseRow, err)
		}
		found = append(found, one.callsPerSecond())
	}
	return max(int(median(found)/2), 1), nil
}

// errIdle means that there is nothing to compare.
var errIdle = errors.New("not one call was answered in the measured time")

// tries is how often a measurement is made in which nothing happened: a machine that stood still for so long must not cost the whole run.
const tries = 3

func measureAgain(ctx context.Context, s *stage, c *benchCase, t target, rate int, o options, progress io.Writer) (one round, err error) {
	for n := range tries {
		if one, err = measureOne(ctx, s, c, t, rate, o); !errors.Is(err, errIdle) {
			break
		}
		_, _ = fmt.Fprintf(progress, "bench: %s: %v, try %d of %d\n", c.name, err, n+1, tries)
	}
	return one, err
}

func measureOne(ctx context.Context, s *stage, c *benchCase, t target, rate int, o options) (round, error) {
	loader, err := s.loader(ctx)
	if err != nil {
		return round{}, err
	}
	processes := map[part]*process{partLoad: loader.process}
	for name, p := range t.parts {
		processes[name] = p
	}
	j := c.job(t)
	j.Rate, j.Warmup, j.Duration = rate, o.warmup, o.duration
	asked, err := s.counts(ctx)
	if err != nil {
		return round{}, err
	}
	r := round{took: o.duration}
	var before, after map[part]time.Duration
	r.outcome, err = loader.do(ctx, j,
		func() { before = spent(processes) }, func() { after, r.rss = spent(processes), held(processes) })
	for _, p := range processes {
		err = errors.Join(err, p.fault())
	}
	switch {
	case err != nil:
		return round{}, err
	case r.Errors > 0:
		return round{}, fmt.Errorf("%d calls failed beside %d that succeeded; the first: %s", r.Errors, r.Calls, r.FirstError)
	case r.Calls == 0:
		return round{}, errIdle
	}
	if r.counts, err = s.counts(ctx); err != nil {
		return round{}, err
	}
	r.counts.Calls -= asked.Calls
	r.counts.Openings -= asked.Openings
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

// held is the memory of each process. What cannot be found out is left out.
func held(processes map[part]*process) map[part]uint64 {
	out := make(map[part]uint64, len(processes))
	for name, p := range processes {
		if n, err := residentBytes(p.pid()); err == nil {
			out[name] = n
		}
	}
	return out
}

// measureAll measures the cases one after the other.
func measureAll(ctx context.Context, s *stage, o options, progress io.Writer) ([]caseReport, error) {
	var out []caseReport
	for i := range o.cases {
		c := &o.cases[i]
		chosen := c.rowsOf(o.rows)
		if len(chosen) == 0 || c.atHalf && !slices.ContainsFunc(chosen, func(r row) bool { return r.name == baseRow }) {
			_, _ = fmt.Fprintf(progress, "bench: %s is left out: it has none of the chosen rows\n", c.name)
			continue
		}
		_, _ = fmt.Fprintf(progress, "bench: case %d of %d: %s, connections: %d\n", i+1, len(o.cases), c.name, c.connections)
		all, rate, err := measure(ctx, s, c, chosen, o, progress)
		if err != nil {
			return nil, err
		}
		s.dismiss(c.catalog)
		out = append(out, reportCase(c, all, rate))
	}
	return out, nil
}
