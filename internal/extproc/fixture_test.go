package extproc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/extproc"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience bounds what must happen soon.
	patience = 10 * time.Second
	hugeID   = "9007199254740993"
	maxBody  = 1 << 20
)

// observer is what the processor told.
type observer struct {
	mu       sync.Mutex
	outcomes []string
	tokens   []string
	faults   int
}

func (o *observer) token(authorization string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tokens = append(o.tokens, authorization)
}

func (o *observer) Decided(outcome string, status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if status != 0 {
		outcome = fmt.Sprintf("%s %d", outcome, status)
	}
	o.outcomes = append(o.outcomes, outcome)
}

func (o *observer) Fault() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults++
}

func (o *observer) told() (outcomes []string, faults int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.outcomes), o.faults
}

// gateway is a processor behind gRPC, with one session that has a session open with the server "weather".
type gateway struct {
	t         testing.TB
	client    extprocv3.ExternalProcessorClient
	processor *extproc.Processor
	observer  *observer
	session   *session.Session
	snapshot  *catalog.Snapshot
	panics    atomic.Bool
	// unauthorized are the servers of calls that were refused with status 401.
	unauthorized chan string
	replay       func(ctx context.Context, c *router.Call) (*http.Response, error)
}

const serverSession = "s-1"

func start(t testing.TB) *gateway {
	t.Helper()
	listing := &catalog.Listing{Revision: "2025-11-25", Sessions: true, Capabilities: json.RawMessage(`{"tools":{}}`)}
	listing.Items[catalog.Tool] = []json.RawMessage{
		json.RawMessage(`{"name":"read","annotations":{"readOnlyHint":true}}`), json.RawMessage(`{"name":"write"}`),
	}
	servers := []config.Server{{Name: "weather", Scheme: "http", Host: "127.0.0.1", Port: 1, Path: "/mcp", Hostname: "weather.example", Enabled: true, ToolPrefix: "w_"}}
	modern := &catalog.Listing{Modern: "2026-07-28", Compares: []string{"tools/call"}, Capabilities: json.RawMessage(`{"tools":{}}`)}
	modern.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"look"}`)}
	for name, prefix := range map[string]string{"bare": "", "named": "n_"} {
		servers = append(servers, config.Server{Name: name, Scheme: "http", Host: "127.0.0.1", Port: 2, Path: "/mcp", Hostname: name + ".example", Enabled: true, ToolPrefix: prefix})
	}
	g := &gateway{t: t, observer: &observer{}, unauthorized: make(chan string, 8)}
	g.snapshot = catalog.Build(catalog.Input{Servers: servers, Counting: catalog.Counting{Set: &tally.Set{}}, States: map[string]catalog.State{
		"weather": {Health: catalog.HealthReady, Listing: listing},
		"bare":    {Health: catalog.HealthReady, Listing: modern}, "named": {Health: catalog.HealthReady, Listing: modern},
	}})
	sessions := session.NewRegistry(session.Options{Key: session.GenerateKey()})
	var err error
	g.session, err = sessions.Create(t.Context(), session.Start{Revision: "2025-11-25"})
	require.NoError(t, err)
	g.open()
	p := extproc.New(extproc.Options{
		Router: router.New(router.Options{MaxBody: maxBody, BrokerKey: "key", HeadersSuffice: true}, sessions, func() *catalog.Snapshot {
			if g.panics.Load() {
				panic("on purpose")
			}
			return g.snapshot
		}),
		Replay:       func(ctx context.Context, c *router.Call) (*http.Response, error) { return g.replay(ctx, c) },
		Unauthorized: func(c *router.Call) { g.unauthorized <- c.Server.Name },
		Token:        g.observer.token,
		Logger:       slog.New(slog.DiscardHandler), Observer: g.observer,
	})
	g.processor = p
	l := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	p.Register(srv)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	conn, err := grpc.NewClient("passthrough:///gateway", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = conn.Close()
		srv.Stop()
		<-served
	})
	g.client = extprocv3.NewExternalProcessorClient(conn)
	return g
}

// open records the backend session.
func (g *gateway) open() {
	weather := g.snapshot.Server("weather")
	be := session.Backend{ID: serverSession, Revision: "2025-11-25", Fingerprint: g.session.BackendKey(weather.Fingerprint, weather.PerCaller, "")}
	require.True(g.t, g.session.SetBackend("weather", be))
}

// isOpen tells whether the backend session is known.
func (g *gateway) isOpen() bool {
	_, ok := g.session.Backend("weather", g.snapshot.Server("weather").Fingerprint)
	return ok
}

// inFlight tells whether the cancellation of a request would find its server.
func (g *gateway) inFlight(id string) bool {
	_, ok := g.session.CallOwner([]byte(id))
	return ok
}

// envoy is Envoy's end of one stream.
type envoy struct {
	t      testing.TB
	stream extprocv3.ExternalProcessor_ProcessClient
	leave  context.CancelFunc
}

func (g *gateway) stream() *envoy {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	g.t.Cleanup(cancel)
	stream, err := g.client.Process(ctx)
	require.NoError(g.t, err)
	return &envoy{g.t, stream, cancel}
}

func (e *envoy) send(r *extprocv3.ProcessingRequest) {
	e.t.Helper()
	if err := e.stream.Send(r); !errors.Is(err, io.EOF) { // which only says that the other end is done
		require.NoError(e.t, err)
	}
}

func headers(end bool, fields ...string) *extprocv3.HttpHeaders {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(fields); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: fields[i], RawValue: []byte(fields[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: m, EndOfStream: end}
}

func requestHeaders(end bool, fields ...string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(end, fields...)}}
}

func requestBody(body string, end bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end},
	}}
}

func requestTrailers() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{}}}
}

func answerHeaders(end bool, status, contentType string) *extprocv3.ProcessingRequest {
	fields := []string{":status", status, wire.HeaderAnswered, "1"}
	if contentType != "" {
		fields = append(fields, "content-type", contentType)
	}
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(end, fields...)}}
}

func answerBody(body string, end bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end},
	}}
}

func answerTrailers() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}}
}

// local says that Envoy made the answer itself.
func local(r *extprocv3.ProcessingRequest) *extprocv3.ProcessingRequest {
	h := r.GetResponseHeaders().Headers
	h.Headers = slices.DeleteFunc(h.Headers, func(v *corev3.HeaderValue) bool { return v.Key == wire.HeaderAnswered })
	return r
}

func (e *envoy) next() *extprocv3.ProcessingResponse {
	e.t.Helper()
	r, err := e.stream.Recv()
	require.NoError(e.t, err)
	return r
}

// over checks that the processor has ended the stream in good order.
func (e *envoy) over() {
	e.t.Helper()
	r, err := e.stream.Recv()
	require.ErrorIs(e.t, err, io.EOF, "%s", r)
}

// rest reads the stream to its end.
func (e *envoy) rest() []*extprocv3.ProcessingResponse {
	e.t.Helper()
	var all []*extprocv3.ProcessingResponse
	for {
		r, err := e.stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(e.t, err)
		all = append(all, r)
	}
}

// transcript puts what a processor said into words: one line a message, chunks of one body joined.
func transcript(all []*extprocv3.ProcessingResponse) []string {
	var lines []string
	chunk := func(name, body string, end bool) {
		line := name + " " + body
		if n := len(lines); n > 0 && strings.HasPrefix(lines[n-1], name+" ") {
			line = lines[n-1] + body
			lines = lines[:n-1]
		}
		if end {
			line += "$"
		}
		lines = append(lines, line)
	}
	for _, r := range all {
		switch v := r.Response.(type) {
		case *extprocv3.ProcessingResponse_RequestHeaders:
			set := fields(v.RequestHeaders.GetResponse().GetHeaderMutation())
			lines = append(lines, strings.TrimSpace("to "+set["x-mcp-cluster"]+" "+set["content-length"]))
		case *extprocv3.ProcessingResponse_RequestBody:
			part := v.RequestBody.GetResponse().GetBodyMutation().GetStreamedResponse()
			chunk("request", string(part.GetBody()), part.GetEndOfStream())
		case *extprocv3.ProcessingResponse_RequestTrailers:
			lines = append(lines, "request trailers")
		case *extprocv3.ProcessingResponse_ResponseHeaders:
			line := "answer headers" // they are let through
			m := v.ResponseHeaders.GetResponse().GetHeaderMutation()
			if set := fields(m); len(set) > 0 {
				line += " " + set["content-type"]
			}
			for _, name := range m.GetRemoveHeaders() {
				if name == wire.HeaderAnswered {
					continue // always, and the e2e tests would see it
				}
				line += " -" + name
			}
			lines = append(lines, line)
		case *extprocv3.ProcessingResponse_ResponseBody:
			chunk("answer:", string(v.ResponseBody.GetResponse().GetBodyMutation().GetBody()), false)
		case *extprocv3.ProcessingResponse_ImmediateResponse:
			lines = append(lines, fmt.Sprintf("reply %d %s", v.ImmediateResponse.GetStatus().GetCode(), v.ImmediateResponse.GetBody()))
		default:
			lines = append(lines, fmt.Sprintf("%T", v))
		}
	}
	return lines
}

func fields(m *extprocv3.HeaderMutation) map[string]string {
	out := map[string]string{}
	for _, h := range m.GetSetHeaders() {
		out[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	return out
}

// post are the headers of a call in the session.
func (g *gateway) post(more ...string) *extprocv3.ProcessingRequest {
	return requestHeaders(false, append([]string{
		":method", "POST", ":path", "/mcp", ":authority", "gw.example", "content-type", "application/json",
		"accept", "application/json, text/event-stream", "mcp-session-id", g.session.Token(),
	}, more...)...)
}

func callOf(id, tool string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + tool + `","arguments":{"n":9007199254740993}}}`
}

// watched sends a call whose answer is looked at and reads what the processor says to it.
func (g *gateway) watched(id, tool string) *envoy {
	g.t.Helper()
	e := g.stream()
	e.send(g.post())
	e.send(requestBody(callOf(id, "w_"+tool), true))
	said := transcript([]*extprocv3.ProcessingResponse{e.next(), e.next()})
	body := callOf(id, tool)
	require.Equal(g.t, []string{fmt.Sprintf("to weather %d", len(body)), "request " + body + "$"}, said)
	return e
}

// failure is a reply in a server's place.
func failure(status int, id, message string) string {
	return fmt.Sprintf("reply %d %s", status, internalError(id, message))
}

func internalError(id, message string) string {
	if id != "" {
		id = `"id":` + id + `,`
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0",%s"error":{"code":-32603,"message":%q}}`, id, message)
}
