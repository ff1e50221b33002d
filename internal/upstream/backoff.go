package upstream

import (
	"math/rand/v2"
	"time"
)

// Backoff tells how long to wait between two attempts: a quarter of the time for which all failed. A server that comes up
// is noticed late by no more than a quarter of the time that it was away, however long that was.
type Backoff struct {
	First time.Duration // the shortest wait; 0 means 100 ms
	Max   time.Duration // the longest; 0 means 30 s
}

// after is the wait when attempts have failed for a time. Up to a fifth is taken off at random, lest all servers behind
// one that restarts are asked at once.
func (b Backoff) after(failing time.Duration) time.Duration {
	wait := min(max(failing/4, b.First), b.Max)
	return wait - rand.N(wait/5+1) //nolint:gosec // chance, not secrecy
}
