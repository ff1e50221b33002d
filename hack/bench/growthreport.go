package main

import (
	"fmt"
	"io"
	"math"
)

type growthReport struct {
	Name        string    `json:"name"`
	About       string    `json:"about"`
	Sizes       []int     `json:"sizes"`
	Connections int       `json:"connections"`
	Quantities  []growing `json:"quantities"`
}

// growing is how one quantity of a row depends on the size.
type growing struct {
	Name    string    `json:"name"`
	Row     string    `json:"row"`
	Unit    string    `json:"unit"`
	Medians []float64 `json:"medians"` // by size
	// Exponent is that of the power of the size which fits best, the median of what the rounds give.
	Exponent float64   `json:"exponent"`
	Interval *interval `json:"interval,omitempty"`
	// Fit is the power that fits the medians.
	Fit power `json:"fit"`
	// Each is what one more costs, by the straight line through the medians.
	Each   float64     `json:"each"`
	Rounds [][]float64 `json:"rounds"` // by size
}

func unitOf(quantity string) string {
	switch quantity {
	case growingCPU:
		return "µs"
	case growingReload:
		return "ms"
	default:
		return "MiB"
	}
}

// newGrowing fits what the rounds found, by size.
func newGrowing(name, row string, sizes []int, rounds [][]float64) growing {
	out := growing{Name: name, Row: row, Unit: unitOf(name), Rounds: rounds}
	xs := make([]float64, len(sizes))
	least := math.MaxInt
	for i, n := range sizes {
		xs[i] = float64(n)
		out.Medians = append(out.Medians, median(rounds[i]))
		least = min(least, len(rounds[i]))
	}
	var exponents []float64
	for r := range least {
		ys := make([]float64, len(sizes))
		for i := range ys {
			ys[i] = rounds[i][r]
		}
		exponents = append(exponents, fitPower(xs, ys).Exponent)
	}
	out.Exponent, out.Interval = median(exponents), medianInterval(exponents, 0.95)
	out.Fit = fitPower(xs, out.Medians)
	out.Each, _, _ = fitLine(xs, out.Medians)
	return out
}

func (g *growthReport) print(w io.Writer, rounds int) {
	_, _ = fmt.Fprintf(w, "\n%s: %s, %d connections, %d alternating rounds; cost = factor × size ^ exponent\n\n", g.Name, g.About, g.Connections, rounds)
	head := []string{""}
	for _, n := range g.Sizes {
		head = append(head, thousands(n))
	}
	lines := [][]string{append(head, "exponent", "95 % interval", "r²", "each more")}
	for i := range g.Quantities {
		q := &g.Quantities[i]
		line := []string{q.Name + ", " + q.Row}
		for _, m := range q.Medians {
			line = append(line, withUnit(fmt.Sprintf("%.1f", m), q.Unit))
		}
		in := ""
		if q.Interval != nil {
			in = fmt.Sprintf("%.3f … %.3f", q.Interval.Low, q.Interval.High)
		}
		each, unit := q.Each, q.Unit
		if unit == "MiB" {
			each, unit = each*1024, "KiB"
		}
		lines = append(lines, append(line, fmt.Sprintf("%.3f", q.Exponent), in, fmt.Sprintf("%.2f", q.Fit.R2), withUnit(fmt.Sprintf("%.3g", each), unit)))
	}
	printColumns(w, lines)
}
