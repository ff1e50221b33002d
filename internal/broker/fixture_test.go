package broker_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	routerKey = "the router's key"
	// patience bounds what must happen soon.
	patience = 10 * time.Second
	// hugeID is no float64.
	hugeID = "9007199254740993"
)

// server is one MCP server behind the broker under test.
type server struct {
	name    string
	handler http.Handler
	listing catalog.Listing
}

// scripted is a server that does as it is told and says that it has tools and logs.
func scripted(name string, s *script) server {
	return server{name, s, catalog.Listing{
		Revision: "2025-11-25", Sessions: true, Capabilities: json.RawMessage(`{"tools":{"listChanged":true},"logging":{}}`),
	}}
}

// network is how the parts of a test reach each other: by loopback, or by memory where time is the test's.
type network interface {
	// serve starts a handler and returns its URL.
	serve(t testing.TB, h http.Handler) string
	endpoint() upstream.EndpointOptions
	transport() *http.Transport
}

type loopback struct{}

func (loopback) serve(t testing.TB, h http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

func (loopback) endpoint() upstream.EndpointOptions { return upstream.EndpointOptions{} }
func (loopback) transport() *http.Transport         { return &http.Transport{} }

// fixture is a broker with servers behind it, and a client that sends what a router would.
type fixture struct {
	t         testing.TB
	net       network
	broker    *broker.Broker
	sessions  *session.Registry
	key       session.Key
	snapshot  atomic.Pointer[catalog.Snapshot]
	config    []config.Server
	virtual   []config.VirtualServer
	states    map[string]catalog.State
	endpoints map[string]*upstream.Endpoint
	poked     chan string
	url       string
	client    *http.Client
	counted   *counted
}

type setup struct {
	net     network
	virtual []config.VirtualServer
	options func(*broker.Options)
	session session.Options
	servers []server
	key     session.Key // zero: a new one
}

func start(t testing.TB, servers ...server) *fixture {
	t.Helper()
	return setup{servers: servers}.start(t)
}

func (s setup) start(t testing.TB) *fixture {
	t.Helper()
	if s.net == nil {
		s.net = loopback{}
	}
	if s.key == (session.Key{}) {
		s.key = session.GenerateKey()
	}
	f := &fixture{
		t: t, net: s.net, key: s.key, virtual: s.virtual, states: map[string]catalog.State{},
		endpoints: map[string]*upstream.Endpoint{}, poked: make(chan string, 100), counted: &counted{},
	}
	for _, srv := range s.servers {
		f.addServer(s.net, srv)
	}
	f.rebuild()
	s.session.Key = f.key
	s.session.OnEnd = func(s *session.Session) { f.broker.SessionEnded(s) }
	s.session.OnLeave = func(s *session.Session) { f.broker.SessionLeft(s) }
	s.session.OnRenewed = func(s *session.Session) { f.broker.SessionRenewed(s) }
	s.session.OnMessage = func(kind string, s *session.Session, body []byte) { f.broker.SessionTold(kind, s, body) }
	f.sessions = session.NewRegistry(s.session)
	f.url = s.net.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.broker.ServeHTTP(w, r) }))
	o := broker.Options{
		Observer: f.counted,
		Home:     f.url, RouterKey: routerKey, Sessions: f.sessions, Key: f.key, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler),
		Snapshot: f.snapshot.Load,
		Endpoint: func(name string) *upstream.Endpoint { return f.endpoints[name] },
		Poke:     func(name string) { f.poked <- name },
		ResourceMetadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "metadata "+r.URL.Path)
		}),
	}
	if s.options != nil {
		s.options(&o)
	}
	f.broker = broker.New(o)
	transport := s.net.transport()
	f.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.broker.Close(ctx)
		transport.CloseIdleConnections()
	})
	return f
}

func (f *fixture) addServer(n network, srv server) {
	f.t.Helper()
	u, err := url.Parse(n.serve(f.t, srv.handler))
	require.NoError(f.t, err)
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	require.NoError(f.t, err)
	cfg := config.Server{Name: srv.name, Scheme: "http", Host: u.Hostname(), Port: uint16(port), Path: "/mcp", Hostname: u.Host, Enabled: true}
	f.config = append(f.config, cfg)
	listing := srv.listing
	f.states[srv.name] = catalog.State{Health: catalog.HealthReady, Listing: &listing}
	ep, err := upstream.NewEndpoint(cfg, n.endpoint())
	require.NoError(f.t, err)
	f.t.Cleanup(ep.Close)
	f.endpoints[srv.name] = ep
}

// rebuild makes the snapshot anew and returns the one before.
func (f *fixture) rebuild() (old, now *catalog.Snapshot) {
	now = catalog.Build(catalog.Input{Servers: f.config, VirtualServers: f.virtual, States: f.states, Counting: catalog.Counting{Set: &tally.Set{}}})
	return f.snapshot.Swap(now), now
}

// request is one of a client as the router labels it.
type request struct {
	method  string // of HTTP; POST
	session string
	server  string // that the router found; empty is the broker
	body    string
	header  http.Header
}

func (f *fixture) send(ctx context.Context, r request) (*http.Response, error) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodPost), f.url+"/mcp", strings.NewReader(r.body))
	require.NoError(f.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Mcp-Router-Key", routerKey)
	req.Header.Set("X-Mcp-Servername", cmp.Or(r.server, "mcpBroker"))
	if r.session != "" {
		req.Header.Set("Mcp-Session-Id", r.session)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	return f.client.Do(req)
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) do(r request) answer {
	f.t.Helper()
	resp, err := f.send(context.Background(), r)
	require.NoError(f.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	return answer{resp.StatusCode, resp.Header, string(body)}
}

const initParams = `{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"test","version":"1"}}`

// initialize opens a session and returns its token.
func (f *fixture) initialize() string {
	f.t.Helper()
	a := f.do(request{body: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":` + initParams + `}`})
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	token := a.header.Get("Mcp-Session-Id")
	require.NotEmpty(f.t, token)
	return token
}

// callOf is a call as the router sends it to the broker.
func callOf(token, server, id, tool string) request {
	return request{session: token, server: server, body: `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `"}}`}
}

// wantError checks a JSON-RPC error, with the request's raw id or, for "", without one.
func wantError(t testing.TB, a answer, status int, id string, code int, words string) {
	t.Helper()
	assert.Equal(t, status, a.status, a.body)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))
	wantErrorBody(t, a.body, id, code, words)
}

func wantErrorBody(t testing.TB, body, id string, code int, words string) {
	t.Helper()
	m, fault := jsonrpc.Parse([]byte(body), jsonrpc.Limits{})
	require.Nil(t, fault, body)
	assert.Equal(t, id, string(m.ID.Of(m.Body)), body)
	var got struct {
		Error struct {
			Code    int
			Message string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	assert.Equal(t, code, got.Error.Code, body)
	assert.Contains(t, got.Error.Message, words)
}

// wantBytes compares every byte: what means the same to a JSON reader is not the same here (Invariant 1).
func wantBytes(t testing.TB, want, got string, about ...any) {
	t.Helper()
	assert.Equal(t, want, got, about...)
}

// events is a client's end of an event stream.
type events struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Reader
	stop context.CancelFunc
}

// listen opens a GET stream.
func (f *fixture) listen(token string, lastEventID ...string) *events {
	f.t.Helper()
	h := http.Header{"Accept": {"text/event-stream"}}
	if len(lastEventID) > 0 {
		h.Set("Last-Event-ID", lastEventID[0])
	}
	return f.stream(request{method: http.MethodGet, session: token, header: h})
}

func (f *fixture) stream(r request) *events {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := f.send(ctx, r) //nolint:bodyclose // the stream closes it
	if err != nil {
		cancel()
		require.NoError(f.t, err)
	}
	e := &events{t: f.t, resp: resp, in: bufio.NewReader(resp.Body), stop: cancel}
	f.t.Cleanup(e.close)
	require.Equal(f.t, http.StatusOK, resp.StatusCode)
	require.Equal(f.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return e
}

func (e *events) close() {
	e.stop()
	_ = e.resp.Body.Close()
}

// next waits for an event with data.
func (e *events) next() sse.Event {
	e.t.Helper()
	ev, err := e.read()
	require.NoError(e.t, err)
	return ev
}

func (e *events) read() (sse.Event, error) {
	var block []byte
	for {
		line, err := e.in.ReadBytes('\n')
		block = append(block, line...)
		if err != nil {
			return sse.Event{}, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			continue
		}
		if ev := sse.Parse(block); ev.HasData {
			return ev, nil
		}
		block = nil
	}
}

// ended waits for the end of the stream, before which nothing more may come.
func (e *events) ended() {
	e.t.Helper()
	ev, err := e.read()
	require.ErrorIs(e.t, err, io.EOF, "%s", ev.Data)
}

// seen is one request as a scripted server got it.
type seen struct {
	did, session, body string
	header             http.Header
}

type reply func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message)

// script is an MCP server that does as it is told by method, of JSON-RPC or else of HTTP. Without being told, it keeps
// sessions, answers every request and has no event stream.
type script struct {
	mu     sync.Mutex
	opened int
	known  map[string]bool
	on     map[string]reply
	got    []seen
}

func newScript() *script { return &script{known: map[string]bool{}, on: map[string]reply{}} }

func (s *script) does(method string, r reply) *script {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on[method] = r
	return s
}

// knows makes a session known.
func (s *script) knows(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[id] = true
}

// restart makes the server forget its sessions.
func (s *script) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = map[string]bool{}
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m, _ := jsonrpc.Parse(body, jsonrpc.Limits{})
	did := cmp.Or(m.MethodName(), r.Method)
	id := r.Header.Get("Mcp-Session-Id")
	s.mu.Lock()
	s.got = append(s.got, seen{did, id, string(body), r.Header.Clone()})
	do, known := s.on[did], s.known[id]
	if did == "initialize" && do == nil {
		s.opened++
		id = fmt.Sprintf("s-%d", s.opened)
		s.known[id] = true
	}
	s.mu.Unlock()
	switch {
	case do != nil:
		do(w, r, &m)
	case did == "initialize":
		w.Header().Set("Mcp-Session-Id", id)
		answerJSON(w, &m, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"script","version":"1"}}`)
	case !known:
		http.Error(w, "no such session", http.StatusNotFound)
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Method == http.MethodDelete:
	case m.Kind != jsonrpc.Request:
		w.WriteHeader(http.StatusAccepted)
	default:
		answerJSON(w, &m, `{"did":"`+did+`"}`)
	}
}

// requests are those of a method so far.
func (s *script) requests(did string) []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.got), func(r seen) bool { return r.did != did })
}

func (s *script) await(t testing.TB, did string, n int) []seen {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.requests(did)) >= n }, patience, time.Millisecond, "%d × %s", n, did)
	return s.requests(did)
}

func answerJSON(w http.ResponseWriter, m *jsonrpc.Message, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(jsonrpc.AppendResult(nil, m.ID.Of(m.Body), []byte(result)))
}

// event sends one and flushes it.
func event(w http.ResponseWriter, id, data string) {
	w.Header().Set("Content-Type", "text/event-stream")
	if id != "" {
		_, _ = io.WriteString(w, "id: "+id+"\n")
	}
	_, _ = io.WriteString(w, "data: "+data+"\n\n")
	_ = http.NewResponseController(w).Flush()
}

func resultOf(m *jsonrpc.Message, result string) string {
	return string(jsonrpc.AppendResult(nil, m.ID.Of(m.Body), []byte(result)))
}

func status(code int, contentType, body string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "it did not happen")
		panic("unreachable")
	}
}
