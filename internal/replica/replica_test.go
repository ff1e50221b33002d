package replica_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const soon = 10 * time.Second

// process is the broker/router's side.
type process struct {
	t        testing.TB
	socket   string
	key      session.Key
	sessions *session.Registry
	hub      *replica.Hub
	snapshot *catalog.Snapshot
	end      func()

	mu           sync.Mutex
	counted      map[string]int
	faults       int
	unauthorized []string
	tokens       []string
	replay       func(ctx context.Context, c *router.Call) *router.Reply
	forgotten    bool
}

func (p *process) Count(outcome string, status, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counted[outcome+http.StatusText(status)] += n
}

func (p *process) Faults(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults += n
}

func snapshot(tools ...string) *catalog.Snapshot {
	listing := &catalog.Listing{Revision: "2025-11-25", Sessions: true, Capabilities: json.RawMessage(`{"tools":{}}`)}
	for _, tool := range tools {
		listing.Items[catalog.Tool] = append(listing.Items[catalog.Tool], json.RawMessage(`{"name":"`+tool+`"}`))
	}
	servers := []config.Server{{Name: "weather", Scheme: "http", Host: "127.0.0.1", Port: 1, Path: "/mcp", Hostname: "weather.example", Enabled: true}}
	return catalog.Build(catalog.Input{
		Servers: servers, States: map[string]catalog.State{"weather": {Health: catalog.HealthReady, Listing: listing}},
		Counting: catalog.Counting{Set: &tally.Set{}},
	})
}

func socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hub-") //nolint:usetesting // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func newProcess(t testing.TB, path string, key session.Key, set ...func(*replica.HubOptions)) *process {
	t.Helper()
	p := &process{t: t, socket: path, key: key, counted: map[string]int{}}
	p.sessions = session.NewRegistry(session.Options{Key: key, OnChange: func(token string) { p.hub.SessionChanged(token) }})
	now := snapshot("read")
	p.snapshot = now
	options := replica.HubOptions{
		Version: "1", Patience: soon, // on a busy machine, a mirror takes longer than calls should have to wait
		Settings: replica.Settings{Router: router.Options{MaxBody: 1 << 20, BrokerKey: "key"}, MaxIdle: time.Hour},
		Sessions: p.sessions, Snapshot: func() *catalog.Snapshot { return now }, Counter: p, Logger: slog.New(slog.DiscardHandler),
		Forgotten: func(context.Context, *router.Call) bool { return p.forgotten },
		Replay:    func(ctx context.Context, c *router.Call) *router.Reply { return p.replay(ctx, c) },
		Unauthorized: func(c *router.Call) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.unauthorized = append(p.unauthorized, c.Server.Name)
		},
		Token: func(a string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.tokens = append(p.tokens, a)
		},
	}
	for _, f := range set {
		f(&options)
	}
	p.hub = replica.NewHub(options)
	p.serve()
	return p
}

func (p *process) serve() {
	l, err := net.Listen("unix", p.socket)
	require.NoError(p.t, err)
	served := make(chan error, 1)
	go func() { served <- p.hub.Serve(l) }()
	p.end = sync.OnceFunc(func() {
		p.hub.Close()
		_ = l.Close()
		assert.NoError(p.t, <-served)
	})
	p.t.Cleanup(p.end)
}

func (p *process) session() *session.Session {
	s, err := p.sessions.Create(p.t.Context(), session.Start{Revision: "2025-11-25"})
	require.NoError(p.t, err)
	return s
}

func mirror(t testing.TB, path, version string) *replica.Mirror {
	t.Helper()
	m := replica.NewMirror(path, version, func(message string) { t.Log(message) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

func synced(t testing.TB, p *process) {
	t.Helper()
	require.Eventually(t, func() bool { return p.hub.Synced() > 0 }, soon, time.Millisecond)
}

// call is what the mirror's router decides on a call in a session.
func call(m *replica.Mirror, s *session.Session, tool string) *router.Decision {
	var req router.Request
	req.Reset()
	for _, h := range [][2]string{
		{":method", "POST"}, {":path", "/mcp"}, {"content-type", "application/json"}, {"accept", "application/json, text/event-stream"}, {"mcp-session-id", s.Token()},
	} {
		req.Add(h[0], h[1])
	}
	d := &router.Decision{}
	m.State().Router.Route(&req, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"}}`), d)
	return d
}

func open(t testing.TB, s *session.Session) {
	t.Helper()
	fingerprint := snapshot().Server("weather").Fingerprint
	require.True(t, s.SetBackend("weather", session.Backend{ID: "b", Revision: "2025-11-25", Fingerprint: fingerprint}))
}

func TestMirrorRoutesAsTheHubWould(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	early := p.session()
	open(t, early)
	m := mirror(t, p.socket, "1")
	synced(t, p)
	assert.Equal(t, "server", call(m, early, "read").Outcome(), "with all that there was before")

	later := p.session()
	p.hub.Sync()
	assert.Equal(t, "broker", call(m, later, "read").Outcome())
	open(t, later)
	p.hub.Sync()
	d := call(m, later, "read")
	assert.Equal(t, "server", d.Outcome())
	require.NotNil(t, d.Watch)

	assert.Equal(t, "reply", call(m, later, "write").Outcome())
	p.hub.Publish(snapshot("read", "write"))
	assert.Equal(t, "server", call(m, later, "write").Outcome(), "at once when it is published")

	require.NoError(t, p.sessions.Delete(t.Context(), later))
	p.hub.Sync()
	assert.Equal(t, http.StatusNotFound, call(m, later, "read").Reply.Status)
}

// TestCatalogInParts: a catalog of more than one message is taken whole, with what follows it.
func TestCatalogInParts(t *testing.T) {
	many := func(tool string) *catalog.Snapshot {
		in := catalog.Input{States: map[string]catalog.State{}}
		for _, name := range []string{"first", "middle", "last"} {
			in.Servers = append(in.Servers, config.Server{Name: name, Scheme: "http", Host: "127.0.0.1", Port: 1, Path: "/", Hostname: name, ToolPrefix: name + "_", Enabled: true})
			l := &catalog.Listing{Revision: "2025-11-25", Capabilities: json.RawMessage(`{"tools":{}}`)}
			l.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"` + tool + `","description":"` + strings.Repeat("x", 300<<10) + `"}`)}
			in.States[name] = catalog.State{Health: catalog.HealthReady, Listing: l}
		}
		return catalog.Build(in)
	}
	p := newProcess(t, socket(t), session.GenerateKey())
	p.hub.Publish(many("read"))
	m := mirror(t, p.socket, "1")
	synced(t, p)
	s := p.session()
	p.hub.Sync()
	for _, server := range []string{"first", "middle", "last"} {
		assert.Equal(t, "server", call(m, s, server+"_read").Outcome(), "at first")
		assert.Equal(t, "reply", call(m, s, server+"_write").Outcome())
	}
	p.hub.Publish(many("write"))
	for _, server := range []string{"first", "middle", "last"} {
		assert.Equal(t, "server", call(m, s, server+"_write").Outcome(), "at once when it is published")
		assert.Equal(t, "reply", call(m, s, server+"_read").Outcome())
	}
}

// TestTraces: what routers have to know of traces comes with the settings, also where it is little.
func TestTraces(t *testing.T) {
	for _, want := range []tracecontext.Sampling{{}, {On: true}, {On: true, FollowParent: true, Ratio: 1}, {On: true, Ratio: 0.5}} {
		p := newProcess(t, socket(t), session.GenerateKey(), func(o *replica.HubOptions) { o.Settings.Router.Traces = want })
		s := p.session()
		m := mirror(t, p.socket, "1")
		synced(t, p)
		kept := map[byte]int{}
		for range 100 {
			d := call(m, s, "read")
			if !want.On {
				assert.False(t, d.Sets(wire.HeaderTraceparent))
				continue
			}
			at := slices.IndexFunc(d.Set, func(h router.Header) bool { return h.Name == wire.HeaderTraceparent })
			require.GreaterOrEqual(t, at, 0)
			own := d.Set[at].Value
			kept[own[len(own)-1]]++
		}
		assert.Equal(t, want.Ratio > 0, kept['1'] > 0, want)
		assert.Equal(t, want.On && want.Ratio < 1, kept['0'] > 0, want)
	}
}

func TestLookup(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	m := mirror(t, p.socket, "1")
	answers := make(chan bool, 1)
	m.Lookup("waits for the hub", func(ok bool) { answers <- ok })
	assert.True(t, <-answers)
	s := p.session()
	m.Lookup(s.Token(), func(ok bool) { answers <- ok })
	assert.True(t, <-answers)
	assert.True(t, m.State().Sure(s.Token()))
	m.Bury(s.Token())
	require.NoError(t, p.sessions.Delete(t.Context(), s))
	assert.False(t, m.State().Sure(s.Token()))
	m.Lookup(s.Token(), func(ok bool) { answers <- ok })
	assert.True(t, <-answers, "that there is none is an answer")
	assert.Equal(t, http.StatusNotFound, call(m, s, "read").Reply.Status)
	p.end()
	m.Lookup(s.Token(), func(bool) { t.Error("it was given up") })()
}

// TestRestart: the last state goes on while the hub is away; what the next one does not know is gone.
func TestRestart(t *testing.T) {
	path, key := socket(t), session.GenerateKey()
	first := newProcess(t, path, key)
	s := first.session()
	open(t, s)
	m := mirror(t, path, "1")
	synced(t, first)
	first.end()
	assert.Equal(t, "server", call(m, s, "read").Outcome())
	c := call(m, s, "read").Watch
	gone := make(chan *router.Reply, 1)
	require.Eventually(t, func() bool {
		m.Replay(c, func(r *router.Reply) { gone <- r })
		return <-gone == nil
	}, soon, time.Millisecond, "what only the hub can do fails at once")

	second := newProcess(t, path, key)
	other := second.session()
	synced(t, second)
	assert.Equal(t, http.StatusNotFound, call(m, s, "read").Reply.Status)
	assert.Equal(t, "broker", call(m, other, "read").Outcome())
	second.end()

	third := newProcess(t, path, session.GenerateKey())
	synced(t, third)
	assert.True(t, m.State().Sure(other.Token()), "signed with another key")
	assert.Equal(t, http.StatusNotFound, call(m, other, "read").Reply.Status)
}

func TestQuestions(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	s := p.session()
	open(t, s)
	m := mirror(t, p.socket, "1")
	synced(t, p)
	c := call(m, s, "read").Watch
	c.Body, c.ID, c.Authorization, c.Traceparent = []byte("body"), []byte("1"), "Bearer x", "00-trace"

	yes := make(chan bool, 1)
	p.forgotten = true
	m.Forgotten(c, func(is bool) { yes <- is })
	assert.True(t, <-yes)

	replies := make(chan *router.Reply, 1)
	p.replay = func(_ context.Context, c *router.Call) *router.Reply {
		assert.Equal(t, []string{"body", "1", "Bearer x", "00-trace", "weather"}, []string{string(c.Body), string(c.ID), c.Authorization, c.Traceparent, c.Server.Name})
		assert.Empty(t, c.Session.Backends(), "the forgotten one is not used again")
		return &router.Reply{Status: 200, Body: []byte("again")}
	}
	m.Replay(c, func(r *router.Reply) { replies <- r })
	assert.Equal(t, "again", string((<-replies).Body))

	// A client that leaves ends what is done for it.
	began := make(chan struct{})
	left := make(chan error, 1)
	p.replay = func(ctx context.Context, _ *router.Call) *router.Reply {
		close(began)
		<-ctx.Done()
		left <- ctx.Err()
		return nil
	}
	cancel := m.Replay(c, func(*router.Reply) { t.Error("nobody waits") })
	<-began
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)

	m.Unauthorized(c)
	open(t, s)
	p.hub.Sync()
	m.Drop(c)
	assert.Equal(t, "broker", call(m, s, "read").Outcome(), "at once here")
	require.Eventually(t, func() bool { return len(s.Backends()) == 0 }, soon, time.Millisecond, "and then there")
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Equal(t, []string{"weather"}, p.unauthorized)
}

// TestToolCalls: what is counted of a tool is known here, what goes on as well, and that only for as long as somebody can tell that it has ended.
func TestToolCalls(t *testing.T) {
	path, key := socket(t), session.GenerateKey()
	first := newProcess(t, path, key)
	s := first.session()
	m := mirror(t, path, "1")
	synced(t, first)
	counts := func(p *process) tally.Counts {
		p.hub.Sync()
		return p.snapshot.Tool("weather", "read").Calls.Counts()
	}
	tool := call(m, s, "read").Tool
	require.NotNil(t, tool)
	for range 3 {
		tool.Called(1)
		tool.Opened(1)
	}
	tool.Opened(-1)
	assert.Equal(t, tally.Counts{Calls: 3, Open: 2}, counts(first))
	tool.Called(1)
	first.hub.Publish(snapshot("read", "write"))
	first.hub.Sync()
	assert.Same(t, tool, call(m, s, "read").Tool, "another catalog, the same counter")
	assert.Equal(t, tally.Counts{Calls: 4, Open: 2}, counts(first))
	call(m, s, "write").Tool.Called(1) // which the hub's own snapshot does not have
	assert.Equal(t, tally.Counts{Calls: 4, Open: 2}, counts(first))
	first.end()
	assert.Equal(t, tally.Counts{Calls: 4}, first.snapshot.Tool("weather", "read").Calls.Counts(), "nobody tells of their ends any more")

	second := newProcess(t, path, key)
	synced(t, second)
	assert.Equal(t, tally.Counts{Open: 2}, counts(second), "what goes on is told anew, what was counted is not")
	tool.Opened(-2)
	assert.Equal(t, tally.Counts{}, counts(second))
}

func TestCounts(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	m := mirror(t, p.socket, "1")
	synced(t, p)
	for range 3 {
		m.Decided("server", 0)
		m.Token("Bearer head.claims.signature")
	}
	m.Decided("reply", http.StatusNotFound)
	m.Fault()
	m.Token("Basic dXNlcg==")
	p.hub.Sync()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Equal(t, map[string]int{"server": 3, "replyNot Found": 1}, p.counted)
	assert.Equal(t, 1, p.faults)
	assert.Equal(t, []string{"Bearer head."}, p.tokens, "no more of a token than tells its key, and once")
}

func TestOtherVersion(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	m := mirror(t, p.socket, "2")
	require.Eventually(t, func() bool { return p.hub.Refused() != nil }, soon, time.Millisecond)
	require.ErrorContains(t, p.hub.Refused(), `it is of version "2", and this program of "1"`)
	assert.Zero(t, p.hub.Synced())
	assert.Nil(t, m.State())
}

// TestManyAtOnce is for the race detector: everything goes on at the same time, and in the end both know the same.
func TestManyAtOnce(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey())
	m := mirror(t, p.socket, "1")
	synced(t, p)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				s := p.session()
				open(t, s)
				end := s.BeginCall([]byte("1"), "weather")
				done := make(chan struct{})
				m.Lookup(s.Token(), func(bool) { close(done) })
				<-done
				if d := call(m, s, "read"); d.Outcome() != "server" {
					t.Error(d.Outcome())
				}
				end()
				m.Decided("server", 0)
				require.NoError(t, p.sessions.Delete(t.Context(), s))
			}
		})
	}
	all.Go(func() {
		for i := range 20 {
			p.hub.Publish(snapshot("read", "tool"+string(rune('a'+i))))
		}
	})
	all.Wait()
	p.hub.Sync()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Equal(t, 400, p.counted["server"])
}

// TestSlowMirror: one that takes nothing is waited for once, and not again.
func TestSlowMirror(t *testing.T) {
	p := newProcess(t, socket(t), session.GenerateKey(), func(o *replica.HubOptions) { o.Patience = 100 * time.Millisecond })
	m := mirror(t, p.socket, "1")
	synced(t, p)
	release := make(chan struct{})
	m.Lookup("", func(bool) { <-release }) // which holds up its reader
	time.Sleep(10 * time.Millisecond)
	start := time.Now()
	p.hub.Sync()
	first := time.Since(start)
	start = time.Now()
	p.hub.Sync()
	assert.Less(t, time.Since(start), first)
	close(release)
}
