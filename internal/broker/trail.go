package broker

import (
	"net/http"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

// trail is what a legacy client is told of one call: one message, or a stream that can be resumed. It keeps the end of the stream for a client that
// has lost its connection.
type trail struct {
	// id makes the id of an event by its number.
	id func(n int) string

	mu      sync.Mutex // guards the rest
	begun   bool       // it is a stream
	events  [][]byte
	base    int // the number of the first event that is kept
	size    int
	written int // events that were given to a client
	readers int
	status  int    // of HTTP, of the one message
	message []byte // the one message
	done    bool
	changed chan struct{} // closed when there is more to give, and then another
	taken   chan struct{}
}

const (
	// trailEvents and trailBytes bound what is kept of a stream.
	trailEvents = 256
	trailBytes  = 1 << 20
	// smallTrail is the most that is kept of a stream that was given to the end.
	smallTrail = 64 << 10
)

func newTrail(id func(int) string) *trail {
	return &trail{id: id, changed: make(chan struct{}), taken: make(chan struct{}, 1)}
}

// begin makes it a stream.
func (t *trail) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.begun && !t.done {
		t.begun = true
		t.tell()
	}
}

// add appends a message to the stream. A client that reads has to have read what there is before more is kept than may be; one that is away loses
// the oldest. It reports false when over ends first.
func (t *trail) add(data []byte, over <-chan struct{}) bool {
	for {
		t.mu.Lock()
		if t.done {
			t.mu.Unlock()
			return true
		}
		if len(t.events) < trailEvents && t.size < trailBytes || t.written > t.base || t.readers == 0 {
			t.keep(data)
			t.tell()
			t.mu.Unlock()
			return true
		}
		t.mu.Unlock()
		select {
		case <-t.taken:
		case <-over:
			return false
		}
	}
}

// keep appends an event, and drops the oldest ones that are too many with it, as far as nobody waits for them.
func (t *trail) keep(data []byte) {
	t.begun = true
	for len(t.events) > 0 && (len(t.events) >= trailEvents || t.size+len(data) > trailBytes) && (t.written > t.base || t.readers == 0) {
		t.size -= len(t.events[0])
		t.events = t.events[1:]
		t.base++
	}
	event := sse.AppendEvent(nil, sse.Event{Name: "message", HasID: true, ID: t.id(t.base + len(t.events)), HasData: true, Data: data})
	t.events = append(t.events, event)
	t.size += len(event)
}

// finish ends it with the answer to the request with a raw id.
func (t *trail) finish(id []byte, status int, answer []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.done:
		return
	case t.begun && t.readers == 0 && len(answer) > trailBytes:
		fault := jsonrpc.Error{Code: jsonrpc.CodeInternalError, ID: id, Message: "the connection was lost, and the answer is too large to be kept"}
		t.keep(fault.AppendResponse(nil))
	case t.begun:
		t.keep(answer)
	default:
		t.status, t.message = status, answer
	}
	t.done = true
	t.tell()
}

// abandon ends it without an answer, for which nobody waits. Where a message is due, it is the given one.
func (t *trail) abandon(message []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	t.status, t.message, t.done = http.StatusOK, message, true
	t.tell()
}

func (t *trail) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// serve gives a client what there is behind an event, and what comes, until the end. It reports false if the client left before.
func (t *trail) serve(w http.ResponseWriter, r *http.Request, next int, stop <-chan struct{}) bool {
	t.mu.Lock()
	t.readers++
	t.mu.Unlock()
	defer t.leave()
	control, streaming := http.NewResponseController(w), false
	for {
		step := t.step(next)
		if step.begun && !streaming {
			streaming = true
			if !beginStream(w, control) {
				return false
			}
		}
		for _, event := range step.events {
			if !write(w, control, event) {
				return false
			}
		}
		next = step.next
		if step.done {
			return step.begun || writeMessage(w, step.status, step.message)
		}
		select {
		case <-step.changed:
		case <-r.Context().Done():
			return false
		case <-stop:
			if !t.over() {
				return false
			}
		}
	}
}

// step is what can be given at once.
type step struct {
	begun, done bool
	events      [][]byte
	next        int
	status      int
	message     []byte
	changed     chan struct{}
}

func (t *trail) step(next int) step {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = max(next, t.base)
	out := step{begun: t.begun, done: t.done, status: t.status, message: t.message, changed: t.changed}
	if have := next - t.base; have < len(t.events) {
		out.events = append(out.events, t.events[have:]...)
	}
	out.next = t.base + len(t.events)
	t.written = max(t.written, out.next)
	signal(t.taken)
	return out
}

// over tells whether nothing more comes.
func (t *trail) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done
}

// small tells whether it is a stream of which little is kept.
func (t *trail) small() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begun && t.size <= smallTrail
}

// read tells whether a client is there.
func (t *trail) read() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.readers > 0
}

func (t *trail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers--
	signal(t.taken)
}

func beginStream(w http.ResponseWriter, control *http.ResponseController) bool {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return control.Flush() == nil
}

func writeMessage(w http.ResponseWriter, status int, message []byte) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := w.Write(message)
	return err == nil
}
