package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// drawn is a report with all that a plot can show.
func drawn() *report {
	per := func(median, low, high float64) *ratioReport {
		return &ratioReport{Median: median, Interval: &interval{Low: low, High: high, Confidence: 0.98}}
	}
	noise := per(0.98, 0.95, 1.03)
	return &report{Machine: machine{CPU: "A CPU <of> some & any kind", CPUs: 2, Envoy: "1.40.0"}, Settings: settings{Rounds: 7, DurationSeconds: 0.6}, Cases: []caseReport{
		{Name: "calls", Connections: 8, Metric: callsPerSecond, Noise: noise, Rows: []rowReport{
			{Name: directRow, Ratio: per(2.5, 2.2, 2.7)},
			{Name: baseRow},
			{Name: noiseRow, Ratio: noise},
			{Name: extProcRow, Ratio: per(0.36, 0.33, 0.41)},
			{Name: moduleRow, Ratio: per(0.86, 0.8, 0.9)},
			{Name: nativeRow, Ratio: &ratioReport{Median: 0.63}},
		}},
		{Name: "latency", Connections: 64, Rate: 9000, Metric: latency99, Rows: []rowReport{{Name: baseRow}, {Name: moduleRow, Ratio: per(6.2, 1.1, 90)}}},
		{Name: "nothing to compare", Metric: callsPerSecond, Rows: []rowReport{{Name: directRow}}},
	}}
}

func TestPlot(t *testing.T) {
	svg := string(drawn().plot())
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err, "it must be well-formed")
		}
	}
	for _, want := range []string{"A CPU &lt;of&gt; some &amp; any kind", "more is better", "less is better; 64 connections, 9000 calls/s due", ">0.86<", "prefers-color-scheme: dark"} {
		assert.Contains(t, svg, want)
	}
	assert.NotContains(t, svg, ">direct<", "it would squeeze the others")
	assert.NotContains(t, svg, "nothing to compare")
	assert.NotContains(t, svg, "NaN")
	assert.Equal(t, 4+1, strings.Count(svg, "<circle"), "one for each row with a ratio")
	assert.Equal(t, 3+1, strings.Count(svg, `class="whole`), "one for each interval")
}

func TestPlotOfNothing(t *testing.T) {
	assert.Contains(t, string((&report{}).plot()), "</svg>")
}

func TestAxis(t *testing.T) {
	row := func(median, high float64) []*rowReport {
		return []*rowReport{{Ratio: &ratioReport{Median: median, Interval: &interval{High: high}}}}
	}
	for _, c := range []struct {
		name         string
		median, high float64
		end          float64
	}{
		{"all below 1", 0.3, 0.4, 1.2},
		{"an interval above", 1, 1.4, 1.5},
		{"a wild round is cut off", 1, 40, 1.5},
		{"latencies", 4, 5, 5},
		{"overload", 400, 500, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			end := axisEnd(row(c.median, c.high))
			assert.Equal(t, c.end, end)
			ticks := ticksUpTo(end)
			assert.Contains(t, ticks, 1.0, "with which everything is compared")
			assert.LessOrEqual(t, len(ticks), 9)
		})
	}
}

func TestFamily(t *testing.T) {
	for _, r := range rows() {
		assert.NotEmpty(t, family(r.name))
	}
	assert.NotEqual(t, family(extProcRow), family(moduleRow))
}
