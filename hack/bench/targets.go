package main

import (
	"fmt"
	"io"
	"math"
)

// aim is one of the project's targets. A new one is one more entry of aims.
type aim struct {
	what string
	// most tells that the value must not be more than the limit, else it must not be less.
	most  bool
	limit float64
	unit  string
	find  func(r *report) *ratioReport // nil where it was not measured
}

func aims() []aim {
	atLeast := func(what string, limit float64, find func(*report) *ratioReport) aim {
		return aim{what: what, limit: limit, find: find}
	}
	atMost := func(what string, limit float64, unit string, find func(*report) *ratioReport) aim {
		return aim{what: what, most: true, limit: limit, unit: unit, find: find}
	}
	return []aim{
		atLeast("tools/call through the module ÷ plain Envoy, calls/s", 0.85, perBase(caseCall, moduleRow)),
		atLeast("… with a session of the server's", 0.85, perBase(caseCall, moduleSessionRow)),
		atMost("Envoy's CPU per call with the module ÷ plain Envoy's", 1.2, "", cpuPerBase(caseCall, moduleRow)),
		atMost("… with a session of the server's", 1.2, "", cpuPerBase(caseCall, moduleSessionRow)),
		atMost("CPU per call with telemetry ÷ without, Envoy's and the broker/router's, ext_proc", 1.05, "", cpuPerRow(caseCall, extProcWatchedRow, extProcRow)),
		atMost("… module", 1.05, "", cpuPerRow(caseCall, moduleWatchedRow, moduleRow)),
		atMost("p99 through the module at half of plain Envoy's peak ÷ plain Envoy's", 1.25, "", perBase(caseHalf, moduleRow)),
		atLeast("tools/call through ext_proc ÷ plain Envoy, calls/s: body edited", 0.35, perBase(caseCall, extProcRow)),
		atLeast("… headers say all (2026-07-28, no prefix)", 0.45, perBase(caseHeaders, extProcHeadersRow)),
		atLeast("module ÷ Envoy's mcp_router, calls/s", 1.3, perRow(caseCall, moduleRow, nativeRow)),
		atLeast("tools/list, 10 000 tools ÷ static bytes behind plain Envoy, ext_proc", 0.8, perBase(caseManyList, extProcRow)),
		atLeast("… module", 0.8, perBase(caseManyList, moduleRow)),
		atMost("extra round trips to the server for a session's first call, ext_proc", 2, "", extraTrips(caseFreshOne, extProcRow)),
		atMost("… module", 2, "", extraTrips(caseFreshOne, moduleRow)),
		atMost("… a server without sessions, ext_proc", 0, "", extraTrips(caseFreshNo, extProcRow)),
		atMost("… a server without sessions, module", 0, "", extraTrips(caseFreshNo, moduleRow)),
		atMost("… 2026-07-28, ext_proc", 0, "", extraTrips(caseHeaders, extProcRow)),
		atMost("… 2026-07-28, module", 0, "", extraTrips(caseHeaders, moduleRow)),
		atMost("router.Route, the token's check apart", 1.5, "µs", reads(readRoute)),
		atMost("… allocations", 4, "", reads(readRouteAlloc)),
		atMost("… 10 000 tools ÷ 10 tools", 1.2, "", flatness),
		atMost("memory of the broker/router, 1 000 servers and 10 000 tools, ext_proc", 150, "MiB", memoryOf(caseMany, extProcRow)),
		atMost("… module", 150, "MiB", memoryOf(caseMany, moduleRow)),
		atMost("from the start of standalone to the first answered call", 3, "s", reads(readStart)),
	}
}

// targetReport is what became of an aim.
type targetReport struct {
	What     string    `json:"what"`
	Target   string    `json:"target"`
	Measured *float64  `json:"measured,omitempty"` // absent where it was not measured
	Interval *interval `json:"interval,omitempty"`
	Met      *bool     `json:"met,omitempty"`
}

// judge compares what was measured with the aims. A count that is a hair off, because something else went on in the background, is what it is rounded to.
func (r *report) judge(aims []aim) []targetReport {
	var out []targetReport
	for _, a := range aims {
		sign := "≥"
		if a.most {
			sign = "≤"
		}
		t := targetReport{What: a.what, Target: withUnit(fmt.Sprintf("%s %g", sign, a.limit), a.unit)}
		if found := a.find(r); found != nil && !math.IsNaN(found.Median) {
			value := math.Round(found.Median*1000) / 1000
			met := value >= a.limit
			if a.most {
				met = value <= a.limit
			}
			t.Measured, t.Met, t.Interval = &value, &met, found.Interval
		}
		out = append(out, t)
	}
	return out
}

func withUnit(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + unit
}

// verdict is met, missed or not measured.
func (t *targetReport) verdict() string {
	switch {
	case t.Met == nil:
		return "not measured"
	case *t.Met:
		return "met"
	default:
		return "missed"
	}
}

func printTargets(w io.Writer, targets []targetReport) {
	_, _ = fmt.Fprint(w, "\nTargets\n\n")
	lines := [][]string{{"", "target", "measured", "95 % interval", ""}}
	for i := range targets {
		t := &targets[i]
		measured, in := "", ""
		if t.Measured != nil {
			measured = fmt.Sprintf("%.3g", *t.Measured)
		}
		if t.Interval != nil {
			in = fmt.Sprintf("%.3g … %.3g", t.Interval.Low, t.Interval.High)
		}
		lines = append(lines, []string{t.What, t.Target, measured, in, t.verdict()})
	}
	printColumns(w, lines)
}

// find is a row of a case. Where the case was measured with several numbers of connections, that is with 8, or else the first.
func (r *report) find(name, row string) (*caseReport, *rowReport) {
	var found *caseReport
	for i := range r.Cases {
		if c := &r.Cases[i]; c.Name == name && (found == nil || c.Connections == usualConnections) {
			found = c
		}
	}
	if found == nil {
		return nil, nil
	}
	for i := range found.Rows {
		if found.Rows[i].Name == row {
			return found, &found.Rows[i]
		}
	}
	return found, nil
}

func perBase(name, row string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, got := r.find(name, row)
		if got == nil {
			return nil
		}
		return got.Ratio
	}
}

func perRow(name, row, to string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, one := r.find(name, row)
		_, other := r.find(name, to)
		if one == nil || other == nil {
			return nil
		}
		return newRatio(one.rates(), other.rates())
	}
}

// cpuPerBase has no interval: it is one quotient of sums, since a single round's CPU time is too coarse.
func cpuPerBase(name, row string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, one := r.find(name, row)
		_, base := r.find(name, baseRow)
		if one == nil || base == nil || base.CPU[partEnvoy] == 0 {
			return nil
		}
		return &ratioReport{Median: one.CPU[partEnvoy] / base.CPU[partEnvoy]}
	}
}

// cpuPerRow is of all that is the gateway's, in Envoy's process and its own. It has no interval, as cpuPerBase.
func cpuPerRow(name, row, to string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, one := r.find(name, row)
		_, other := r.find(name, to)
		if one == nil || other == nil || other.CPU[partEnvoy] == 0 {
			return nil
		}
		return &ratioReport{Median: (one.CPU[partEnvoy] + one.CPU[partGateway]) / (other.CPU[partEnvoy] + other.CPU[partGateway])}
	}
}

func extraTrips(name, row string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, got := r.find(name, row)
		if got == nil {
			return nil
		}
		return &ratioReport{Median: math.Round(got.ExtraTrips*10) / 10}
	}
}

func memoryOf(name, row string) func(*report) *ratioReport {
	return func(r *report) *ratioReport {
		_, got := r.find(name, row)
		if got == nil || got.Memory[partGateway] == 0 {
			return nil
		}
		return &ratioReport{Median: got.Memory[partGateway]}
	}
}

func (r *report) reading(name string) *ratioReport {
	for _, f := range r.Facts {
		for _, one := range f.Readings {
			if one.Name == name && len(one.Values) > 0 {
				return &ratioReport{Median: median(one.Values), Interval: medianInterval(one.Values, 0.95)}
			}
		}
	}
	return nil
}

func reads(name string) func(*report) *ratioReport {
	return func(r *report) *ratioReport { return r.reading(name) }
}

// flatness is how much more a decision costs with a thousand times as many tools.
func flatness(r *report) *ratioReport {
	few, many := r.reading(readRoute), r.reading(readRouteMany)
	if few == nil || many == nil || few.Median <= 0 {
		return nil
	}
	return &ratioReport{Median: many.Median / few.Median}
}
