package broker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	// keepAlive is the time after which an idle stream gets a comment, so that a dead client is noticed.
	keepAlive      = 25 * time.Second
	keepAliveEvent = ": keep-alive\n\n"
	// writeTimeout is how long a client may take to read one event.
	writeTimeout = 20 * time.Second
	// reopenFirst and reopenMost bound the time between two tries to open a server's stream.
	reopenFirst = 500 * time.Millisecond
	reopenMost  = 30 * time.Second
)

// hub merges what concerns one session, while the client has a stream open, into that stream: the gateway's own
// notifications and the streams of the session's backend sessions.
type hub struct {
	session *session.Session
	ctx     context.Context
	cancel  context.CancelFunc

	mu       sync.Mutex // guards the rest
	streams  []*stream
	followed map[string]*following // by server
}

// send gives an event to one of the client's streams: the specification forbids to send it on several. It is the newest,
// since a client that has lost its stream opens another before anybody here notices.
func (h *hub) send(event []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range slices.Backward(h.streams) {
		if st.push(event) {
			return
		}
	}
}

// broadcast sends a notification of the gateway's own to the clients, of those with an open stream, that f accepts.
func (b *Broker) broadcast(method string, f func(*session.Session) bool) {
	event := sse.AppendEvent(nil, sse.Event{Name: "message", HasData: true, Data: []byte(`{"jsonrpc":"2.0","method":"` + method + `"}`)})
	b.mu.Lock()
	hubs := make([]*hub, 0, len(b.hubs))
	for _, h := range b.hubs {
		hubs = append(hubs, h)
	}
	b.mu.Unlock()
	for _, h := range hubs {
		if f(h.session) {
			h.send(event)
		}
	}
}

// listen serves a client's GET stream until one of both sides ends it.
func (b *Broker) listen(w http.ResponseWriter, r *http.Request, s *session.Session) {
	defer s.Hold()()
	if b.resumeCarried(w, r, s) {
		return
	}
	if c, next := b.lifts.resumed(s, r.Header.Get(wire.HeaderLastEventID)); c != nil {
		c.serve(w, r, next)
		return
	}
	if b.resumeElsewhere(w, r, s) {
		return
	}
	st := newStream()
	h := b.join(s, st)
	defer b.restWatches(s)
	defer b.leave(h, st)
	go b.syncWatches(s, r.Header.Get("Authorization"))
	resumed, after := b.resumed(s, r.Header.Get(wire.HeaderLastEventID))
	for name, be := range s.Backends() {
		if name == resumed {
			b.followFrom(h, name, be, after)
		} else {
			b.followFrom(h, name, be, "")
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	// Envoy would keep the connection for an hour, and with it what it takes here: after ten thousand streams, that is all of them.
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	b.serve(w, r, flush, st, s.Done())
}

// write sends one event. A client that does not read blocks that, but not for ever.
func write(w http.ResponseWriter, control *http.ResponseController, event []byte) bool {
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write(event); err != nil {
		return false
	}
	if control.Flush() != nil {
		return false
	}
	_ = control.SetWriteDeadline(time.Time{}) // it would end a stream of HTTP/2 that rests
	return true
}

// resumed reads which server's stream a client wants to go on with, and after which of its events.
func (b *Broker) resumed(s *session.Session, lastEventID string) (server, after string) {
	kind, server, raw, ok := s.Unseal(lastEventID)
	if !ok || kind != session.SealStreamEvent {
		return "", ""
	}
	return server, string(raw)
}

func (b *Broker) join(s *session.Session, st *stream) *hub {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hubs[s]
	if h == nil {
		h = &hub{session: s, followed: map[string]*following{}}
		h.ctx, h.cancel = context.WithCancel(b.ctx)
		b.hubs[s] = h
	}
	h.mu.Lock()
	h.streams = append(h.streams, st)
	h.mu.Unlock()
	return h
}

func (b *Broker) leave(h *hub, st *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.streams {
		if h.streams[i] == st {
			h.streams = append(h.streams[:i:i], h.streams[i+1:]...)
			break
		}
	}
	if len(h.streams) == 0 {
		h.cancel()
		if b.hubs[h.session] == h {
			delete(b.hubs, h.session)
		}
	}
}

// endHub ends what is merged for a session.
func (b *Broker) endHub(s *session.Session) {
	b.mu.Lock()
	h := b.hubs[s]
	delete(b.hubs, s)
	b.mu.Unlock()
	if h != nil {
		h.cancel()
	}
}

// follow merges the stream of a new backend session, if the client has a stream open.
func (b *Broker) follow(s *session.Session, server string, be session.Backend) {
	b.mu.Lock()
	h := b.hubs[s]
	b.mu.Unlock()
	if h != nil {
		b.followFrom(h, server, be, "")
	}
}

// following is the reading of one backend session's stream.
type following struct {
	id     string // of the backend session
	cancel context.CancelFunc
}

// followFrom reads a backend session's stream, if that is not done already. A client that resumes after an event has it
// read anew from there: its old stream may not have been missed yet.
func (b *Broker) followFrom(h *hub, server string, be session.Backend, after string) {
	if be.ID == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.followed[server]; old != nil {
		if old.id == be.ID && after == "" {
			return
		}
		old.cancel()
	}
	ctx, cancel := context.WithCancel(h.ctx)
	f := &following{id: be.ID, cancel: cancel}
	h.followed[server] = f
	go func() {
		defer cancel()
		b.followBackend(ctx, h, server, be, after)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.followed[server] == f {
			delete(h.followed, server)
		}
	}()
}

// followBackend keeps a backend session's stream open until the client's last stream closes or the session is gone.
func (b *Broker) followBackend(ctx context.Context, h *hub, server string, be session.Backend, after string) {
	wait := reopenFirst
	for ctx.Err() == nil {
		began := time.Now()
		last, again := b.readBackend(ctx, h, server, be, after)
		after = last
		if !again {
			return
		}
		if time.Since(began) > reopenMost {
			wait = reopenFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, reopenMost)
	}
}

// readBackend merges one connection's worth of a backend session's stream. It returns the last event id, and whether it
// makes sense to connect again.
func (b *Broker) readBackend(ctx context.Context, h *hub, server string, be session.Backend, after string) (last string, again bool) {
	last = after
	ep := b.endpointFor(h.session, server, be)
	if ep == nil {
		return last, false
	}
	resp, err := ep.Get(ctx, upstreamSession(be), after)
	if err != nil {
		return last, true
	}
	defer func() { _ = resp.Body.Close() }()
	verdict, _ := relay.Judge(resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"), false)
	if verdict != relay.Stream {
		// Not even 404 tells that the session is gone: some servers without this stream answer so. The next call will tell.
		return last, resp.StatusCode >= http.StatusInternalServerError
	}
	rw := relay.New(h.session, server, relay.Options{
		Kind: session.SealStreamEvent,
		// Some servers have one buffer for all streams of a session, so that what a resumed one brings may be a call's.
		Resumed: after != "",
		Event:   func(id string) { last = id },
		Drop: func(method string) bool {
			// The gateway tells of changed lists itself, once it has read them.
			if strings.HasSuffix(method, "/list_changed") {
				b.opts.Poke(server)
				return true
			}
			return false
		},
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		out, fault := rw.Push(nil, buf[:n])
		if len(out) > 0 {
			h.send(out)
		}
		if fault != nil {
			return last, true
		}
		if err != nil {
			return last, errors.Is(err, io.EOF) || ctx.Err() == nil
		}
	}
}
