package main

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name string
		xs   []float64
		want float64
	}{
		{"one", []float64{3}, 3},
		{"odd, unsorted", []float64{9, 1, 5}, 5},
		{"even: between the two middle ones", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier moves nothing", []float64{1, 1, 1, 1e9, 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, median(c.xs)) })
	}
	assert.True(t, math.IsNaN(median(nil)))
}

func TestMedianLeavesItsInputInOrder(t *testing.T) {
	xs := []float64{3, 1, 2}
	median(xs)
	medianInterval(xs, 0)
	assert.Equal(t, []float64{3, 1, 2}, xs, "the rounds must stay in the order in which they were measured")
}

// The confidences are those of the binomial distribution, as in tables of the sign test.
func TestMedianInterval(t *testing.T) {
	upTo := func(n int) []float64 {
		xs := make([]float64, n)
		for i := range xs {
			xs[n-1-i] = float64(i + 1)
		}
		return xs
	}
	for _, c := range []struct {
		name      string
		n         int
		low, high float64
		truly     float64
	}{
		{"6 is the least for 95 %", 6, 1, 6, 1 - 2.0/64},
		{"7 take the extremes", 7, 1, 7, 1 - 2.0/128},
		{"9 leave them out", 9, 2, 8, 1 - 20.0/512},
		{"20", 20, 6, 15, 0.95861},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := medianInterval(upTo(c.n), 0.95)
			require.NotNil(t, got)
			assert.Equal(t, c.low, got.Low)
			assert.Equal(t, c.high, got.High)
			assert.InDelta(t, c.truly, got.Confidence, 1e-5)
		})
	}
	for n := range 6 {
		assert.Nil(t, medianInterval(upTo(n), 0.95), "%d values cannot carry 95 %%", n)
	}
}

// Of many samples of a skewed distribution, the interval must hold the median in the promised share.
func TestMedianIntervalKeepsItsPromise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const samples = 4000
	held := 0
	for range samples {
		xs := make([]float64, 7)
		for i := range xs {
			xs[i] = math.Exp(rnd.NormFloat64()) // its median is 1
		}
		if in := medianInterval(xs, 0.95); in.Low <= 1 && 1 <= in.High {
			held++
		}
	}
	assert.GreaterOrEqual(t, float64(held)/samples, 0.95)
}

func TestPercentile(t *testing.T) {
	hundred := make([]uint32, 100)
	for i := range hundred {
		hundred[i] = uint32(i + 1)
	}
	for _, c := range []struct {
		name   string
		sorted []uint32
		p      float64
		want   uint32
	}{
		{"median", hundred, 0.5, 50},
		{"99th", hundred, 0.99, 99},
		{"all", hundred, 1, 100},
		{"least", hundred, 0, 1},
		{"one value is every percentile", []uint32{7}, 0.99, 7},
		{"none", nil, 0.5, 0},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, percentile(c.sorted, c.p)) })
	}
}

func TestRatios(t *testing.T) {
	assert.Equal(t, []float64{0.5, 2}, ratios([]float64{1, 4, 9}, []float64{2, 2}), "a round that only one side has says nothing")
	assert.Equal(t, []float64{2}, ratios([]float64{1, 4}, []float64{0, 2}), "and neither does one without a base")
	assert.Empty(t, ratios(nil, []float64{1}))
}
