// Package relay carries the event stream of one server to one client session. It makes the ids that servers choose for
// their own requests and events into sealed, session-bound values, and what a client sends back under those into the
// server's own again; all other bytes stay as they are. It must not know HTTP, Envoy or the catalog.
package relay

import (
	"bytes"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

// MaxEvent is the largest event, in bytes, that a stream may hold.
const MaxEvent = 64 << 20

// Rewriter rewrites one stream of one server.
type Rewriter struct {
	session *session.Session
	server  string
	kind    session.SealKind
	id      []byte
	resumed bool
	split   sse.Splitter
	drop    func(method string) bool
	done    func(id []byte)
	seen    func(id string)
}

// Options are the particulars of a stream.
type Options struct {
	// Kind is session.SealCallEvent for the stream of a call, session.SealStreamEvent for a server's GET stream.
	Kind session.SealKind
	// ID is the raw id of the request that the stream answers, nil for a stream that a client listens on.
	ID []byte
	// Resumed tells that the stream goes on with another, which may have been that of a request whose id is not known here.
	Resumed bool
	// Drop tells which notifications are not passed on. Nil passes all.
	Drop func(method string) bool
	// Answered is told the raw id of every response that passed. It may be nil.
	Answered func(id []byte)
	// Event is told the server's own id of every event that has one: the stream can be resumed after it. It may be nil.
	Event func(id string)
}

// New makes the rewriter of a stream that a server sends to a session.
func New(s *session.Session, server string, o Options) *Rewriter {
	return &Rewriter{session: s, server: server, kind: o.Kind, id: o.ID, resumed: o.Resumed, drop: o.Drop, done: o.Answered, seen: o.Event, split: sse.Splitter{Max: MaxEvent}}
}

// Push takes a chunk of the stream and appends to dst what is complete of it, rewritten.
func (r *Rewriter) Push(dst, chunk []byte) ([]byte, error) {
	r.split.Push(chunk)
	for {
		block, ok, err := r.split.Next()
		if err != nil {
			return dst, err
		}
		if !ok {
			return dst, nil
		}
		dst = r.event(dst, block)
	}
}

// Rest appends the bytes of an event that the server did not finish, unchanged: a client discards them as well.
func (r *Rewriter) Rest(dst []byte) []byte { return append(dst, r.split.Rest()...) }

func (r *Rewriter) event(dst, block []byte) []byte {
	ev := sse.Parse(block)
	var id *string
	if ev.HasID && ev.ID != "" {
		sealed := r.session.Seal(r.kind, r.server, []byte(ev.ID))
		id = &sealed
		if r.seen != nil {
			r.seen(ev.ID)
		}
	}
	data, pass := r.message(ev.Data)
	if !pass {
		return dst
	}
	if id == nil && data == nil {
		return append(dst, block...)
	}
	return sse.Rewrite(dst, block, id, data)
}

// message returns the rewritten message, nil if it stays as it is, and whether it is passed on at all.
func (r *Rewriter) message(data []byte) (rewritten []byte, pass bool) {
	if len(data) == 0 {
		return nil, true
	}
	m, err := jsonrpc.Parse(data, jsonrpc.Limits{MaxDepth: MaxDepth})
	if err != nil {
		return nil, harmless(data, err)
	}
	switch m.Kind {
	case jsonrpc.Response:
		if !r.owns(m.ID.Of(data)) {
			return nil, false
		}
		if r.done != nil {
			r.done(m.ID.Of(data))
		}
		return nil, true
	case jsonrpc.Request:
		return r.seal(&m, jsonrpc.Edit{Span: m.ID, New: r.sealed(session.SealRequest, m.ID.Of(data))}), true
	default:
		return r.notification(&m)
	}
}

// harmless tells whether what could not be parsed may be passed on: what is no JSON is none to a client either. What is, but can be read in two ways or is
// too deep, would be read by it and was not here.
func harmless(data []byte, err *jsonrpc.Error) bool {
	return err.Code != jsonrpc.CodeInvalidRequest || bytes.TrimLeft(data, " \t\r\n")[0] != '{'
}

// Belongs tells whether a message of a stream without a session may reach the client whose request, with that raw id, the stream answers.
func Belongs(data, id []byte) bool {
	m, err := jsonrpc.Parse(data, jsonrpc.Limits{MaxDepth: MaxDepth})
	if err != nil {
		return harmless(data, err)
	}
	given := m.ID.Of(data)
	return m.Kind != jsonrpc.Response || len(given) == 0 || string(given) == "null" || SameID(given, id)
}

// owns tells whether a response with this raw id is the server's to give. To its client the gateway is one server, which answers all of its requests: one
// of the servers behind could answer what another was asked, for ids are easily guessed.
func (r *Rewriter) owns(id []byte) bool {
	if len(id) == 0 || SameID(id, r.id) {
		return true
	}
	if owner, known := r.session.CallOwner(id); known {
		return owner == r.server
	}
	return r.resumed
}

func (r *Rewriter) notification(m *jsonrpc.Message) ([]byte, bool) {
	method := m.MethodName()
	if r.drop != nil && r.drop(method) {
		return nil, false
	}
	if method != "notifications/cancelled" {
		return nil, true
	}
	id := m.Param("requestId")
	if !id.Present() {
		return nil, true
	}
	return r.seal(m, jsonrpc.Edit{Span: id, New: r.sealed(session.SealRequest, id.Of(m.Body))}), true
}

// seal applies an edit, and seals the progress token of a server's request as well.
func (r *Rewriter) seal(m *jsonrpc.Message, edit jsonrpc.Edit) []byte {
	edits := []jsonrpc.Edit{edit}
	if m.Kind == jsonrpc.Request {
		if token, err := m.Lookup("_meta", "progressToken"); err == nil && token.Present() {
			edits = append(edits, jsonrpc.Edit{Span: token, New: r.sealed(session.SealToken, token.Of(m.Body))})
		}
	}
	out, err := jsonrpc.Splice(m.Body, edits...)
	if err != nil {
		return nil
	}
	return out
}

func (r *Rewriter) sealed(kind session.SealKind, raw []byte) []byte {
	return jsonrpc.AppendQuote(nil, r.session.Seal(kind, r.server, raw))
}

// SameID tells whether two raw ids are the same. A server may write a string with other escapes than the client did.
func SameID(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 || a[0] != '"' || b[0] != '"' {
		return false
	}
	x, errX := jsonrpc.Unquote(a)
	y, errY := jsonrpc.Unquote(b)
	return errX == nil && errY == nil && x == y
}

// Unseal reads a raw JSON value that a client sent. It returns the server that chose it and the server's own raw value.
func Unseal(s *session.Session, kind session.SealKind, value []byte) (server string, raw []byte, ok bool) {
	if !bytes.HasPrefix(value, []byte(`"gw.`)) {
		return "", nil, false
	}
	text, err := jsonrpc.Unquote(value)
	if err != nil {
		return "", nil, false
	}
	k, server, raw, ok := s.Unseal(text)
	return server, raw, ok && k == kind
}
