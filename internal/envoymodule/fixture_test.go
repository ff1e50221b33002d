package envoymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"
	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared/fake"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	hugeID   = "9007199254740993"
	maxBody  = 4096
)

// gateway is the hub with one session, and the module of an Envoy.
type gateway struct {
	t         testing.TB
	sessions  *session.Registry
	session   *session.Session
	hub       *replica.Hub
	snapshot  *catalog.Snapshot
	module    *Module
	factory   shared.HttpFilterFactory
	forgotten bool
	replay    func(c *router.Call) *router.Reply

	mu      sync.Mutex
	counted map[string]int
	faults  int
	ended   []callreport.Call
}

func (g *gateway) callEnded(c *callreport.Call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := *c
	own.ID = bytes.Clone(c.ID)
	g.ended = append(g.ended, own)
}

func (g *gateway) Count(outcome string, status, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counted[fmt.Sprint(outcome, " ", status)] += n
}

func (g *gateway) Faults(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults += n
}

func (g *gateway) countedFaults() int {
	g.hub.Sync()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.faults
}

func snapshot() *catalog.Snapshot {
	in := catalog.Input{States: map[string]catalog.State{}}
	for name, sessions := range map[string]bool{"weather": true, "plain": false} {
		listing := &catalog.Listing{Revision: "2025-11-25", Sessions: sessions, Capabilities: json.RawMessage(`{"tools":{}}`)}
		listing.Items[catalog.Tool] = []json.RawMessage{
			json.RawMessage(`{"name":"read","annotations":{"readOnlyHint":true}}`), json.RawMessage(`{"name":"write"}`),
		}
		in.Servers = append(in.Servers, config.Server{
			Name: name, Scheme: "http", Host: "127.0.0.1", Port: 1, Path: "/" + name, Hostname: name + ".example", Enabled: true, ToolPrefix: name[:1] + "_",
		})
		in.States[name] = catalog.State{Health: catalog.HealthReady, Listing: listing}
	}
	in.Counting.Set = &tally.Set{}
	return catalog.Build(in)
}

func start(t testing.TB) *gateway {
	t.Helper()
	dir, err := os.MkdirTemp("", "module-") //nolint:usetesting // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g := &gateway{t: t, counted: map[string]int{}, module: New("1")}
	g.sessions = session.NewRegistry(session.Options{Key: session.GenerateKey(), OnChange: func(token string) { g.hub.SessionChanged(token) }})
	now := snapshot()
	g.snapshot = now
	g.hub = replica.NewHub(replica.HubOptions{
		Version: "1", Settings: replica.Settings{Router: router.Options{MaxBody: maxBody, BrokerKey: "key"}, MaxIdle: time.Hour},
		Sessions: g.sessions, Snapshot: func() *catalog.Snapshot { return now }, Counter: g, Logger: slog.New(slog.DiscardHandler),
		Forgotten: func(context.Context, *router.Call) bool { return g.forgotten },
		Ended:     g.callEnded,
		Replay:    func(_ context.Context, c *router.Call) *router.Reply { return g.replay(c) },
	})
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- g.hub.Serve(l) }()
	g.factory, err = g.module.Create(&configHandle{t: t}, fmt.Appendf(nil, `{"socket":%q}`, socket))
	require.NoError(t, err)
	t.Cleanup(func() {
		g.factory.OnDestroy()
		_ = l.Close()
		require.NoError(t, <-served)
	})
	require.Eventually(t, func() bool { return g.hub.Synced() > 0 }, patience, time.Millisecond)
	g.session = g.open()
	g.hub.Sync()
	return g
}

// open makes a session that has one open with the server that keeps sessions.
func (g *gateway) open() *session.Session {
	s, err := g.sessions.Create(g.t.Context(), session.Start{Revision: "2025-11-25"})
	require.NoError(g.t, err)
	require.True(g.t, s.SetBackend("weather", backend("b1")))
	return s
}

// backend is a session with the server.
func backend(id string) session.Backend {
	return session.Backend{ID: id, Revision: "2025-11-25", Fingerprint: snapshot().Server("weather").Fingerprint}
}

// configHandle is Envoy's side of a filter configuration.
type configHandle struct {
	shared.HttpFilterConfigHandle
	t testing.TB
}

func (h *configHandle) Log(_ shared.LogLevel, format string, args ...any) {}

// envoy is Envoy's side of one request.
type envoy struct {
	shared.HttpFilterHandle
	t                 testing.TB
	filter            shared.HttpFilter
	request, response *fake.FakeHeaderMap
	buffered, answer  *fake.FakeBodyBuffer
	metadata          map[string]string
	details           string
	status            float64
	reply             string
	replies           int
	cleared           bool
	resumed, answered bool
	log               strings.Builder
	tasks             chan func()
	panics            string // the name of a method that does
}

func (g *gateway) request(headers ...string) *envoy {
	e := &envoy{
		t: g.t, metadata: map[string]string{}, tasks: make(chan func(), 8), details: "via_upstream",
		buffered: fake.NewFakeBodyBuffer(nil), answer: fake.NewFakeBodyBuffer(nil),
	}
	fields := map[string][]string{}
	for i := 0; i < len(headers); i += 2 {
		fields[headers[i]] = append(fields[headers[i]], headers[i+1])
	}
	e.request, e.response = fake.NewFakeHeaderMap(fields), fake.NewFakeHeaderMap(nil)
	e.filter = g.factory.Create(e)
	return e
}

func (g *gateway) post(more ...string) *envoy {
	return g.request(append([]string{
		":method", "POST", ":path", "/mcp", ":authority", "gw.example", "content-type", "application/json",
		"accept", "application/json, text/event-stream", "mcp-session-id", g.session.Token(),
	}, more...)...)
}

func (e *envoy) fault(method string) {
	if e.panics == method {
		panic("on purpose")
	}
}

func (e *envoy) RequestHeaders() shared.HeaderMap          { return e.request }
func (e *envoy) ResponseHeaders() shared.HeaderMap         { return e.response }
func (e *envoy) BufferedRequestBody() shared.BodyBuffer    { return e.buffered }
func (e *envoy) BufferedResponseBody() shared.BodyBuffer   { return e.answer }
func (e *envoy) ReceivedBufferedRequestBody() bool         { return false }
func (e *envoy) ClearRouteCache()                          { e.cleared = true }
func (e *envoy) ContinueRequest()                          { e.resumed = true }
func (e *envoy) ContinueResponse()                         { e.answered = true }
func (e *envoy) GetScheduler() shared.Scheduler            { return scheduler{e} }
func (e *envoy) Log(_ shared.LogLevel, f string, a ...any) { fmt.Fprintf(&e.log, f, a...) }

func (e *envoy) SetMetadata(namespace, key string, value any) {
	e.fault("SetMetadata")
	require.Equal(e.t, "envoy.filters.http.mcp_gateway", namespace)
	e.metadata[key] = value.(string)
}

func (e *envoy) GetAttributeString(id shared.AttributeID) (shared.UnsafeEnvoyBuffer, bool) {
	require.Equal(e.t, shared.AttributeIDResponseCodeDetails, id)
	e.fault("GetAttributeString")
	return fake.NewFakeHeaderMap(map[string][]string{"d": {e.details}}).GetOne("d"), e.details != ""
}

func (e *envoy) GetAttributeNumber(id shared.AttributeID) (float64, bool) {
	require.Equal(e.t, shared.AttributeIDResponseCode, id)
	return e.status, e.status != 0
}

func (e *envoy) SendLocalResponse(status uint32, headers [][2]string, body []byte, _ string) {
	e.replies++
	e.reply = fmt.Sprintf("%d %s %s", status, headers[0][1], body)
}

type scheduler struct{ envoy *envoy }

func (s scheduler) Schedule(f func()) { s.envoy.tasks <- f }

// work does what was scheduled next on the worker's thread.
func (e *envoy) work() {
	e.t.Helper()
	select {
	case f := <-e.tasks:
		f()
	case <-time.After(patience):
		e.t.Fatal("nothing was scheduled")
	}
}

// send sends the headers and the body in pieces, as an Envoy does that keeps what it is told to keep. It returns the body that goes on.
func (e *envoy) send(pieces ...string) (body string, goesOn bool) {
	e.t.Helper()
	status := e.filter.OnRequestHeaders(e.request, len(pieces) == 0)
	if len(pieces) == 0 || status != shared.HeadersStatusStop {
		return "", status == shared.HeadersStatusContinue
	}
	for i, piece := range pieces {
		received := fake.NewFakeBodyBuffer([]byte(piece))
		switch e.filter.OnRequestBody(received, i == len(pieces)-1) {
		case shared.BodyStatusContinue:
			return string(e.buffered.Body) + string(received.Body), true
		case shared.BodyStatusStopAndBuffer:
			e.buffered.Append(received.Body)
		default:
			return "", false
		}
	}
	return string(e.buffered.Body), false
}

// head shows the head of an answer, and body a piece of it.
func (e *envoy) head(status, contentType string, end bool) shared.HeadersStatus {
	e.response = fake.NewFakeHeaderMap(map[string][]string{":status": {status}, "content-type": {contentType}, "content-length": {"5"}})
	return e.filter.OnResponseHeaders(e.response, end)
}

func (e *envoy) body(piece string, end bool) string {
	received := fake.NewFakeBodyBuffer([]byte(piece))
	require.Equal(e.t, shared.BodyStatusContinue, e.filter.OnResponseBody(received, end))
	return string(received.Body)
}

func (e *envoy) end() {
	e.filter.OnStreamComplete()
	e.filter.OnDestroy()
}

func callOf(id, tool string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"n":9007199254740993}}}`
}
