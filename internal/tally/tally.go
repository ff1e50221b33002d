// Package tally counts the calls of tools where they are decided on, at the cost of an atomic addition: a counter is found without a search, hung on what the
// decision has in its hand, and who looks at counters later is told which ones have changed. It must not know what a tool is, nor who looks.
package tally

import (
	"math"
	"sync/atomic"
)

// Set is counters that somebody looks at together. The zero value is ready.
type Set struct {
	touched atomic.Pointer[Counter] // the last of those that have changed since somebody looked, linked by next
}

// Counter counts the calls of one tool. All methods but a set's Look are safe for concurrent use, and those of a nil Counter count nothing.
type Counter struct {
	// Server and Tool are the server's name, and its own name for the tool.
	Server, Tool string

	set  *Set
	next *Counter // belongs to who has put the counter into its set's list, and then to who takes it out
	seen uint64   // belongs to who looks

	calls, failed atomic.Uint64
	open          atomic.Int64
	rate          atomic.Uint64 // the bits of a float64
	isTouched     atomic.Bool
}

// Counts are what a counter says at one time.
type Counts struct {
	// Calls are those that were let go to the tool, Failed those of which it is known that they failed.
	Calls, Failed uint64
	// Open are those of which it is known that they go on.
	Open uint64
	// Rate is Calls per second over the last interval.
	Rate float64
}

// New makes a counter of the set.
func (s *Set) New(server, tool string) *Counter { return &Counter{Server: server, Tool: tool, set: s} }

// Called counts calls that were let go to the tool.
func (c *Counter) Called(n uint64) {
	if c == nil {
		return
	}
	c.calls.Add(n)
	c.touch()
}

// Opened counts calls that begin, or fewer than none: calls that have ended. It may be told of an end before the beginning.
func (c *Counter) Opened(n int64) {
	if c == nil {
		return
	}
	c.open.Add(n)
	c.touch()
}

// Failed counts a call that failed.
func (c *Counter) Failed() {
	if c != nil {
		c.failed.Add(1)
	}
}

// SetRate is told of the calls per second.
func (c *Counter) SetRate(rate float64) { c.rate.Store(math.Float64bits(rate)) }

// Open is how many calls go on, less than none in the moment when an end is told of before the beginning.
func (c *Counter) Open() int64 { return c.open.Load() }

// Counts is what has been counted so far.
func (c *Counter) Counts() Counts {
	if c == nil {
		return Counts{}
	}
	return Counts{
		Calls: c.calls.Load(), Failed: c.failed.Load(), Open: uint64(max(c.open.Load(), 0)), //nolint:gosec // it is not negative
		Rate: math.Float64frombits(c.rate.Load()),
	}
}

// Touch has the set's Look show the counter, whether or not it has changed.
func (c *Counter) Touch() {
	if c != nil {
		c.touch()
	}
}

// touch puts the counter into its set's list, unless it is there already. It comes after the change: who takes the counter out before that sees the change, or
// the counter once more.
func (c *Counter) touch() {
	if c.isTouched.Load() || !c.isTouched.CompareAndSwap(false, true) {
		return
	}
	for {
		c.next = c.set.touched.Load()
		if c.set.touched.CompareAndSwap(c.next, c) {
			return
		}
	}
}

// Look shows each counter that has changed since it was last called, with the calls that have come since then. It is called by one goroutine at a time.
func (s *Set) Look(show func(c *Counter, calls uint64)) {
	for c := s.touched.Swap(nil); c != nil; {
		next := c.next
		c.isTouched.Store(false)
		calls := c.calls.Load()
		n := calls - c.seen
		c.seen = calls
		show(c, n)
		c = next
	}
}
