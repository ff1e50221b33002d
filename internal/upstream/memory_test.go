package upstream

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// memory is a network without a kernel, in which time is that of the test.
type memory struct {
	t         testing.TB
	mu        sync.Mutex
	listeners map[string]*memoryListener
	servers   map[string]*http.Server
	dials     int
	conns     int // that are open
	handling  int
	handled   sync.Cond
}

func newMemory(t testing.TB) *memory {
	t.Helper()
	n := &memory{t: t, listeners: map[string]*memoryListener{}, servers: map[string]*http.Server{}}
	n.handled.L = &n.mu
	t.Cleanup(n.close)
	return n
}

// listen starts a server at an address.
func (n *memory) listen(address string, h http.Handler) {
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.count(1)
		defer n.count(-1)
		h.ServeHTTP(w, r)
	})
	srv := &http.Server{Handler: counted, ErrorLog: quiet(), ConnState: func(_ net.Conn, state http.ConnState) {
		n.mu.Lock()
		defer n.mu.Unlock()
		switch state {
		case http.StateNew:
			n.conns++
		case http.StateClosed:
			n.conns--
		default:
		}
	}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address], n.servers[address] = l, srv
	go func() { _ = srv.Serve(l) }()
}

// stop ends a server as a crash does.
func (n *memory) stop(address string) {
	n.mu.Lock()
	srv := n.servers[address]
	delete(n.servers, address)
	delete(n.listeners, address)
	n.mu.Unlock()
	_ = srv.Close()
}

func (n *memory) close() {
	n.mu.Lock()
	servers := slices.Collect(maps.Values(n.servers))
	n.mu.Unlock()
	for _, srv := range servers {
		_ = srv.Close() // it waits for connections that are just being counted
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.handling > 0 {
		n.handled.Wait()
	}
}

// count keeps the number of requests that are being handled.
func (n *memory) count(change int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handling += change
	n.handled.Broadcast()
}

func (n *memory) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: l, Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: network, Addr: l, Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *memory) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// open is the number of connections.
func (n *memory) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns
}

type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr  { return l }
func (l *memoryListener) Network() string { return "memory" }
func (l *memoryListener) String() string  { return "memory" }

func memoryConfig(name string) config.Server {
	return config.Server{Name: name, Scheme: "http", Host: name, Port: 80, Path: "/mcp", Hostname: name, Enabled: true}
}

func configOfNames(names ...string) *config.Config {
	cfg := &config.Config{}
	for _, name := range names {
		cfg.Servers = append(cfg.Servers, memoryConfig(name))
	}
	return cfg
}

// board keeps what a manager publishes.
type board struct {
	mu     sync.Mutex
	states map[string][]catalog.State
	more   chan struct{}
	began  time.Time
	at     map[string][]time.Duration // when each state came
}

func newBoard() *board {
	return &board{states: map[string][]catalog.State{}, more: make(chan struct{}, 1), began: time.Now(), at: map[string][]time.Duration{}}
}

func (b *board) publish(name string, st catalog.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states[name] = append(b.states[name], st)
	b.at[name] = append(b.at[name], time.Since(b.began))
	signal(b.more)
}

// all are the states of a server so far.
func (b *board) all(name string) []catalog.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]catalog.State(nil), b.states[name]...)
}

// last is the state of a server, and when it came.
func (b *board) last(name string) (catalog.State, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.states[name])
	if n == 0 {
		return catalog.State{}, 0
	}
	return b.states[name][n-1], b.at[name][n-1]
}

// await waits until the last state of a server is as wanted.
func (b *board) await(t testing.TB, name string, wanted func(catalog.State) bool) catalog.State {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		if st, _ := b.last(name); wanted(st) {
			return st
		}
		select {
		case <-b.more:
		case <-timeout:
			st, _ := b.last(name)
			require.Fail(t, "no such state", "the last one of %q is %+v", name, st)
		}
	}
}

// healths are the healths in the order in which they were published, without repetitions.
func (b *board) healths(name string) []catalog.Health {
	var out []catalog.Health
	for _, st := range b.all(name) {
		if len(out) == 0 || out[len(out)-1] != st.Health {
			out = append(out, st.Health)
		}
	}
	return out
}

func isReady(st catalog.State) bool { return st.Health == catalog.HealthReady }

// names are those of the items of a kind.
func names(st catalog.State, kind catalog.Kind) []string {
	var out []string
	if st.Listing == nil {
		return nil
	}
	for _, item := range st.Listing.Items[kind] {
		name, err := itemKey(item, dialectOf(kind).key)
		if err != nil {
			name = err.Error()
		}
		out = append(out, name)
	}
	return out
}

// testLog logs to the test.
func testLog(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(writer{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writer struct{ t testing.TB }

func (w writer) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}

var errInjected = errors.New("injected")
