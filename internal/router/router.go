// Package router decides what becomes of one request: straight to the server that owns what it names, to the broker, or
// an error. It is a pure function of the request, a catalog snapshot and the sessions. It opens no connection and adds no
// credential, and it must not know Envoy, the broker or the upstream clients.
package router

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// DefaultMaxBody is the largest body in bytes where nothing else is configured.
const DefaultMaxBody = 4 << 20

// Options are the settings of a Router.
type Options struct {
	// MaxBody is the largest request body in bytes, default DefaultMaxBody.
	MaxBody int64
	// AllowedOrigins are the web origins that may call, beside those of loopback hosts.
	AllowedOrigins []string
	// BrokerKey proves to the broker that a request came through a router.
	BrokerKey string
	// AuthorityHeader is where a server's :authority goes. Empty means that it takes the place of the client's; else that one stays, for an Envoy whose
	// choice of routes begins with it.
	AuthorityHeader string
	// Tasks reads the ids of tasks that the broker made.
	Tasks session.Tasks
	// ToolSearch tells that the gateway has the tools wire.ToolSearch and wire.ToolCall.
	ToolSearch bool
	// TokenHeader is where the token of an Authorization header of the one form that counts goes, without its scheme. Empty means nowhere.
	TokenHeader string
	// HeadersSuffice tells that a call may be decided by its headers alone where its server compares them with the body.
	HeadersSuffice bool
	// Traces says in which traces the gateway has a span.
	Traces tracecontext.Sampling
}

// Sessions finds the session of a token.
type Sessions interface {
	Lookup(token string) (*session.Session, error)
}

// Router makes decisions. It is immutable and safe for concurrent use.
type Router struct {
	maxBody   int64
	origins   map[string]bool
	key       string
	authority string
	token     string
	search    bool
	heads     bool
	tasks     session.Tasks
	traces    tracecontext.Sampling
	sessions  Sessions
	snapshot  func() *catalog.Snapshot
}

// New makes a router that reads the current snapshot, once for each request, from a function.
func New(o Options, sessions Sessions, snapshot func() *catalog.Snapshot) *Router {
	r := &Router{maxBody: o.MaxBody, key: o.BrokerKey, token: o.TokenHeader, search: o.ToolSearch, heads: o.HeadersSuffice, tasks: o.Tasks, traces: o.Traces, sessions: sessions, snapshot: snapshot, origins: map[string]bool{}}
	r.authority = cmp.Or(o.AuthorityHeader, ":authority")
	if r.maxBody <= 0 {
		r.maxBody = DefaultMaxBody
	}
	for _, origin := range o.AllowedOrigins {
		r.origins[strings.ToLower(origin)] = true
	}
	return r
}

// MaxBody is the largest request body in bytes that an adapter may gather.
func (r *Router) MaxBody() int64 { return r.maxBody }

// TooLarge is the decision for a body beyond MaxBody.
func (r *Router) TooLarge(d *Decision) {
	d.refuse(&jsonrpc.Error{
		Code: http.StatusRequestEntityTooLarge, Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("the request body is larger than the %d bytes that this gateway accepts", r.maxBody),
	})
}

// NeedsBody tells whether the body of a request that has one must be gathered before it is routed. What is refused by its
// head alone, or is known to be too large, is routed with a nil body.
func (r *Router) NeedsBody(req *Request) bool {
	switch req.Method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
		return req.contentLength <= r.maxBody && isEndpoint(req.Path)
	}
	return false
}

// Route decides. The body must not be modified until the request has been answered.
func (r *Router) Route(req *Request, body []byte, d *Decision) {
	r.begin(req, d)
	if !isEndpoint(req.Path) {
		d.refuse(invalid(nil, http.StatusNotFound, "there is nothing at this path; the endpoint is "+wire.PathMCP))
		return
	}
	switch req.Method {
	case http.MethodPost:
		r.post(req, body, d)
	case http.MethodGet, http.MethodDelete:
		r.bodiless(req, body, d)
	default:
		d.refuse(invalid(nil, http.StatusMethodNotAllowed, "the endpoint takes POST, GET and DELETE"), Header{"allow", "POST, GET, DELETE"})
	}
}

// begin is what becomes of any request.
func (r *Router) begin(req *Request, d *Decision) {
	d.Remove = append(d.Remove, req.forged...)
	if r.token != "" {
		if token := bearerToken(req.authorization); token != "" {
			d.set(r.token, token)
		}
	}
}

func isEndpoint(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return path == wire.PathMCP || strings.HasPrefix(path, wire.PathMCP+"/")
}

// checkHead checks what can be told without the body, and tells what the endpoint shows that the request is for.
func (r *Router) checkHead(req *Request, id []byte, snap *catalog.Snapshot, d *Decision) (*catalog.View, *jsonrpc.Error) {
	err := r.checkOrigin(req, id)
	if err != nil {
		return nil, err
	}
	view, err := viewOf(req, id, snap)
	if err != nil {
		return nil, err
	}
	if name := view.Name(); name != "" {
		d.fact(wire.HeaderVirtualServer, wire.KeyVirtualServer, name)
		d.Metadata = append(d.Metadata, Header{wire.KeyVirtualServerPath, view.Segment()})
	}
	if v := req.protocolVersion; v != "" && !wire.IsSessionRevision(v) && !wire.IsModernRevision(v) {
		return nil, unsupportedVersion(id, v)
	}
	return view, nil
}

// viewOf finds the virtual server that a request is for. The path names it or, at the gateway's own path, the header. Unknown means no (Invariant 5).
func viewOf(req *Request, id []byte, snap *catalog.Snapshot) (*catalog.View, *jsonrpc.Error) {
	path, _, _ := strings.Cut(req.Path, "?")
	view := snap.All()
	if segment, ok := strings.CutPrefix(path, wire.PathMCP+"/"); ok {
		view = snap.VirtualServerAt(segment)
	} else if req.hasVirtualServer {
		view = snap.VirtualServer(req.virtualServer)
	}
	switch {
	case view == nil:
		return nil, invalid(id, http.StatusNotFound, wire.NoVirtualServer)
	case req.hasVirtualServer && req.virtualServer != view.Name():
		return nil, invalid(id, http.StatusBadRequest, "the header "+wire.HeaderVirtualServer+" contradicts the path; leave it out")
	}
	return view, nil
}

func (r *Router) checkOrigin(req *Request, id []byte) *jsonrpc.Error {
	switch {
	case req.repeated != "":
		return invalid(id, http.StatusBadRequest, "the header "+req.repeated+" came more than once")
	case req.badContentLength:
		return invalid(id, http.StatusBadRequest, "Content-Length is not a number")
	case !r.allowedOrigin(req.origin, req.seen&seenOrigin != 0):
		return invalid(id, http.StatusForbidden, "requests from this web origin are not allowed; the operator can allow it with --allowed-origins")
	}
	return nil
}

func unsupportedVersion(id []byte, requested string) *jsonrpc.Error {
	data := append([]byte(`{"supported":["`), strings.Join(wire.Revisions(), `","`)...)
	data = append(jsonrpc.AppendQuote(append(data, `"],"requested":`...), strings.ToValidUTF8(requested, "\uFFFD")), '}')
	return &jsonrpc.Error{
		Code: jsonrpc.CodeUnsupportedVersion, Status: http.StatusBadRequest, ID: id, Data: data,
		Message: "unsupported protocol version",
	}
}

func (r *Router) allowedOrigin(origin string, present bool) bool {
	return !present || loopbackOrigin(origin) || r.origins[strings.ToLower(origin)]
}

// loopbackOrigin tells whether a web origin is a page of this very machine.
func loopbackOrigin(origin string) bool {
	host, ok := strings.CutPrefix(origin, "http://")
	if !ok {
		if host, ok = strings.CutPrefix(origin, "https://"); !ok {
			return false
		}
	}
	if rest, isV6 := strings.CutPrefix(host, "[::1]"); isV6 {
		return rest == "" || validPort(rest)
	}
	if colon := strings.IndexByte(host, ':'); colon >= 0 {
		if !validPort(host[colon:]) {
			return false
		}
		host = host[:colon]
	}
	return host == "localhost" || host == "127.0.0.1" || strings.HasSuffix(host, ".localhost")
}

func validPort(s string) bool {
	return len(s) > 1 && s[0] == ':' && strings.Trim(s[1:], "0123456789") == ""
}

// session finds the session that a request belongs to, if the caller and the virtual server are those that it is bound to.
func (r *Router) session(req *Request, id []byte, view *catalog.View) (*session.Session, *jsonrpc.Error) {
	if req.sessionID == "" {
		return nil, invalid(id, http.StatusBadRequest, "Mcp-Session-Id is missing; send an initialize request first and then the id that it answers with")
	}
	s, err := r.sessions.Lookup(req.sessionID)
	if req.Unsure && (errors.Is(err, session.ErrUnsure) || errors.Is(err, session.ErrElsewhere)) {
		return nil, &jsonrpc.Error{
			Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: id,
			Message: "sessions cannot be looked up now; try again later. Requests of the revision " + wire.Revision20260728 + " need none",
		}
	}
	if err != nil || s.VirtualServer() != view.Name() || !s.BelongsTo(req.authorization) {
		// Whether a session exists is nobody's business but its caller's.
		return nil, invalid(id, http.StatusNotFound, "unknown or expired session; send an initialize request to start a new one")
	}
	return s, nil
}

// bodiless decides on GET and DELETE. A body of theirs would go on to a server that no policy has judged it for.
func (r *Router) bodiless(req *Request, body []byte, d *Decision) {
	if req.contentLength > r.maxBody {
		r.TooLarge(d)
		return
	}
	if len(body) > 0 || req.contentLength > 0 {
		d.refuse(invalid(nil, http.StatusBadRequest, "a "+req.Method+" request must have no body"))
		return
	}
	snap := r.snapshot()
	view, err := r.checkHead(req, nil, snap, d)
	if err != nil {
		d.refuse(err)
		return
	}
	if wire.IsModernRevision(req.protocolVersion) {
		d.refuse(invalid(nil, http.StatusMethodNotAllowed, "in the protocol revision "+req.protocolVersion+" the endpoint takes POST alone"), Header{"allow", "POST"})
		return
	}
	if req.Method == http.MethodGet && !accepts(req.accept, "text/event-stream") {
		d.refuse(invalid(nil, http.StatusNotAcceptable, "Accept must allow text/event-stream"))
		return
	}
	s, err := r.session(req, nil, view)
	if err != nil {
		d.refuse(err)
		return
	}
	if req.Method == http.MethodGet && req.lastEventID != "" {
		if r.resume(req, s, snap, d) {
			return
		}
	}
	d.fact(wire.HeaderServer, wire.KeyServer, wire.BrokerServer)
	d.toBroker(r.key)
}

// resume sends a client that lost the stream of a call back to the server that keeps it.
func (r *Router) resume(req *Request, s *session.Session, snap *catalog.Snapshot, d *Decision) bool {
	kind, name, raw, ok := s.Unseal(req.lastEventID)
	if !ok || kind != session.SealCallEvent {
		return false
	}
	server := snap.Server(name)
	if server == nil || !server.Programmed {
		return false
	}
	backend, ok := s.Backend(name, s.BackendKey(server.Fingerprint, server.PerCaller, req.authorization))
	if !ok {
		return false
	}
	d.fact(wire.HeaderServer, wire.KeyServer, name)
	if server.Carried {
		d.toBroker(r.key)
		return true
	}
	r.direct(d, server, backend, server.Timeout)
	d.set(wire.HeaderLastEventID, string(raw))
	d.watch(&Call{Session: s, Server: server, Backend: backend})
	return true
}

// direct labels the request for its server.
func (r *Router) direct(d *Decision, server *catalog.Server, backend session.Backend, timeout time.Duration) {
	d.set(wire.HeaderCluster, server.Cluster)
	d.set(r.authority, server.Authority)
	d.set(":path", server.Path)
	if r.authority != ":authority" {
		d.set(wire.HeaderDirect, "true")
	}
	revision := backend.Revision
	if revision == "" {
		revision = server.Revision()
	}
	d.set(wire.HeaderProtocolVersion, revision)
	if backend.ID != "" {
		d.set(wire.HeaderSessionID, backend.ID)
	} else {
		d.Remove = append(d.Remove, wire.HeaderSessionID)
	}
	if timeout > 0 {
		d.set(wire.HeaderEnvoyTimeout, milliseconds(timeout))
	}
}
