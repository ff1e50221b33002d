// Package broker is the MCP server that clients see for what needs aggregation or a new backend session: initialize,
// lists, notifications, and the first call of a session to a server. It is reached through Envoy, behind the policies, and
// believes only requests that a router of this gateway labelled. It must not know the router's code, Envoy or Kubernetes.
package broker

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Options are the settings of a Broker.
type Options struct {
	// RouterKey is what a router proves itself with in wire.HeaderRouterKey.
	RouterKey string
	Sessions  *session.Registry
	Snapshot  func() *catalog.Snapshot
	// Endpoint is the client of a server, nil for an unknown one. Poke has its lists read again soon.
	Endpoint func(server string) *upstream.Endpoint
	Poke     func(server string)
	Logger   *slog.Logger
	Version  string
	// PageSize is the most items in one page of a list, default 1 000.
	PageSize int
	// ToolSearchThreshold is the most tools that a caller is shown: who may have more searches for them. 0 means that all are shown. The router and the catalog
	// have to know that the names wire.ToolSearch and wire.ToolCall are the gateway's.
	ToolSearchThreshold int
	// MaxBody is the largest request in bytes, default 4 MiB; the router enforces its own before.
	MaxBody int64
	Key     session.Key
	// Home is the URL under which other replicas' brokers reach this one, which have the same Key; empty where there are none.
	Home string
	// ResourceMetadata answers wire.PathProtectedResource.
	ResourceMetadata http.Handler
	// Access reads from a request what its caller may have. An error means that nobody can tell: the request is refused. If Access is nil,
	// everything is for everyone. Challenge is the WWW-Authenticate header of a refusal with status 401 or 403 at a virtual server, by the last segment
	// of its path, or at the gateway itself, which has none; nil or empty means none.
	Access    func(*http.Request) (Access, error)
	Challenge func(status int, segment string) string
	// Elicit asks users for what servers want of each of them. If it is nil, nobody can be asked.
	Elicit Elicit
	// Observer is told of what is to be counted; nil if nobody counts.
	Observer Observer
}

// Defaults of Options.
const (
	DefaultPageSize = 1000
	DefaultMaxBody  = 4 << 20
)

// Broker is an http.Handler.
type Broker struct {
	opts      Options
	cursorKey []byte
	tasks     session.Tasks
	flights   singleflight.Group // opening of backend sessions
	closing   chan struct{}      // bounds how many backend sessions are closed at once
	ctx       context.Context    // of what outlives a request
	stop      context.CancelFunc
	work      sync.WaitGroup

	mu   sync.Mutex // guards hubs, subs, watchers and closed
	hubs map[*session.Session]*hub
	subs map[*subscription]struct{}

	watchers map[watchKey]*watcher
	closed   bool

	tokens  lastTokens
	retired retired
	changes atomic.Uint64 // of users' own credentials

	pool       pool
	held       held
	lifts      lifts
	watches    sessionWatches
	stateKey   []byte
	callPrefix string // of the ids of calls that are made between the eras
	lastCall   atomic.Uint64
	home       *home
	gates      gates
}

// New makes a broker.
func New(o Options) *Broker {
	if o.PageSize <= 0 {
		o.PageSize = DefaultPageSize
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	b := &Broker{opts: o, cursorKey: o.Key.Derive("cursor"), tasks: session.NewTasks(o.Key), hubs: map[*session.Session]*hub{}, subs: map[*subscription]struct{}{}, watchers: map[watchKey]*watcher{}, closing: make(chan struct{}, maxClosing)}
	b.stateKey, b.callPrefix = o.Key.Derive("request-state"), callPrefix()
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.home = newHome(o.Home, o.Key)
	return b
}

// Close ends all streams and waits, as long as the context allows, for backend sessions that are being closed.
func (b *Broker) Close(ctx context.Context) {
	b.opts.Sessions.LeaveAll()
	for _, p := range b.pool.all(func(*pooled) bool { return true }, true) {
		b.closePooled(p) // what it does is waited for below
	}
	for _, replaced := range b.retired.remove(b.retired.all()) {
		for _, one := range replaced {
			b.closeBackend(one.ep, one.be)
		}
	}
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	done := make(chan struct{})
	go func() {
		b.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	b.stop()
}

// background runs what outlives a request and what Close waits for. Once that waits, nothing more is begun.
func (b *Broker) background(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Go(f)
	}
}

// ServeHTTP answers one request.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == wire.PathProtectedResource || strings.HasPrefix(r.URL.Path, wire.PathProtectedResource+"/") {
		b.opts.ResourceMetadata.ServeHTTP(w, r)
		return
	}
	if r.URL.Path == wire.PathReplica {
		b.home.prove(w, r)
		return
	}
	if !b.labelled(r) {
		b.fail(w, invalid(nil, http.StatusForbidden, "this is the broker's own port; the endpoint is Envoy's, whose router has to label the request"))
		return
	}
	switch r.Method {
	case http.MethodPost:
		b.post(w, r)
	case http.MethodGet:
		b.admit(w, r, func(s *session.Session) { b.listen(w, r, s) }) //nolint:contextcheck // what is followed lives as long as any of the client's streams
	case http.MethodDelete:
		b.admit(w, r, func(s *session.Session) { //nolint:contextcheck // what is closed at servers outlives the request
			if err := b.opts.Sessions.Delete(r.Context(), s); err != nil {
				b.fail(w, sessionFault(nil, err))
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	default:
		w.Header().Set("Allow", "POST, GET, DELETE")
		b.fail(w, invalid(nil, http.StatusMethodNotAllowed, "the endpoint takes POST, GET and DELETE"))
	}
}

// labelled tells whether a router of this gateway has sent the request here. Without a key there is none.
func (b *Broker) labelled(r *http.Request) bool {
	key := []byte(r.Header.Get(wire.HeaderRouterKey))
	return len(b.opts.RouterKey) > 0 && subtle.ConstantTimeCompare(key, []byte(b.opts.RouterKey)) == 1
}

func (b *Broker) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.opts.MaxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			b.fail(w, &jsonrpc.Error{Code: http.StatusRequestEntityTooLarge, Status: http.StatusRequestEntityTooLarge, Message: "the request body is too large"})
		}
		return // else the client has left
	}
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	if fault != nil {
		b.fail(w, fault)
		return
	}
	var id []byte
	if m.Kind == jsonrpc.Request { // the id of a response is the server's
		id = m.ID.Of(body)
	}
	access, ok := b.access(w, r, id)
	if !ok {
		return
	}
	if isModern(r) {
		b.modern(w, r, &m, access) //nolint:contextcheck // a call that waits for input outlives its request
		return
	}
	if m.Kind == jsonrpc.Request && m.MethodName() == "initialize" {
		b.see(w, r, id, func(view *catalog.View) { b.initialize(w, r, &m, access, view) })
		return
	}
	//nolint:contextcheck // what servers are notified of outlives the request
	b.withSession(w, r, m.ID.Of(body), func(s *session.Session) {
		switch name := r.Header.Get(wire.HeaderServer); {
		case m.Kind == jsonrpc.Request:
			b.request(w, r, s, &m, access)
		case name != "" && name != wire.BrokerServer:
			b.forward(w, r, s, &m, name)
		case m.Kind == jsonrpc.Notification:
			b.notification(s, &m)
			w.WriteHeader(http.StatusAccepted)
		default:
			b.fail(w, invalid(nil, http.StatusBadRequest, "this response answers no request of this session"))
		}
	})
}

func (b *Broker) request(w http.ResponseWriter, r *http.Request, s *session.Session, m *jsonrpc.Message, access Access) {
	if name := r.Header.Get(wire.HeaderServer); name != "" && name != wire.BrokerServer {
		b.carry(w, r, s, m, name, access)
		return
	}
	switch m.MethodName() {
	case "ping":
		b.result(w, m, []byte("{}"))
	case "logging/setLevel":
		b.setLevel(w, r, s, m)
	default:
		b.own(w, r, m, access, http.StatusOK)
	}
}

// own answers those requests for the gateway itself that are the same in all revisions. These differ in the status with which a method is unknown.
func (b *Broker) own(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access, unknown int) {
	switch m.MethodName() {
	case "tools/list":
		b.list(w, r, m, access, catalog.Tool, "tools")
	case "tools/call":
		b.callOwn(w, r, m, access)
	case "prompts/list":
		b.list(w, r, m, access, catalog.Prompt, "prompts")
	case "resources/list":
		b.list(w, r, m, access, catalog.Resource, "resources")
	case "resources/templates/list":
		b.list(w, r, m, access, catalog.Template, "resourceTemplates")
	default:
		b.fail(w, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Status: unknown, ID: m.ID.Of(m.Body), Message: "unknown method"})
	}
}

// admit calls f with the request's session, if the caller may use the gateway at all.
func (b *Broker) admit(w http.ResponseWriter, r *http.Request, f func(*session.Session)) {
	if _, ok := b.access(w, r, nil); ok {
		b.withSession(w, r, nil, f)
	}
}

// withSession calls f with the request's session. The router has looked it up before; it may have ended since, or be new to this replica.
func (b *Broker) withSession(w http.ResponseWriter, r *http.Request, id []byte, f func(*session.Session)) {
	s, err := b.opts.Sessions.Find(r.Context(), r.Header.Get(wire.HeaderSessionID))
	if err == nil && s.VirtualServer() != r.Header.Get(wire.HeaderVirtualServer) {
		err = session.ErrUnknown
	}
	if err != nil {
		b.fail(w, sessionFault(id, err))
		return
	}
	b.tokens.renew(s, r.Header.Get("Authorization"))
	f(s)
}

// notification passes on what concerns servers. Cancellation and progress are the router's to send to their owner; what
// it found no owner for needs nothing done.
func (b *Broker) notification(s *session.Session, m *jsonrpc.Message) {
	switch m.MethodName() {
	case "notifications/cancelled":
		b.lifts.cancelled(s, m.Param("requestId").Of(m.Body))
		b.share(s, tellCancelled, m.Body)
		return
	case "notifications/roots/list_changed":
	default:
		return
	}
	params := json.RawMessage(m.Params.Of(m.Body))
	b.everyBackend(s, func(ctx context.Context, ep *upstream.Endpoint, us upstream.Session, _ *catalog.Server) {
		_ = ep.Notify(ctx, us, "notifications/roots/list_changed", params) // a server that is down asks for roots when it is back
	})
}

func (b *Broker) result(w http.ResponseWriter, m *jsonrpc.Message, result []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(jsonrpc.AppendResult(nil, m.ID.Of(m.Body), result))
}

func (b *Broker) fail(w http.ResponseWriter, e *jsonrpc.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.AppendResponse(nil))
}

func invalid(id []byte, status int, message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Status: status, ID: id, Message: message}
}

func unknownSession(id []byte) *jsonrpc.Error {
	return invalid(id, http.StatusNotFound, "unknown or expired session; send an initialize request to start a new one")
}

func badParams(m *jsonrpc.Message, message string) *jsonrpc.Error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Status: http.StatusOK, ID: m.ID.Of(m.Body), Message: message}
}
