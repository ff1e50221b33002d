package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// The defaults of ManagerOptions.
const (
	defaultRefresh          = 5 * time.Minute
	defaultPoll             = 30 * time.Second
	defaultSpacing          = 200 * time.Millisecond
	defaultDiscoveryTimeout = 30 * time.Second
	defaultListTimeout      = 5 * time.Minute
	defaultMaxPages         = 10_000
	defaultMaxItems         = 100_000
	defaultMaxBytes         = 64 << 20
)

// ManagerOptions are what all workers have in common. The zero value of each field is good for use.
type ManagerOptions struct {
	Logger *slog.Logger
	// Publish is told each new state of a server, one at a time and in order. It must be quick and must call neither Apply
	// nor Close. A server that left the configuration is not told of.
	Publish func(name string, st catalog.State)
	// Unchanged is told of lists of which a server said that they have changed, though they have not. It must be quick.
	Unchanged func(name string, kinds []catalog.Kind)
	// Endpoint is for the workers and for who asks the manager for an endpoint.
	Endpoint EndpointOptions
	// Version is the gateway's own, which servers are told.
	Version string
	// CompareHeaders has workers find out whether servers compare the headers that repeat a body with it.
	CompareHeaders bool
	// Refresh is the time between two listings of a server that tells of its changes; 0 means 5 min.
	Refresh time.Duration
	// Poll is that of one that does not, or not of all; 0 means 30 s.
	Poll time.Duration
	// Spacing is the least rest between two listings; 0 means 200 ms.
	Spacing time.Duration
	// DiscoveryTimeout bounds each request of a worker; 0 means 30 s.
	DiscoveryTimeout time.Duration
	// ListTimeout bounds all the requests of one listing; 0 means 5 min.
	ListTimeout time.Duration
	Backoff     Backoff
	Limits      Limits
}

func (o *ManagerOptions) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Publish == nil {
		o.Publish = func(string, catalog.State) {}
	}
	o.Version = cmp.Or(o.Version, "dev")
	o.Endpoint.UserAgent = cmp.Or(o.Endpoint.UserAgent, "mcp-gateway/"+o.Version)
	o.Endpoint.Version = cmp.Or(o.Endpoint.Version, o.Version)
	if o.Unchanged == nil {
		o.Unchanged = func(string, []catalog.Kind) {}
	}
	o.Refresh = cmp.Or(o.Refresh, defaultRefresh)
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	o.Spacing = cmp.Or(o.Spacing, defaultSpacing)
	o.DiscoveryTimeout = cmp.Or(o.DiscoveryTimeout, defaultDiscoveryTimeout)
	o.ListTimeout = cmp.Or(o.ListTimeout, defaultListTimeout)
	o.Backoff.First = cmp.Or(o.Backoff.First, 100*time.Millisecond)
	o.Backoff.Max = cmp.Or(o.Backoff.Max, 30*time.Second)
	o.Limits.MaxPages = cmp.Or(o.Limits.MaxPages, defaultMaxPages)
	o.Limits.MaxItems = cmp.Or(o.Limits.MaxItems, defaultMaxItems)
	o.Limits.MaxBytes = cmp.Or(o.Limits.MaxBytes, defaultMaxBytes)
}

// initialize is what a worker opens its session with.
func (o *ManagerOptions) initialize() json.RawMessage {
	params := jsonrpc.AppendQuote([]byte(`{"protocolVersion":`), wire.LatestSession)
	params = jsonrpc.AppendQuote(append(params, `,"capabilities":{},"clientInfo":{"name":"mcp-gateway","version":`...), o.Version)
	return append(params, "}}"...)
}

// Manager runs one worker per enabled server of the configuration.
type Manager struct {
	opts ManagerOptions

	// publishing is held while a state is published and while the set of servers changes, so that no worker that was
	// stopped is heard after its successor.
	publishing sync.Mutex
	closed     bool

	mu      sync.RWMutex // guards servers for readers; who writes holds publishing as well
	servers map[string]*server

	running sync.WaitGroup
}

// server is one configured server. Without an endpoint it is disabled or cannot be used.
type server struct {
	cfg    config.Server // what matters to the connection
	ep     *Endpoint
	worker *worker
	stop   context.CancelFunc
	state  catalog.State // as published
}

// NewManager makes a manager without servers.
func NewManager(opts ManagerOptions) *Manager {
	opts.setDefaults()
	return &Manager{opts: opts, servers: map[string]*server{}}
}

// Apply starts the workers of servers that are new, stops those of servers that are gone or disabled, and replaces those
// of servers that are reached in another way. It does not wait for the network.
func (m *Manager) Apply(cfg *config.Config) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	if m.closed {
		return
	}
	gone := make(map[string]bool, len(m.servers))
	for name := range m.servers {
		gone[name] = true
	}
	for i := range cfg.Servers {
		delete(gone, cfg.Servers[i].Name)
		m.apply(&cfg.Servers[i])
	}
	for name := range gone {
		m.replace(name, nil)
	}
}

func (m *Manager) apply(cfg *config.Server) {
	next := &server{cfg: connectionOf(cfg)}
	old := m.servers[cfg.Name]
	if old != nil && reflect.DeepEqual(old.cfg, next.cfg) {
		return
	}
	next.state = catalog.State{Health: catalog.HealthConnecting, Since: time.Now()}
	if old != nil && sameAddress(&old.cfg, &next.cfg) {
		next.state.Listing = old.state.Listing
	}
	var run func()
	if !cfg.Enabled {
		next.state = catalog.State{Health: catalog.HealthDisabled, Since: time.Now()}
	} else {
		run = m.prepare(next, cfg)
	}
	m.replace(cfg.Name, next)
	m.tell(cfg.Name, next.state)
	if run != nil {
		m.running.Go(run)
	}
}

// connectionOf is a server's configuration without what can change while its connections stay.
func connectionOf(cfg *config.Server) config.Server {
	c := *cfg
	c.ToolPrefix, c.URIPrefix, c.Timeout, c.ToolTimeouts, c.Pins = "", false, 0, nil, nil
	c.MaxCalls, c.MaxConnections = 0, 0
	c.Credential = sentBy(cfg.Credential)
	if cfg.TLS != nil {
		tls := *cfg.TLS
		tls.CAFile = ""
		c.TLS = &tls
	}
	return c
}

// sentBy is a credential without where its secrets are found, and without what users are told of it.
func sentBy(c *config.Credential) *config.Credential {
	if c == nil {
		return nil
	}
	out := *c
	out.Env, out.File, out.Title, out.Description = "", "", "", ""
	if c.Client != nil {
		client := *c.Client
		client.SecretEnv, client.SecretFile = "", ""
		out.Client = &client
	}
	out.Discovery = sentBy(c.Discovery)
	return &out
}

// sameAddress tells whether two configurations mean the same server.
func sameAddress(a, b *config.Server) bool { return a.URL() == b.URL() && a.Hostname == b.Hostname }

// prepare gives a server its endpoint and worker, and returns what the worker does; nil if it cannot.
func (m *Manager) prepare(s *server, cfg *config.Server) (run func()) {
	log := m.opts.Logger.With("server", cfg.Name)
	w := &worker{opts: &m.opts, log: log, state: s.state, kick: make(chan struct{}, 1), poked: make(chan struct{}, 1)}
	opts := m.opts.Endpoint
	listener := opts.OnNotification
	opts.OnNotification = func(method string, params []byte) {
		w.heard(changedBy(method))
		if listener != nil {
			listener(method, params)
		}
	}
	ep, err := NewEndpoint(*cfg, opts)
	if err != nil {
		s.state.Health, s.state.LastError = catalog.HealthFailing, lastError(cfg.Name, err)
		log.Warn("server failing", "error", s.state.LastError)
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	w.ep, s.ep, s.worker, s.stop = ep, ep, w, stop
	w.publish = func(st catalog.State) { m.publish(s, st) }
	return func() {
		defer ep.Close()
		w.run(ctx)
	}
}

// replace puts a server in the place of another of its name, which is stopped. Nil only stops.
func (m *Manager) replace(name string, next *server) {
	m.mu.Lock()
	old := m.servers[name]
	if next != nil {
		m.servers[name] = next
	} else {
		delete(m.servers, name)
	}
	m.mu.Unlock()
	if old != nil && old.stop != nil {
		old.stop()
	}
}

// publish tells of a state, unless the worker was stopped meanwhile.
func (m *Manager) publish(s *server, st catalog.State) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	if m.servers[s.cfg.Name] == s {
		s.state = st
		m.tell(s.cfg.Name, st)
	}
}

// tell calls Publish. A worker, or who applies a configuration, is not to blame for a panic of who listens.
func (m *Manager) tell(name string, st catalog.State) {
	defer func() {
		if p := recover(); p != nil {
			m.opts.Logger.Error("publishing a server's state panicked", "server", name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	m.opts.Publish(name, st)
}

// Endpoint is the client of an enabled server, nil for any other. It stays the same as long as the server is reached in
// the same way.
func (m *Manager) Endpoint(name string) *Endpoint {
	if s := m.server(name); s != nil {
		return s.ep
	}
	return nil
}

// Discovery is the last time that all or some of a server's lists were read to the end.
type Discovery struct {
	At   time.Time
	Took time.Duration
}

// Discovered tells of a server's last discovery. It is zero as long as there was none since its connection was configured.
func (m *Manager) Discovered(name string) Discovery {
	if s := m.server(name); s != nil && s.worker != nil {
		if d := s.worker.discovered.Load(); d != nil {
			return *d
		}
	}
	return Discovery{}
}

// Poke has a server listed again soon, or tried again if it fails.
func (m *Manager) Poke(name string) {
	if s := m.server(name); s != nil && s.worker != nil {
		s.worker.poke()
	}
}

func (m *Manager) server(name string) *server {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.servers[name]
}

// Close stops all workers and waits until they have ended their sessions, or until the context ends.
func (m *Manager) Close(ctx context.Context) {
	m.publishing.Lock()
	m.closed = true
	for name := range m.servers {
		m.replace(name, nil)
	}
	m.publishing.Unlock()
	ended := make(chan struct{})
	go func() {
		m.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
