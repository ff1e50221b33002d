package replica

import (
	"sync"
	"sync/atomic"
)

const (
	// shelves is in how many places ended calls are kept until they are told, so that Envoy's workers do not wait for one another.
	shelves = 16
	// shelfFull is how many bytes of one place have them told at once, shelfEnd how many it has at most: while nobody takes them, calls are left out.
	shelfFull = 32 << 10
	shelfEnd  = 256 << 10
)

// ended are the calls that have ended since they were told, as package callreport writes them.
type ended struct {
	shelves [shelves]shelf
	next    atomic.Uint32
}

type shelf struct {
	mu    sync.Mutex // guards what follows, for as long as it takes to copy a call
	bytes []byte
	_     [96]byte // the next one is on another line of the cache
}

// place is where somebody who tells of many calls puts them.
func (e *ended) place() *shelf { return &e.shelves[e.next.Add(1)%shelves] }

// add takes a call, unless too many wait, and tells whether it is time to tell them.
func (s *shelf) add(call []byte) (full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.bytes)
	if before+len(call) > shelfEnd {
		return false
	}
	s.bytes = append(s.bytes, call...)
	return before < shelfFull && len(s.bytes) >= shelfFull
}

// take empties a place into memory, and returns that with what was in it.
func (s *shelf) take(into []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	into = append(into, s.bytes...)
	s.bytes = s.bytes[:0]
	return into
}
