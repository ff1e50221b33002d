package app

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How far the heap may grow between two collections, where the environment has no GOGC. While little is live, much garbage may lie around: it is small
// beside the program itself, and a request allocates and drops far more than stays. With thousands of servers or sessions the same share would be hundreds
// of MiB of nothing.
const (
	garbage      = 32 << 20 // bytes that may always lie around
	mostPercent  = 400
	leastPercent = 50
	tuneInterval = 250 * time.Millisecond
)

// gcPercent is Go's GOGC for so many bytes that each collection has to look at.
func gcPercent(live uint64) int {
	return int(min(mostPercent, max(leastPercent, garbage*100/max(live, 1))))
}

// tuneCollector sets Go's GOGC to what fits the live heap, until the context ends.
func tuneCollector(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	percent := mostPercent
	debug.SetGCPercent(percent)
	tick := time.NewTicker(tuneInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(samples)
		// It stops the world for a moment, for which a small change is no reason.
		if next := gcPercent(samples[0].Value.Uint64() + samples[1].Value.Uint64()); math.Abs(float64(next-percent)) > float64(percent)/8 {
			percent = next
			debug.SetGCPercent(percent)
		}
	}
}
