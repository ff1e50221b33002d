package main

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// measured is a report in which everything that a target asks for was measured.
func measured() *report {
	of := func(name string, extra float64) rowReport {
		return rowReport{
			Name: name, Ratio: &ratioReport{Median: 0.9}, CPU: map[part]float64{partEnvoy: 30}, Memory: map[part]float64{partGateway: 140}, ExtraTrips: extra,
			Rounds: []roundReport{{CallsPerSecond: 1300}, {CallsPerSecond: 2600}},
		}
	}
	r := &report{Facts: []factReport{{Readings: []reading{
		{Name: readStart, Values: []float64{0.3, 0.2, 0.4}},
		{Name: readRoute, Values: []float64{1.2}},
		{Name: readRouteMany, Values: []float64{1.3}},
		{Name: readRouteAlloc, Values: []float64{2}},
	}}}}
	for name, extra := range map[string]float64{caseCall: 0.001, caseHalf: 0, caseHeaders: 0.002, caseManyList: 0, caseFreshOne: 2.004, caseFreshNo: 0.01, caseMany: 0} {
		c := caseReport{Name: name, Connections: usualConnections}
		for _, row := range []string{baseRow, nativeRow, extProcRow, extProcHeadersRow, moduleRow, moduleSessionRow, extProcWatchedRow, moduleWatchedRow} {
			c.Rows = append(c.Rows, of(row, extra))
		}
		r.Cases = append(r.Cases, c)
	}
	return r
}

func TestEveryTargetIsJudged(t *testing.T) {
	r := measured()
	for i := range r.Cases {
		r.Cases[i].Rows[1].Rounds = []roundReport{{CallsPerSecond: 1000}, {CallsPerSecond: 2000}} // Envoy's mcp_router
	}
	for _, got := range r.judge(aims()) {
		assert.Equal(t, "met", got.verdict(), got.What)
	}
	for _, got := range (&report{}).judge(aims()) {
		assert.Equal(t, "not measured", got.verdict(), got.What)
	}
}

func TestJudge(t *testing.T) {
	value := func(v float64) func(*report) *ratioReport {
		return func(*report) *ratioReport { return &ratioReport{Median: v} }
	}
	for _, c := range []struct {
		name string
		aim  aim
		want string
	}{
		{"at least, equal", aim{limit: 0.85, find: value(0.85)}, "met"},
		{"at least, less", aim{limit: 0.85, find: value(0.849)}, "missed"},
		{"at most, more", aim{most: true, limit: 3, find: value(3.001)}, "missed"},
		{"at most, less", aim{most: true, limit: 3, find: value(1)}, "met"},
		{"no number", aim{find: value(math.NaN())}, "not measured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := (&report{}).judge([]aim{c.aim})
			require.Len(t, got, 1)
			assert.Equal(t, c.want, got[0].verdict())
		})
	}
	got := (&report{}).judge([]aim{{most: true, limit: 150, unit: "MiB", find: value(math.NaN())}})
	assert.Equal(t, "≤ 150 MiB", got[0].Target)
}

// A target is meant for 8 connections, wherever these are in the run.
func TestTargetsLookAtTheUsualNumberOfConnections(t *testing.T) {
	r := &report{}
	for _, n := range []int{1, usualConnections, 64} {
		r.Cases = append(r.Cases, caseReport{Name: "x", Connections: n, Rows: []rowReport{{Name: "y"}}})
	}
	c, row := r.find("x", "y")
	assert.Equal(t, usualConnections, c.Connections)
	assert.NotNil(t, row)
	c, row = r.find("x", "z")
	assert.NotNil(t, c)
	assert.Nil(t, row)
}

func TestPrintTargets(t *testing.T) {
	var out strings.Builder
	half, yes := 0.5, true
	printTargets(&out, []targetReport{{What: "speed", Target: "≥ 0.4", Measured: &half, Met: &yes, Interval: &interval{Low: 0.41, High: 0.6}}, {What: "size", Target: "≤ 1 MiB"}})
	assert.Regexp(t, `speed +≥ 0.4 +0.5 +0.41 … 0.6 +met`, out.String())
	assert.Regexp(t, `size +≤ 1 MiB +not measured`, out.String())
}
