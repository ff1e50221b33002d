package testbed

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// Tool is one tool of a scripted server.
type Tool struct {
	Name string
	// Definition is the whole definition as raw JSON; empty means the least that is valid.
	Definition string
	// Annotations are those of the least definition, as raw JSON.
	Annotations string
	// Call answers a call. Nil means an answer that holds the request's body as it came.
	Call func(w http.ResponseWriter, c *Call)
}

// Script is what a scripted server is.
type Script struct {
	// Sessionless makes a server that issues no session ids.
	Sessionless bool
	Tools       []Tool
	// Before may answer any request in the script's place, and tells whether it did.
	Before func(w http.ResponseWriter, c *Call) bool
	// Capabilities is raw JSON; empty means tools that announce changes.
	Capabilities string
	// Methods answer further methods, such as "resources/list".
	Methods map[string]func(w http.ResponseWriter, c *Call)
	// Resume answers a GET with a Last-Event-ID.
	Resume func(w http.ResponseWriter, c *Call)
}

// Call is one HTTP request that a scripted server got.
type Call struct {
	*http.Request

	Body []byte
	// Client is the clientInfo.name of the session that the request belongs to.
	Client string
	// ID is the raw id, Method the JSON-RPC method, Tool the name of the called tool.
	ID     json.RawMessage
	RPC    string
	Tool   string
	Params json.RawMessage
}

// Reply answers with one JSON document.
func (c *Call) Reply(w http.ResponseWriter, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, c.ID, result)
}

// Text answers a tool call with a text.
func (c *Call) Text(w http.ResponseWriter, text string) { c.Reply(w, TextResult(text)) }

// TextResult is the result of a tool that says a text.
func TextResult(text string) string {
	quoted, _ := json.Marshal(text) // a string can always be written
	return fmt.Sprintf(`{"content":[{"type":"text","text":%s}]}`, quoted)
}

// Result is the message that answers the call.
func (c *Call) Result(result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, c.ID, result)
}

// SSE begins an event stream and returns what writes to it, in raw text, and flushes.
func SSE(w http.ResponseWriter) (send func(raw string)) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	return func(raw string) {
		_, _ = io.WriteString(w, raw)
		_ = flush.Flush()
	}
}

// Upstream is a scripted MCP server of revision 2025-11-25. It keeps every request that it got.
type Upstream struct {
	URL     string
	address string

	mu       sync.Mutex // guards the rest
	script   Script
	server   *http.Server
	opened   int
	sessions map[string]*upstreamSession
	calls    []*Call
}

type upstreamSession struct {
	client string
	push   chan string
}

// NewUpstream starts a scripted server for the time of the test.
func NewUpstream(t testing.TB, script Script) *Upstream {
	t.Helper()
	l := Listen(t)
	u := &Upstream{script: script, address: l.Addr().String()}
	u.URL = "http://" + u.address + "/mcp"
	u.begin(l)
	t.Cleanup(u.Down)
	return u
}

// Up makes the server listen again, at its one address. It begins without sessions.
func (u *Upstream) Up(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", u.address) //nolint:noctx // it listens until Down
	if err != nil {
		t.Fatal(err)
	}
	u.begin(l)
}

func (u *Upstream) begin(l net.Listener) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions = map[string]*upstreamSession{}
	u.server = &http.Server{Handler: u} //nolint:gosec // loopback, and every client is ours
	go func(s *http.Server) { _ = s.Serve(l) }(u.server)
}

// Down cuts all connections and listens no more.
func (u *Upstream) Down() {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.server.Close()
}

// Forget drops every session, as a restart would.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sessions {
		close(s.push)
	}
	u.sessions = map[string]*upstreamSession{}
}

// Change gives the server another script.
func (u *Upstream) Change(f func(*Script)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.script)
}

// Push sends a raw event on the event streams of the sessions of one client, or of all if it is empty.
func (u *Upstream) Push(client, raw string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.sessions {
		if client == "" || s.client == client {
			select {
			case s.push <- raw:
			default: // nobody listens, and the buffer is full
			}
		}
	}
}

// Sessions are the ids of the open sessions of one client.
func (u *Upstream) Sessions(client string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(u.sessions)) {
		if u.sessions[id].client == client {
			ids = append(ids, id)
		}
	}
	return ids
}

// Calls are the requests of one client so far that pass a filter.
func (u *Upstream) Calls(client string, filter func(*Call) bool) []*Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []*Call
	for _, c := range u.calls {
		if c.Client == client && filter(c) {
			out = append(out, c)
		}
	}
	return out
}

// RPC is a filter for Calls.
func RPC(method string) func(*Call) bool { return func(c *Call) bool { return c.RPC == method } }

// Verb is a filter for Calls.
func Verb(method string) func(*Call) bool {
	return func(c *Call) bool { return c.Method == method }
}

// ServeHTTP answers one request, wherever it is served.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has left
	}
	c := &Call{Request: r, Body: body}
	c.read()
	script, session := u.record(c)
	if script.Before != nil && script.Before(w, c) {
		return
	}
	if c.RPC != "initialize" && !script.Sessionless && session == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","error":{"code":-32001,"message":"session not found"}}`)
		return
	}
	switch r.Method {
	case http.MethodPost:
		u.post(w, c, script)
	case http.MethodGet:
		u.listen(w, c, script, session)
	case http.MethodDelete:
		u.end(r.Header.Get("Mcp-Session-Id"))
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (c *Call) read() {
	var m struct {
		ID     json.RawMessage
		Method string
		Params json.RawMessage
	}
	if json.Unmarshal(c.Body, &m) != nil {
		return
	}
	c.ID, c.RPC, c.Params = m.ID, m.Method, m.Params
	var params struct {
		Name       string
		ClientInfo struct{ Name string }
	}
	if json.Unmarshal(m.Params, &params) == nil {
		c.Tool, c.Client = params.Name, params.ClientInfo.Name
	}
}

// record keeps the request and finds its session.
func (u *Upstream) record(c *Call) (Script, *upstreamSession) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.sessions[c.Header.Get("Mcp-Session-Id")]
	if s != nil {
		c.Client = s.client
	}
	u.calls = append(u.calls, c)
	return u.script, s
}

func (u *Upstream) end(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.sessions[id]; s != nil {
		close(s.push)
		delete(u.sessions, id)
	}
}

func (u *Upstream) post(w http.ResponseWriter, c *Call, script Script) {
	if c.RPC == "initialize" {
		u.initialize(w, c, script)
		return
	}
	if len(c.ID) == 0 || c.RPC == "" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if f := script.Methods[c.RPC]; f != nil {
		f(w, c)
		return
	}
	switch c.RPC {
	case "ping":
		c.Reply(w, "{}")
	case "tools/list":
		c.Reply(w, script.list())
	case "tools/call":
		script.call(w, c)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"method not found"}}`, c.ID)
	}
}

func (u *Upstream) initialize(w http.ResponseWriter, c *Call, script Script) {
	if !script.Sessionless {
		u.mu.Lock()
		u.opened++
		id := "upstream-session-" + strconv.Itoa(u.opened)
		u.sessions[id] = &upstreamSession{client: c.Client, push: make(chan string, 64)}
		u.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", id)
	}
	var params struct{ ProtocolVersion string }
	_ = json.Unmarshal(c.Params, &params) // without one, the newest
	if params.ProtocolVersion == "" || params.ProtocolVersion > "2025-11-25" {
		params.ProtocolVersion = "2025-11-25"
	}
	capabilities := script.Capabilities
	if capabilities == "" {
		capabilities = `{"tools":{"listChanged":true}}`
	}
	c.Reply(w, fmt.Sprintf(`{"protocolVersion":%q,"capabilities":%s,"serverInfo":{"name":"scripted","version":"1"}}`, params.ProtocolVersion, capabilities))
}

func (s Script) list() string {
	out := []byte(`{"tools":[`)
	for i, t := range s.Tools {
		if i > 0 {
			out = append(out, ',')
		}
		switch {
		case t.Definition != "":
			out = append(out, t.Definition...)
		case t.Annotations != "":
			out = fmt.Appendf(out, `{"name":%q,"inputSchema":{"type":"object"},"annotations":%s}`, t.Name, t.Annotations)
		default:
			out = fmt.Appendf(out, `{"name":%q,"inputSchema":{"type":"object"}}`, t.Name)
		}
	}
	return string(append(out, "]}"...))
}

func (s Script) call(w http.ResponseWriter, c *Call) {
	for _, t := range s.Tools {
		switch {
		case t.Name != c.Tool:
		case t.Call == nil:
			c.Text(w, string(c.Body))
			return
		default:
			t.Call(w, c)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"unknown tool"}}`, c.ID)
}

// listen serves a session's event stream.
func (u *Upstream) listen(w http.ResponseWriter, c *Call, script Script, session *upstreamSession) {
	if c.Header.Get("Last-Event-ID") != "" && script.Resume != nil {
		script.Resume(w, c)
		return
	}
	if session == nil {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	send := SSE(w)
	for {
		select {
		case raw, open := <-session.push:
			if !open {
				return
			}
			send(raw)
		case <-c.Context().Done():
			return
		}
	}
}

// AllCalls are the requests so far.
func (u *Upstream) AllCalls() []*Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.calls)
}

// Knows tells whether a session is open.
func (u *Upstream) Knows(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sessions[id] != nil
}
