package main

import (
	"math"
	"slices"
)

// median is the middle of xs, which it does not change; NaN if there are none.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(xs))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// interval is a range that holds the true median with at least the confidence asked for.
type interval struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"` // the true one, mostly a little more than was asked for
}

// medianInterval gives the interval between two of the sorted values. It supposes nothing of how they are spread: each of n independent
// values lies below the true median as a coin falls. Too few values (below 6 for 0.95) give none.
func medianInterval(xs []float64, confidence float64) *interval {
	s := slices.Sorted(slices.Values(xs))
	n := len(s)
	var best *interval
	term, below := math.Pow(0.5, float64(n)), 0.0 // of the binomial distribution: P(X = k) and P(X <= k)
	for k := 0; 2*k < n-1; k++ {
		below += term
		term *= float64(n-k) / float64(k+1)
		if 1-2*below < confidence {
			break
		}
		best = &interval{Low: s[k], High: s[n-1-k], Confidence: 1 - 2*below}
	}
	return best
}

// percentile is the smallest value that at least the share p of the sorted values does not exceed.
func percentile(sorted []uint32, p float64) uint32 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// ratios divides round by round, so that what slows a whole round down slows both sides. Rounds without both are left out.
func ratios(of, to []float64) []float64 {
	out := make([]float64, 0, len(of))
	for i := range min(len(of), len(to)) {
		if to[i] > 0 {
			out = append(out, of[i]/to[i])
		}
	}
	return out
}

// power is y = Factor · x ^ Exponent.
type power struct {
	Factor   float64 `json:"factor"`
	Exponent float64 `json:"exponent"`
	// R2 is the share of the spread of the logarithms that it explains.
	R2 float64 `json:"r2"`
}

// fitPower is the power that fits best, by least squares of the logarithms. All numbers must be positive, and two of the xs must differ.
func fitPower(xs, ys []float64) power {
	logs := func(of []float64) []float64 {
		out := make([]float64, len(of))
		for i, x := range of {
			out[i] = math.Log(x)
		}
		return out
	}
	slope, at0, r2 := fitLine(logs(xs), logs(ys))
	return power{Factor: math.Exp(at0), Exponent: slope, R2: r2}
}

// fitLine is the straight line that fits best, by least squares, and the share of the spread of the ys that it explains. Of ys that are all the same
// it explains everything.
func fitLine(xs, ys []float64) (slope, at0, r2 float64) {
	n := float64(len(xs))
	var meanX, meanY float64
	for i := range xs {
		meanX += xs[i] / n
		meanY += ys[i] / n
	}
	var xx, xy, yy float64
	for i := range xs {
		dx, dy := xs[i]-meanX, ys[i]-meanY
		xx += dx * dx
		xy += dx * dy
		yy += dy * dy
	}
	slope, r2 = xy/xx, 1
	if yy > 1e-20*n*max(1, meanY*meanY) { // less is what sums lose
		r2 = xy * xy / (xx * yy)
	}
	return slope, meanY - slope*meanX, r2
}
