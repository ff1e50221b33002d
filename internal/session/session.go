// Package session keeps the sessions of clients that speak a session-based revision: signed tokens, the backend sessions
// opened on their behalf, and who owns a call in flight. It must not know HTTP, Envoy or the protocol's messages, and it
// opens no connection.
package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Backend is a session that a server gave the gateway for one client session.
type Backend struct {
	// ID is the server's session id, empty where it turned out to keep none.
	ID string
	// Revision is what the server negotiated for this session.
	Revision string
	// Fingerprint is the catalog's fingerprint of the server when the session was opened.
	Fingerprint string
}

// Session is one client session. Its methods are safe for concurrent use.
type Session struct {
	id      [idSize]byte
	token   string
	start   Start
	expires time.Time
	sealKey []byte
	changed func(token string) // nil where nobody asks

	// own is the last Authorization header that was the caller's, since to read a token takes longer than all the rest of a request.
	own atomic.Pointer[string]

	lastUsed atomic.Int64 // Unix seconds
	streams  atomic.Int32
	done     chan struct{}
	closed   sync.Once

	backends atomic.Pointer[backends] // replaced, never modified
	mu       sync.Mutex               // guards writers of backends, calls and level
	calls    map[string]*callOwner
	level    json.RawMessage

	replicated         // nothing but in a Replica
	shared     *shared // nil where no other replica knows the session
}

func (s *Session) change() {
	if s.changed != nil {
		s.changed(s.token)
	}
}

// Token is the value of Mcp-Session-Id.
func (s *Session) Token() string { return s.token }

// Subject is the caller that the session is bound to.
func (s *Session) Subject() Subject { return s.start.Subject }

// BelongsTo tells whether the value of an Authorization header is of the caller that the session is bound to, as [SubjectOf] reads it.
func (s *Session) BelongsTo(authorization string) bool {
	if own := s.own.Load(); own != nil && *own == authorization {
		return true
	}
	if s.start.Subject != SubjectOf(authorization) {
		return false
	}
	kept := strings.Clone(authorization) // it may lie in a buffer of the request's
	s.own.Store(&kept)
	return true
}

// VirtualServer is the name of the virtual server that the session is bound to, empty for one of the gateway itself.
func (s *Session) VirtualServer() string { return s.start.VirtualServer }

// Revision is the protocol revision negotiated with the client.
func (s *Session) Revision() string { return s.start.Revision }

// InitParams are the params of the client's initialize request, verbatim.
func (s *Session) InitParams() json.RawMessage { return s.start.InitParams }

// Expires is when the session ends at the latest.
func (s *Session) Expires() time.Time { return s.expires }

// Done is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Backend is the open session with a server, if there is one that was opened with the server as it is now.
func (s *Session) Backend(server, fingerprint string) (Backend, bool) {
	b, ok := s.backends.Load().of(server)
	if !ok || b.Fingerprint != fingerprint {
		return Backend{}, false
	}
	return b, true
}

// BackendNow is the open session with a server, however the server was when it was opened.
func (s *Session) BackendNow(server string) (Backend, bool) { return s.backends.Load().of(server) }

// Backends are all open backend sessions by server.
func (s *Session) Backends() map[string]Backend { return s.backends.Load().byServer() }

// SetBackend records an opened backend session. It reports false when the session has ended meanwhile: then the
// caller must close what it opened.
func (s *Session) SetBackend(server string, b Backend) bool {
	_, ok := s.setBackend(server, b)
	return ok
}

// setBackend is SetBackend, and returns the one whose place it took.
func (s *Session) setBackend(server string, b Backend) (old Backend, ok bool) {
	defer s.change()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() {
		return Backend{}, false
	}
	old, _ = s.backends.Load().of(server)
	s.backends.Store(s.backends.Load().with(server, b))
	return old, true
}

// DropBackend forgets a backend session that its server forgot, unless another has taken its place.
func (s *Session) DropBackend(server, id string) {
	if s.drop(server, id) {
		s.dropShared(server)
	}
	s.change()
}

func (s *Session) drop(server, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.backends.Load().of(server); !ok || b.ID != id {
		return false
	}
	s.backends.Store(s.backends.Load().without(server))
	return true
}

// BeginCall records which server was sent the request with this raw id, so that its cancellation finds it. It returns
// what must be called when the answer has been given.
func (s *Session) BeginCall(id []byte, server string) (end func()) {
	key, owner := string(id), &callOwner{server}
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]*callOwner, 1)
	}
	s.calls[key] = owner
	s.mu.Unlock()
	s.change()
	return func() {
		s.mu.Lock()
		if s.calls[key] == owner { // a client may have used the id again
			delete(s.calls, key)
		}
		if len(s.calls) == 0 {
			s.calls = nil // a map that rests takes as much as the rest of the session
		}
		s.mu.Unlock()
		s.change()
	}
}

// callOwner is one call in flight; its address tells it from another with the same id.
type callOwner struct{ server string }

// CallOwner is the server that is working on the request with this raw id.
func (s *Session) CallOwner(id []byte) (server string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner := s.calls[string(id)]; owner != nil {
		return owner.server, true
	}
	server, ok = s.elsewhere[string(id)]
	return server, ok
}

// SetLogLevel remembers the params of the client's logging/setLevel for backend sessions opened later. The error is ErrStore or ErrUnknown.
func (s *Session) SetLogLevel(ctx context.Context, params json.RawMessage) error {
	if err := s.share(ctx, fieldLevel, params); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = append(json.RawMessage(nil), params...)
	return nil
}

// LogLevel is what SetLogLevel was last given, nil if nothing.
func (s *Session) LogLevel() json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level
}

// Hold keeps the session from counting as idle until release is called, while a stream of it is open.
func (s *Session) Hold() (release func()) {
	s.streams.Add(1)
	return sync.OnceFunc(func() {
		s.lastUsed.Store(time.Now().Unix()) // the rest begins when the stream ends
		s.streams.Add(-1)
	})
}

// Format keeps the token and the keys out of logs, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "session [redacted]") }

func (s *Session) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
