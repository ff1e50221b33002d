package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const routeOutput = `goos: linux
pkg: example.com/router
BenchmarkRoute/sessions=false/tools=10-2         	  144300	      1620 ns/op	 626.04 MB/s	      16 B/op	       2 allocs/op
BenchmarkRoute/sessions=false/tools=10000-2      	  146984	      1430.5 ns/op	 707.57 MB/s	      16 B/op	       2 allocs/op
BenchmarkRoute/sessions=true/tools=10-2          	  113797	      2123 ns/op	 482.36 MB/s	    1224 B/op	       7 allocs/op
BenchmarkSessionLookup-2                         	 3716983	        70 ns/op	       0 B/op	       0 allocs/op
PASS
`

func TestReadRoutes(t *testing.T) {
	got, err := readRoutes(routeOutput)
	require.NoError(t, err)
	assert.Equal(t, []reading{
		{Name: readRoute, Unit: "µs", Values: []float64{1.55}},
		{Name: readRouteMany, Unit: "µs", Values: []float64{1.3605}},
		{Name: readRouteAlloc, Values: []float64{2}},
	}, got)
	_, err = readRoutes("PASS\n")
	require.Error(t, err)
}

func TestNumbersTellBenchmarksApart(t *testing.T) {
	assert.Equal(t, []float64{1620}, numbers(routeOutput, "BenchmarkRoute/sessions=false/tools=10", "ns/op"), "10 is not 10000")
	assert.Equal(t, []float64{5, 6}, numbers("BenchmarkX 1 5 ns/op\nBenchmarkX-16 1 6 ns/op\n", "BenchmarkX", "ns/op"), "one CPU is not in the name")
}
