package main

import (
	"bytes"
	"math"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFitPower(t *testing.T) {
	for name, c := range map[string]struct {
		xs, ys []float64
		want   power
	}{
		"a power":        {[]float64{10, 100, 1000}, []float64{30, 300, 3000}, power{3, 1, 1}},
		"a root":         {[]float64{4, 16, 64, 1}, []float64{10, 20, 40, 5}, power{5, 0.5, 1}},
		"it shrinks":     {[]float64{1, 10}, []float64{8, 0.8}, power{8, -1, 1}},
		"always as much": {[]float64{10, 1000, 10_000}, []float64{7, 7, 7}, power{7, 0, 1}},
		// By hand, in decimal logarithms: 0 to 2 on the one side, 0, 1 and 0 on the other.
		"no power at all": {[]float64{1, 10, 100}, []float64{1, 10, 1}, power{math.Pow(10, 1.0/3), 0, 0}},
	} {
		got := fitPower(c.xs, c.ys)
		assert.InDelta(t, c.want.Factor, got.Factor, 1e-9, name)
		assert.InDelta(t, c.want.Exponent, got.Exponent, 1e-9, name)
		assert.InDelta(t, c.want.R2, got.R2, 1e-9, name)
	}
}

func TestFitLine(t *testing.T) {
	slope, at0, r2 := fitLine([]float64{0, 1, 2, 3}, []float64{1, 3, 2, 4}) // by hand: 5 × 0.8 = 4; 16 ÷ (5 × 5)
	assert.InDelta(t, 0.8, slope, 1e-12)
	assert.InDelta(t, 1.3, at0, 1e-12)
	assert.InDelta(t, 0.64, r2, 1e-12)
}

// TestGrowing: each round has an exponent of its own, and what is said is their median.
func TestGrowing(t *testing.T) {
	sizes := []int{10, 100, 1000}
	rounds := make([][]float64, len(sizes))
	for _, exponent := range []float64{0.9, 1, 1, 1, 1, 1.2, 0.5} {
		for i, n := range sizes {
			rounds[i] = append(rounds[i], 2*math.Pow(float64(n), exponent))
		}
	}
	rounds[0] = append(rounds[0], 1) // of a round that has not come to its end
	g := newGrowing(growingBroker, extProcRow, sizes, rounds)
	assert.InDelta(t, 1, g.Exponent, 1e-9)
	require.NotNil(t, g.Interval)
	assert.InDelta(t, 0.5, g.Interval.Low, 1e-9)
	assert.InDelta(t, 1.2, g.Interval.High, 1e-9)
	assert.InDelta(t, 1, g.Fit.R2, 0.01)
	assert.InDelta(t, 2, g.Each, 0.01)
	assert.Equal(t, "MiB", g.Unit)
	assert.Nil(t, newGrowing(growingCPU, moduleRow, []int{1, 2}, [][]float64{{1}, {1}}).Interval, "one round has none")

	r := growthReport{Name: "growth with x", About: "xs", Sizes: sizes, Connections: 8, Quantities: []growing{g}}
	var out bytes.Buffer
	r.print(&out, 7)
	assert.Regexp(t, `(?m)^ +10 +100 +1 000 +exponent`, out.String())
	assert.Regexp(t, `(?m)^broker/router's memory, gateway, ext_proc +2[01]\.\d MiB .* 1\.000 +0\.500 … 1\.200 +1\.00 +2\.05e\+03 KiB$`, out.String())
}

func TestTheGrowthSuite(t *testing.T) {
	o, err := parseFlags([]string{"-suite", "growth"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Empty(t, o.cases)
	assert.Empty(t, o.facts)
	assert.Len(t, o.growths, len(growths()))
	o, err = parseFlags([]string{"-cases", "growth with tools"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Empty(t, o.cases)
	assert.Len(t, o.growths, 1)
	o, err = parseFlags([]string{"-suite", "quick"}, &bytes.Buffer{})
	require.NoError(t, err)
	assert.Empty(t, o.growths)
}

// TestGrowthsDifferInSize: two gateways are one if nothing tells them apart.
func TestGrowthsDifferInSize(t *testing.T) {
	for _, g := range growths() {
		names := map[string]bool{}
		for _, n := range g.sizes {
			names[g.of(n).name()] = true
		}
		assert.Len(t, names, len(g.sizes), g.name)
	}
}

// TestOpenSessions: so many are open, also once nobody is connected any more.
func TestOpenSessions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	up := newUpstream()
	served := make(chan error, 1)
	go func() { served <- up.serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, <-served)
	})
	base := "http://" + l.Addr().String()
	open := 0
	for _, n := range []int{0, 3, 10, 16} {
		require.NoError(t, openSessions(t.Context(), target{url: base + pathSessionful, tool: toolName}, n))
		up.mu.Lock()
		assert.Len(t, up.sessions, open+n)
		open = len(up.sessions)
		up.mu.Unlock()
	}
	require.Error(t, openSessions(t.Context(), target{url: base + "/nowhere", tool: toolName}, 1))
}
