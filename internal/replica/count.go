package replica

import (
	"maps"
	"strings"
	"sync/atomic"
	"time"
)

// maxStatus is one past the highest HTTP status.
const maxStatus = 600

// counters count decisions until they are told.
type counters struct {
	decisions [3][maxStatus]atomic.Int64
	faults    atomic.Int64
}

func outcomes() [3]string { return [3]string{"server", "broker", "reply"} }

// Decided counts a decision: "server", "broker" or "reply", and the reply's status.
func (c *counters) Decided(outcome string, status int) {
	row := 0
	switch outcome {
	case "broker":
		row = 1
	case "reply":
		row = 2
	}
	if status < 0 || status >= maxStatus {
		status = 0
	}
	c.decisions[row][status].Add(1)
}

// Fault counts a contained fault.
func (c *counters) Fault() { c.faults.Add(1) }

// take is what has been counted since it was last called.
func (c *counters) take() *report {
	r := &report{Faults: int(c.faults.Swap(0))}
	for row, outcome := range outcomes() {
		for status := range c.decisions[row] {
			if counter := &c.decisions[row][status]; counter.Load() > 0 {
				r.Decisions = append(r.Decisions, count{Outcome: outcome, Status: status, N: int(counter.Swap(0))})
			}
		}
	}
	return r
}

const (
	// maxHeads is how many beginnings of tokens are told in one while, maxHead how long they may be, and headsAgain how long a while is.
	maxHeads   = 256
	maxHead    = 1 << 10
	headsAgain = time.Second
)

// tokenHeads are the beginnings of tokens that were told a moment ago. All tokens of one key begin alike.
type tokenHeads struct {
	known atomic.Pointer[map[string]bool]
	since time.Time // belongs to the writer
}

// head is the beginning of the token in an Authorization header, as one, and whether it has to be told.
func (h *tokenHeads) head(authorization string) (string, bool) {
	dot := strings.IndexByte(authorization, '.')
	if dot < 0 || dot > maxHead {
		return "", false
	}
	head := authorization[:dot+1]
	known := h.known.Load()
	if known == nil {
		known = &map[string]bool{}
	}
	if (*known)[head] || len(*known) >= maxHeads {
		return "", false
	}
	head = strings.Clone(head)
	next := maps.Clone(*known)
	next[head] = true
	h.known.Store(&next) // two at once may tell one twice
	return head, true
}

func (h *tokenHeads) forget(now time.Time) {
	if now.Sub(h.since) >= headsAgain {
		h.since = now
		h.known.Store(nil)
	}
}
