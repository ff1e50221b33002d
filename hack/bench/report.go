package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// report is what is written as JSON.
type report struct {
	Started  time.Time    `json:"started"`
	Machine  machine      `json:"machine"`
	Settings settings     `json:"settings"`
	Cases    []caseReport `json:"cases"`
}

type machine struct {
	CPU         string `json:"cpu"`
	CPUs        int    `json:"cpus"`
	MemoryBytes uint64 `json:"memoryBytes"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Envoy       string `json:"envoy"`
	Gateway     string `json:"gateway"`
	LoadBefore  string `json:"loadBefore"` // load averages of 1, 5 and 15 minutes
	LoadAfter   string `json:"loadAfter"`
}

type settings struct {
	Rounds          int     `json:"rounds"`
	DurationSeconds float64 `json:"durationSeconds"`
	WarmupSeconds   float64 `json:"warmupSeconds"`
	Connections     int     `json:"connections"`
	Rate            int     `json:"rate,omitempty"`
	Pinning         pinning `json:"pinning,omitempty"`
}

type caseReport struct {
	Name  string      `json:"name"`
	About string      `json:"about"`
	Rows  []rowReport `json:"rows"`
	// Noise is the ratio of the second plain Envoy to the first.
	Noise *ratioReport `json:"noise,omitempty"`
}

type rowReport struct {
	Name           string           `json:"name"`
	About          string           `json:"about"`
	CallsPerSecond float64          `json:"callsPerSecond"` // this and the latencies: medians of the rounds
	P50            float64          `json:"p50Microseconds"`
	P99            float64          `json:"p99Microseconds"`
	Ratio          *ratioReport     `json:"ratio,omitempty"` // of calls per second, to the first plain Envoy
	CPU            map[part]float64 `json:"cpuMicrosecondsPerCall,omitempty"`
	Busy           map[part]float64 `json:"cpusBusy,omitempty"`
	Rounds         []roundReport    `json:"rounds"`
}

type ratioReport struct {
	Median   float64   `json:"median"`
	Interval *interval `json:"interval,omitempty"`
	Rounds   []float64 `json:"rounds"`
}

type roundReport struct {
	Calls          int              `json:"calls"`
	CallsPerSecond float64          `json:"callsPerSecond"`
	P50            float64          `json:"p50Microseconds"`
	P99            float64          `json:"p99Microseconds"`
	CPU            map[part]float64 `json:"cpuMicroseconds,omitempty"`
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func reportCase(c benchCase, all []series) caseReport {
	out := caseReport{Name: c.name, About: c.about}
	var base []float64
	for _, s := range all {
		if s.row.name == baseRow {
			base = s.rates()
		}
	}
	for _, s := range all {
		r := s.report()
		if base != nil && s.row.name != baseRow {
			per := ratios(s.rates(), base)
			r.Ratio = &ratioReport{Median: median(per), Interval: medianInterval(per, 0.95), Rounds: per}
		}
		if s.row.name == noiseRow {
			out.Noise = r.Ratio
		}
		out.Rows = append(out.Rows, r)
	}
	return out
}

func (s *series) rates() []float64 {
	return values(s.rounds, round.callsPerSecond)
}

func values(rounds []round, f func(round) float64) []float64 {
	out := make([]float64, len(rounds))
	for i, r := range rounds {
		out[i] = f(r)
	}
	return out
}

func (s *series) report() rowReport {
	out := rowReport{
		Name: s.row.name, About: s.row.about, CallsPerSecond: median(s.rates()),
		P50: median(values(s.rounds, func(r round) float64 { return microseconds(r.P50) })),
		P99: median(values(s.rounds, func(r round) float64 { return microseconds(r.P99) })),
		CPU: map[part]float64{}, Busy: map[part]float64{},
	}
	// CPU time comes in steps of 10 ms: sums over all rounds are finer than medians of them.
	var calls, took float64
	for _, r := range s.rounds {
		calls += float64(r.Calls)
		took += microseconds(r.took)
		one := roundReport{Calls: r.Calls, CallsPerSecond: r.callsPerSecond(), P50: microseconds(r.P50), P99: microseconds(r.P99), CPU: map[part]float64{}}
		for name, d := range r.cpu {
			one.CPU[name] = microseconds(d)
			out.CPU[name] += microseconds(d)
		}
		out.Rounds = append(out.Rounds, one)
	}
	for name, sum := range out.CPU {
		out.CPU[name], out.Busy[name] = sum/calls, sum/took
	}
	return out
}

// print shows the report as tables.
func (r *report) print(w io.Writer) {
	m := &r.Machine
	_, _ = fmt.Fprintf(w, "\n%s, %d CPUs, %.0f GiB; %s; Envoy %s; %s\n", m.CPU, m.CPUs, float64(m.MemoryBytes)/(1<<30), m.Kernel, m.Envoy, m.Go)
	_, _ = fmt.Fprintf(w, "load average before %s, after %s; ", m.LoadBefore, m.LoadAfter)
	if p := r.Settings.Pinning; p == nil {
		_, _ = fmt.Fprintln(w, "processes not pinned")
	} else {
		_, _ = fmt.Fprintf(w, "CPUs: Envoy %s, gateway %s, upstream %s, load generator %s\n", p[partEnvoy], p[partGateway], p[partUpstream], p[partLoad])
	}
	for i := range r.Cases {
		r.Cases[i].print(w, r.Settings)
	}
}

func (c *caseReport) print(w io.Writer, s settings) {
	rate := ""
	if s.Rate > 0 {
		rate = fmt.Sprintf(" at %d calls/s", s.Rate)
	}
	_, _ = fmt.Fprintf(w, "\n%s, %d connections%s, %d alternating rounds of %g s\n\n", c.Name, s.Connections, rate, s.Rounds, s.DurationSeconds)
	lines := [][]string{
		{"", "calls/s", "ratio to", "its", "noise", "p50", "p99", "Envoy's CPU", "gateway's CPU"},
		{"", "", "plain Envoy", "95 % interval", "(B to A)", "µs", "µs", "µs per call", "µs per call"},
	}
	for i := range c.Rows {
		lines = append(lines, c.line(&c.Rows[i]))
	}
	printColumns(w, lines)
	for i := range c.Rows {
		if busy := c.Rows[i].Busy[partLoad]; busy > 0.9 {
			_, _ = fmt.Fprintf(w, "%s: the load generator was busy for %.0f %% of the time, and may be the limit\n", c.Rows[i].Name, 100*busy)
		}
	}
}

func (c *caseReport) line(r *rowReport) []string {
	ratio, in, noise := "", "", ""
	switch {
	case r.Name == baseRow:
		ratio = "1"
	case r.Ratio != nil:
		ratio = fmt.Sprintf("%.3f", r.Ratio.Median)
		if i := r.Ratio.Interval; i != nil {
			in = fmt.Sprintf("%.3f … %.3f", i.Low, i.High)
		}
	}
	if c.Noise != nil && ratio != "" {
		noise = fmt.Sprintf("%+.1f %%", 100*(c.Noise.Median-1))
	}
	return []string{
		r.Name, fmt.Sprintf("%.0f", r.CallsPerSecond), ratio, in, noise, fmt.Sprintf("%.0f", r.P50), fmt.Sprintf("%.0f", r.P99),
		r.cpu(partEnvoy), r.cpu(partGateway),
	}
}

// printColumns aligns the first column to the left, the others to the right.
func printColumns(w io.Writer, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + gap)
			} else {
				b.WriteString("  " + gap + cell)
			}
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func (r *rowReport) cpu(of part) string {
	if d, ok := r.CPU[of]; ok {
		return fmt.Sprintf("%.1f", d)
	}
	return ""
}

func thisMachine() machine {
	return machine{CPU: cpuModel(), CPUs: runtime.NumCPU(), MemoryBytes: memory(), Kernel: kernel(), Go: runtime.Version(), LoadBefore: loadAverage()}
}
