package credential

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// DefaultMaxCallers is how many callers' tokens are kept for one client of an authorization server.
const DefaultMaxCallers = 10_000

// Options are the settings of a Manager. The zero value of each field is good for use.
type Options struct {
	Logger *slog.Logger
	// Transport makes the requests to authorization servers; nil means one that heeds no proxy of the environment.
	Transport http.RoundTripper
	// OnChange is told that the token for all callers of some servers is another, or is gone; regained says that there was none before. It
	// must be quick.
	OnChange func(servers []string, regained bool)
	// MaxCallers is how many callers' tokens are kept for one client; 0 means DefaultMaxCallers.
	MaxCallers int
	// Replicas is how callers' tokens are shared with other replicas; nil means that they are not.
	Replicas *Replicas
}

// Manager has the tokens of all servers. Servers with equal clients share theirs.
type Manager struct {
	opts    Options
	sharing *sharing // nil for a replica that is alone
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards sources
	sources map[[sha256.Size]byte]*source
}

// New makes a manager of no servers.
func New(o Options) *Manager {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func([]string, bool) {}
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	o.MaxCallers = cmp.Or(o.MaxCallers, DefaultMaxCallers)
	m := &Manager{opts: o, sharing: newSharing(o.Replicas), sources: map[[sha256.Size]byte]*source{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  askTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: 256 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// Apply gets the tokens of the configuration's servers and keeps them fresh. It does not wait for the network.
func (m *Manager) Apply(cfg *config.Config) {
	shared := map[*source][]string{}
	kept := map[*source]bool{}
	for i := range cfg.Servers {
		s := &cfg.Servers[i]
		if !s.Enabled || s.Credential == nil || s.Credential.Client == nil {
			continue
		}
		src := m.source(s.Credential.Client)
		kept[src] = true
		if s.Credential.Discovery == nil {
			shared[src] = append(shared[src], s.Name)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, src := range m.sources {
		if !kept[src] {
			delete(m.sources, key)
		}
		src.serve(shared[src])
	}
}

// Close stops keeping tokens fresh.
func (m *Manager) Close() {
	m.stop()
	m.running.Wait()
}

// source is that of a client, made if need be.
func (m *Manager) source(cfg *config.OAuthClient) *source {
	key := keyOf(cfg)
	m.mu.Lock()
	defer m.mu.Unlock()
	src := m.sources[key]
	if src == nil {
		src = newSource(m, key, cfg)
		m.sources[key] = src
	}
	return src
}

// keyOf is the same for clients that get the same tokens.
func keyOf(c *config.OAuthClient) [sha256.Size]byte {
	h := sha256.New()
	parts := append([]string{c.TokenURL, c.Issuer, c.ID, c.Secret.Reveal(), c.Audience, c.Resource}, c.Scopes...)
	for _, part := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Token is the token that a server gets from all callers alike, if it is one that gets such a token and there is one now. It asks nobody.
func (m *Manager) Token(s *config.Server) (config.Secret, bool) {
	if s.Credential == nil || s.Credential.Kind != config.ClientCredentials {
		return config.Secret{}, false
	}
	return m.source(s.Credential.Client).shared.current()
}

// Refused says that a server has answered 401 to a call that others made with its Token.
func (m *Manager) Refused(s *config.Server) {
	if token, ok := m.Token(s); ok {
		m.source(s.Credential.Client).shared.reject(token)
	}
}

// Shared is what a server's requests are made with that are made for all callers, listing above all; nil if there is nothing for it but what
// the configuration has.
func (m *Manager) Shared(s *config.Server) Tokens {
	if s.Credential == nil || s.Credential.Client == nil || s.Credential.Discovery != nil {
		return nil
	}
	return cellTokens{m.source(s.Credential.Client).shared}
}

// Caller is what a server's requests are made with that are made for the one caller with this bearer token, which may be empty; nil if they
// are made with nothing.
func (m *Manager) Caller(s *config.Server, token config.Secret) Tokens {
	switch {
	case s.Credential == nil:
		return nil
	case s.Credential.Kind == config.ClientToken && token.Reveal() != "":
		return fixed{token}
	case s.Credential.Kind == config.TokenExchange:
		return m.source(s.Credential.Client).caller(token)
	}
	return nil
}

// Tokens gives the token that one request is made with.
type Tokens interface {
	Token(ctx context.Context) (config.Secret, error)
	// Rejected says that the server answered 401 to the token, which means that it did nothing. Token gives another then, if one can be had.
	Rejected(token config.Secret)
}

// Judged are Tokens of which another can be had that the server may take where it answered 403, if only the user gives another.
type Judged interface {
	Tokens
	// Forbidden says that the server answered 403 to a message with the token.
	Forbidden(token config.Secret)
}

type cellTokens struct{ cell *cell }

func (t cellTokens) Token(ctx context.Context) (config.Secret, error) { return t.cell.get(ctx) }
func (t cellTokens) Rejected(token config.Secret)                     { t.cell.reject(token) }

// fixed is a caller's own token.
type fixed struct{ token config.Secret }

func (t fixed) Token(context.Context) (config.Secret, error) { return t.token, nil }
func (fixed) Rejected(config.Secret)                         {}

// none is what is made of a caller without a token.
type none struct{}

func (none) Token(context.Context) (config.Secret, error) { return config.Secret{}, ErrNoSubject }
func (none) Rejected(config.Secret)                       {}

// source is one client of an authorization server and the tokens that it got.
type source struct {
	m       *Manager
	key     [sha256.Size]byte // see keyOf
	client  *client
	shared  *cell
	callers callers
	kick    chan struct{}

	mu      sync.Mutex // guards the rest
	servers []string   // that use shared
	end     context.CancelFunc
	told    config.Secret
	failing bool
}

func newSource(m *Manager, key [sha256.Size]byte, cfg *config.OAuthClient) *source {
	s := &source{m: m, key: key, client: &client{cfg: cfg, http: m.opts.Transport}, kick: make(chan struct{}, 1)}
	s.shared = &cell{fetch: func(ctx context.Context, _ known) (*grant, error) { return s.client.clientCredentials(ctx) }, changed: s.changed}
	s.callers = newCallers(m.opts.MaxCallers)
	return s
}

// serve keeps the shared token fresh as long as there are servers that use it.
func (s *source) serve(servers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = slices.Clone(servers)
	switch {
	case len(servers) == 0 && s.end != nil:
		s.end()
		s.end = nil
	case len(servers) > 0 && s.end == nil && s.m.ctx.Err() == nil:
		ctx, cancel := context.WithCancel(s.m.ctx)
		s.end = cancel
		s.m.running.Go(func() {
			defer cancel()
			s.run(ctx)
		})
	}
}

func (s *source) run(ctx context.Context) {
	for ctx.Err() == nil {
		timer := time.NewTimer(time.Until(s.shared.due(time.Now())))
		select {
		case <-ctx.Done():
		case <-s.kick:
		case <-timer.C:
		}
		timer.Stop()
		s.shared.mu.Lock()
		flight := s.shared.start(time.Now()) //nolint:contextcheck // a request serves others too
		s.shared.mu.Unlock()
		if flight != nil {
			select {
			case <-ctx.Done():
			case <-flight:
			}
		}
		s.tell() // it may be that a token has expired
	}
}

// changed is called when the shared token may be another.
func (s *source) changed() {
	s.tell()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// tell tells what has become of the shared token, if that is news.
func (s *source) tell() {
	s.mu.Lock()
	token, ok := s.shared.current()
	had := s.told.Reveal() != ""
	news := ok != had || !token.Equal(s.told)
	s.told = token
	servers := s.servers
	s.report(ok)
	s.mu.Unlock()
	if news && len(servers) > 0 {
		s.m.opts.OnChange(servers, ok && !had)
	}
}

// report logs that tokens fail, once, and that they are there again.
func (s *source) report(ok bool) {
	s.shared.mu.Lock()
	err := s.shared.err
	s.shared.mu.Unlock()
	switch {
	case err != nil && !s.failing:
		s.m.opts.Logger.Warn("no token for servers", "servers", s.servers, "error", err, "old_token_serves", ok)
	case err == nil && ok && s.failing:
		s.m.opts.Logger.Info("tokens are had again", "servers", s.servers)
	}
	if err != nil || ok {
		s.failing = err != nil
	}
}

func (s *source) caller(token config.Secret) Tokens {
	if token.Reveal() == "" {
		return none{}
	}
	return cellTokens{s.callers.get(token, func() *cell {
		e := &exchange{client: s.client, caller: token, record: s.m.sharing.record(s.key, token)}
		return &cell{strict: true, fetch: e.fetch}
	})}
}
