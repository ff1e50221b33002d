package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

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
	for _, f := range r.Facts {
		f.print(w)
	}
	for i := range r.Growth {
		r.Growth[i].print(w, r.Settings.Rounds)
	}
	printTargets(w, r.Targets)
}

func (c *caseReport) print(w io.Writer, s settings) {
	rate := ""
	if c.Rate > 0 {
		rate = fmt.Sprintf(", %d calls/s due", c.Rate)
	}
	_, _ = fmt.Fprintf(w, "\n%s, %s%s, %d alternating rounds of %g s", c.Name, c.over(), rate, s.Rounds, s.DurationSeconds)
	if c.Metric != callsPerSecond {
		_, _ = fmt.Fprintf(w, "; ratios of the %s", c.Metric)
	}
	_, _ = fmt.Fprint(w, "\n\n")
	lines := [][]string{
		{"", "calls/s", "ratio to", "its", "noise", "p50", "p99", "Envoy's CPU", "gateway's CPU", "Envoy's", "gateway's", "trips"},
		{"", "", "plain Envoy", "95 % interval", "(B to A)", "µs", "µs", "µs per call", "µs per call", "MiB", "MiB", "extra"},
	}
	for i := range c.Rows {
		lines = append(lines, c.line(&c.Rows[i]))
	}
	printColumns(w, lines)
	for i := range c.Rows {
		for _, of := range []struct {
			name string
			part part
		}{{"load generator", partLoad}, {"upstream", partUpstream}} {
			if busy := c.Rows[i].Busy[of.part]; busy > 0.9 {
				_, _ = fmt.Fprintf(w, "%s: the %s was busy for %.0f %% of the time, and may be the limit\n", c.Rows[i].Name, of.name, 100*busy)
			}
		}
	}
}

// over tells how many connections there were.
func (c *caseReport) over() string {
	if c.Connections == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", c.Connections)
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
		decimal(r.CPU, partEnvoy), decimal(r.CPU, partGateway), decimal(r.Memory, partEnvoy), decimal(r.Memory, partGateway), fmt.Sprintf("%.2f", r.ExtraTrips),
	}
}

func (f *factReport) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "\n%s: %s\n\n", f.Name, f.About)
	lines := [][]string{{"", "median", "times"}}
	for _, r := range f.Readings {
		lines = append(lines, []string{r.Name, withUnit(fmt.Sprintf("%.3g", median(r.Values)), r.Unit), fmt.Sprint(len(r.Values))})
	}
	printColumns(w, lines)
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

// decimal is a part's number, nothing where there is none.
func decimal(of map[part]float64, p part) string {
	if d, ok := of[p]; ok {
		return fmt.Sprintf("%.1f", d)
	}
	return ""
}
