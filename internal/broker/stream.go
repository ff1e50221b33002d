package broker

import (
	"net/http"
	"sync"
	"time"
)

// streamBuffer is how many events may wait for a client that reads slowly before its stream is cut, and streamBytes how large they may be together: one event
// alone may be as large as a server makes it, 256 of those are more than there is memory.
const (
	streamBuffer = 256
	streamBytes  = 4 << 20
)

// stream is what waits for one client to read it. Most streams rest nearly always, so that one takes no more room than what waits.
type stream struct {
	more chan struct{} // something waits
	cut  chan struct{} // too much does

	mu      sync.Mutex // guards the rest
	waiting [][]byte
	bytes   int // of them
	isCut   bool
}

func newStream() *stream { return &stream{more: make(chan struct{}, 1), cut: make(chan struct{})} }

// push has an event wait. It reports false, and cuts the stream, where there is no room. There always is for one that has to wait for no other.
func (st *stream) push(event []byte) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.isCut {
		return false
	}
	if n := len(st.waiting); n == streamBuffer || n > 0 && st.bytes+len(event) > streamBytes {
		st.isCut = true
		close(st.cut)
		return false
	}
	st.waiting = append(st.waiting, event)
	st.bytes += len(event)
	signal(st.more)
	return true
}

// next takes the event that has waited longest; nil if none does. Who is told by more of several comes again.
func (st *stream) next() []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.waiting) == 0 {
		return nil
	}
	event := st.waiting[0]
	st.bytes -= len(event)
	st.waiting[0] = nil
	if st.waiting = st.waiting[1:]; len(st.waiting) == 0 {
		st.waiting = nil // with its room
	} else {
		signal(st.more)
	}
	return event
}

// serve sends a client what waits for it, until one of both sides ends the stream. It returns true if the gateway has no more to tell.
func (b *Broker) serve(w http.ResponseWriter, r *http.Request, control *http.ResponseController, st *stream, ended <-chan struct{}) bool {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		var event []byte
		select {
		case <-st.more:
			event = st.next()
		case <-tick.C:
			event = []byte(keepAliveEvent)
		case <-st.cut:
			return false
		case <-ended:
			return true
		case <-b.ctx.Done():
			return true
		case <-r.Context().Done():
			return false
		}
		if !write(w, control, event) {
			return false
		}
	}
}
