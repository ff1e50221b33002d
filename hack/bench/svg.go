package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The plot shows the ratios of each case with their intervals. It is one file without scripts or fonts, and follows the reader's choice of
// light or dark.

// Measures of the plot, in pixels.
const (
	plotWidth   = 1240
	plotMargin  = 24
	plotHead    = 76
	panelWidth  = (plotWidth - 3*plotMargin) / 2
	panelHead   = 46
	panelFoot   = 30
	lineHeight  = 24
	labelWidth  = 186
	numberWidth = 56
	axisWidth   = panelWidth - labelWidth - numberWidth
)

const plotStyle = `
  .page { fill: #ffffff } text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-size: 18px; font-weight: 600 } .case { font-size: 14px; font-weight: 600 } .dim { fill: #59636e; font-size: 12px }
  .grid { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1.5 } .noise { fill: #818b98; opacity: .22 }
  .whole { stroke-width: 2.5; stroke-linecap: round } .ext_proc { stroke: #0969da; fill: #0969da } .module { stroke: #1a7f37; fill: #1a7f37 } .other { stroke: #8250df; fill: #8250df } .plain { stroke: #59636e; fill: #59636e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #f0f6fc } .dim { fill: #9198a1 } .grid { stroke: #2f3742 } .one { stroke: #9198a1 } .noise { fill: #9198a1 }
    .ext_proc { stroke: #4493f8; fill: #4493f8 } .module { stroke: #3fb950; fill: #3fb950 } .other { stroke: #ab7df8; fill: #ab7df8 } .plain { stroke: #9198a1; fill: #9198a1 }
  }
`

// plot draws the report.
func (r *report) plot() []byte {
	var b strings.Builder
	tall := [2]float64{plotHead, plotHead}
	var panels strings.Builder
	for i := range r.Cases {
		lines := r.Cases[i].plotted()
		if len(lines) == 0 {
			continue
		}
		column := 0
		if tall[1] < tall[0] {
			column = 1
		}
		x := float64(plotMargin + column*(panelWidth+plotMargin))
		r.Cases[i].panel(&panels, lines, x, tall[column])
		tall[column] += float64(panelHead + len(lines)*lineHeight + panelFoot)
	}
	height := max(tall[0], tall[1]) + plotMargin/2
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %d %.0f" role="img" aria-label="Ratios to plain Envoy">`, plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, "\n<style>%s</style>\n<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n", plotStyle)
	text(&b, "title", plotMargin, 32, "start", "What each way of a call costs, as ratio to a plain Envoy")
	text(&b, "dim", plotMargin, 54, "start", fmt.Sprintf("medians of %d alternating rounds of %g s with their 95 %% intervals; grey: how far two identical Envoys were apart. %s, %d CPUs; Envoy %s",
		r.Settings.Rounds, r.Settings.DurationSeconds, r.Machine.CPU, r.Machine.CPUs, r.Machine.Envoy))
	b.WriteString(panels.String() + "</svg>\n")
	return []byte(b.String())
}

// plotted are the rows that have a ratio and say something: what is no proxy would only squeeze the others.
func (c *caseReport) plotted() []*rowReport {
	var out []*rowReport
	for i := range c.Rows {
		if r := &c.Rows[i]; r.Ratio != nil && r.Name != directRow && !math.IsNaN(r.Ratio.Median) {
			out = append(out, r)
		}
	}
	return out
}

func (c *caseReport) panel(b *strings.Builder, lines []*rowReport, x, y float64) {
	end := axisEnd(lines)
	at := func(ratio float64) float64 { return x + labelWidth + axisWidth*min(max(ratio, 0), end)/end }
	better := "more is better"
	if !c.Metric.moreIsBetter() {
		better = "less is better"
	}
	about := fmt.Sprintf("%s, %s; %s", c.Metric, better, c.over())
	if c.Rate > 0 {
		about += fmt.Sprintf(", %d calls/s due", c.Rate)
	}
	text(b, "case", x, y+14, "start", c.Name)
	text(b, "dim", x, y+31, "start", about)
	top, bottom := y+panelHead-8, y+panelHead+float64(len(lines)*lineHeight)
	for _, tick := range ticksUpTo(end) {
		class := "grid"
		if tick == 1 {
			class = "one"
		}
		fmt.Fprintf(b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", class, at(tick), at(tick), top, bottom)
		text(b, "dim", at(tick), bottom+14, "middle", fmt.Sprintf("%g", tick))
	}
	if c.Noise != nil {
		from, to := c.Noise.around()
		fmt.Fprintf(b, `<rect class="noise" x="%.1f" width="%.1f" y="%.1f" height="%.1f"/>`+"\n", at(from), max(at(to)-at(from), 1), top, bottom-top)
	}
	for i, r := range lines {
		middle := y + panelHead + float64(i*lineHeight) + lineHeight/2
		text(b, "", x, middle+4, "start", r.Name)
		if in := r.Ratio.Interval; in != nil {
			fmt.Fprintf(b, `<line class="whole %s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", family(r.Name), at(in.Low), at(in.High), middle, middle)
		}
		fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%.1f" r="4.5"/>`+"\n", family(r.Name), at(r.Ratio.Median), middle)
		text(b, "", x+panelWidth, middle+4, "end", fmt.Sprintf("%.2f", r.Ratio.Median))
	}
}

// around is the range between 1 and the noise, and where that has an interval, all of it.
func (r *ratioReport) around() (from, to float64) {
	from, to = min(1, r.Median), max(1, r.Median)
	if r.Interval != nil {
		from, to = min(from, r.Interval.Low), max(to, r.Interval.High)
	}
	return from, to
}

// text writes one, with what could be taken for markup escaped.
func text(b *strings.Builder, class string, x, y float64, anchor, words string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	if anchor != "start" {
		class += ` text-anchor="` + anchor + `"`
	}
	fmt.Fprintf(b, `<text%s x="%.1f" y="%.1f">%s</text>`+"\n", class, x, y, html.EscapeString(words))
}

// axisEnd is a round number that no median exceeds. Intervals may, and are cut: one wild round must not squeeze everything else. It is not
// above 20 either.
func axisEnd(lines []*rowReport) float64 {
	most := 1.1
	for _, r := range lines {
		most = max(most, r.Ratio.Median*1.1)
		if in := r.Ratio.Interval; in != nil {
			most = max(most, min(in.High, 1.5*r.Ratio.Median))
		}
	}
	for _, end := range []float64{1.2, 1.5, 2, 3, 5, 10} {
		if most <= end {
			return end
		}
	}
	return 20
}

func ticksUpTo(end float64) []float64 {
	step := 0.2
	switch {
	case end > 10:
		step = 5
	case end > 5:
		step = 2
	case end > 3:
		step = 1
	case end > 1.5:
		step = 0.5
	}
	var out []float64
	for i := 0; float64(i)*step <= end+1e-9; i++ {
		out = append(out, math.Round(float64(i)*step*10)/10)
	}
	if step > 1 {
		out = append(out, 1) // which everything is compared with
	}
	return out
}

// family is what a row's colour says.
func family(row string) string {
	switch {
	case strings.Contains(row, "ext_proc"):
		return "ext_proc"
	case strings.Contains(row, "module"):
		return "module"
	case row == noiseRow:
		return "plain"
	default:
		return "other"
	}
}
