package app

import (
	"context"
	"math"
	"os"
	"runtime"
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

// tuneCollector sets Go's GOGC to what fits the live heap, and gives back what a burst of work leaves behind, until the context ends.
func tuneCollector(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	percent := mostPercent
	debug.SetGCPercent(percent)
	var l lull
	collected := make(chan struct{}, 1)
	watchCollector(collected)
	tick := time.NewTicker(tuneInterval)
	defer tick.Stop()
	for {
		looks := false
		select {
		case <-ctx.Done():
			return
		case <-collected: // what is live is known now, before the heap grows far beyond it
			watchCollector(collected)
		case <-tick.C:
			looks = true
		}
		metrics.Read(samples)
		live := samples[0].Value.Uint64() + samples[1].Value.Uint64()
		// It stops the world for a moment, for which a small change is no reason.
		if next := gcPercent(live); math.Abs(float64(next-percent)) > float64(percent)/8 {
			percent = next
			debug.SetGCPercent(percent)
		}
		if looks && l.due(samples[2].Value.Uint64(), live) {
			debug.FreeOSMemory()
		}
	}
}

// watchCollector tells of the next collection.
func watchCollector(collected chan<- struct{}) {
	sentinel := new([16]byte) // not so small that it shares its place with others
	runtime.AddCleanup(sentinel, func(c chan<- struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}, collected)
}

// When memory is given back: the process has rested for so many looks, in each of which it allocated no more than little, and has allocated more than
// least since the last time. Go itself would collect no sooner than after two minutes, and hand out what it has over many more.
const (
	restingLooks = 4
	little       = 1 << 20
	least        = 8 << 20
)

// lull follows what the process allocates.
type lull struct {
	last     uint64 // all that had been allocated at the last look
	released uint64 // and when memory was given back
	looks    int    // in a row in which it was little
}

// due takes all that has been allocated so far, and tells whether what is not live is to be given back now. A collection of a large heap has to be worth it.
func (l *lull) due(allocated, live uint64) bool {
	l.looks++
	if allocated-l.last > little {
		l.looks = 0
	}
	l.last = allocated
	if l.looks < restingLooks || allocated-l.released < max(least, live/4) {
		return false
	}
	l.released = allocated
	return true
}
