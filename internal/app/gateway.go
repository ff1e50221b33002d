package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/consent"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/extproc"
	"github.com/guicassolato/mcp-gateway/internal/protectedresource"
	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// gateway is the broker, the router and what belongs to them, in one process.
type gateway struct {
	version  string
	settings *settings
	logger   *slog.Logger
	metrics  *telemetry.Metrics
	observed *telemetry.Observed // nil where Envoy does not tell of calls

	sessions  *session.Registry
	publisher *publisher
	manager   *upstream.Manager
	tokens    *credential.Manager
	broker    *broker.Broker
	requests  *inFlight        // to the broker
	hub       *replica.Hub     // nil where no Envoy has the router inside
	feed      *envoyFeed       // nil without xDS
	policies  *policies        // nil without policy values
	access    *access          // nil where everything is for everyone
	consent   *consent.Consent // nil where no user can be asked for a credential
	kube      *kube            // nil where the configuration is a file
	watched   watched

	consentStore io.Closer // nil where nothing is to be closed
	routerServer *grpc.Server
	processor    *extproc.Processor
	xdsServer    *grpc.Server
	brokerServer *http.Server
	adminServer  *http.Server
	pageServer   *http.Server // nil where nobody sees the status page but at the admin address
	store        store.Store  // nil for a replica that is alone

	adminAddress         string   // once it listens
	authorizationServers []string // as the environment has them

	draining atomic.Bool
	waiting  atomic.Bool // for the Envoy that belongs to this process
	quiesced atomic.Bool // Envoy goes on, and what it had in flight has been answered
	ending   sync.Once   // of the sessions
	failed   chan error  // of what serves
	running  sync.WaitGroup
	stop     context.CancelFunc // of what runs in the background
}

// newGateway puts the parts together. It reads the configuration, and neither listens nor connects.
func newGateway(version string, s *settings, logger *slog.Logger) (*gateway, error) {
	s.version = version
	g := &gateway{version: version, settings: s, logger: logger, failed: make(chan error, 6), stop: func() {}}
	cfg, err := g.firstConfig()
	if err != nil {
		return nil, err
	}
	if s.xdsAddress != "" {
		options, err := s.envoyOptions()
		if err != nil {
			return nil, err
		}
		if g.feed, err = newEnvoyFeed(options, logger); err != nil {
			return nil, err
		}
	}
	if err := g.assemble(cfg); err != nil {
		return nil, err
	}
	if err := g.serveAdmin(); err != nil {
		return nil, err
	}
	return g, nil
}

// assemble makes the parts that know of each other only by functions.
func (g *gateway) assemble(cfg *config.Config) error {
	s := g.settings
	key, generated, err := s.key(os.LookupEnv)
	if err != nil {
		return err
	}
	if generated {
		g.logger.Info("a session key was made for this run: sessions end with it, and replicas cannot share them")
	}
	public, err := s.public()
	if err != nil {
		return usage(err)
	}
	metadata, err := protectedresource.FromEnv(os.LookupEnv, public)
	if err != nil {
		return err
	}
	g.authorizationServers = metadata.AuthorizationServers
	// Replicas with one key agree on it, so that the router of one may label for the broker of another.
	routerKey := base64.RawURLEncoding.EncodeToString(key.Derive("router-key"))

	g.metrics = telemetry.NewMetrics(g.version, g.metricSources())
	if g.store, err = g.openStore(os.LookupEnv, generated); err != nil {
		return err
	}
	g.sessions = session.NewRegistry(session.Options{
		Key: key, MaxAge: s.sessionMaxAge, MaxIdle: s.sessionIdleTimeout, Max: s.maxSessions,
		OnEnd: g.sessionEnded, OnChange: g.sessionChanged(), Store: g.store,
		OnAdopted: func(*session.Session) { g.metrics.Replicas().Adopted() },
		OnLeave:   func(s *session.Session) { g.broker.SessionLeft(s) },
		OnRenewed: func(s *session.Session) { g.broker.SessionRenewed(s) },
		OnMessage: func(kind string, s *session.Session, body []byte) { g.broker.SessionTold(kind, s, body) },
	})
	var clusters feed
	if g.feed != nil {
		clusters = g.feed
	}
	g.publisher = newPublisher(cfg, clusters, s.controlPlane == controlPlaneIstio, s.ownTools(), g.logger, g.snapshotChanged)
	g.publisher.counters = g.metrics.Tools().Set()
	g.assembleCredentials(key)
	if g.kube == nil {
		g.metrics.ConfigTaken(time.Now())
	}
	if err := g.observe(); err != nil {
		return err
	}
	if err := g.assemblePolicies(public, metadata.ScopesSupported); err != nil {
		return err
	}
	if err := g.assembleConsent(public, key, generated); err != nil {
		return err
	}
	g.manager = upstream.NewManager(upstream.ManagerOptions{Logger: g.logger, Version: g.version, Publish: g.learned, Unchanged: g.unchanged, CompareHeaders: s.envoy.headers, Endpoint: upstream.EndpointOptions{Credentials: credentials{g.tokens, g}}})
	g.broker = broker.New(g.brokerOptions(broker.Options{
		RouterKey: routerKey, Sessions: g.sessions, Snapshot: g.publisher.Snapshot,
		Endpoint: g.manager.Endpoint, Poke: g.manager.Poke, Logger: g.logger, Version: g.version,
		Observer: brokerMetrics{g.metrics},
		PageSize: s.pageSize, ToolSearchThreshold: s.toolSearch, MaxBody: s.maxRequestBytes, Key: key, Home: s.replicas.url, ResourceMetadata: g.resourceMetadata(metadata, public),
	}))
	routing := router.Options{MaxBody: s.maxRequestBytes, AllowedOrigins: s.allowedOrigins, BrokerKey: routerKey, AuthorityHeader: s.authorityHeader(), TokenHeader: s.tokenHeader(), ToolSearch: s.toolSearch > 0, HeadersSuffice: s.envoy.headers, Tasks: session.NewTasks(key), Traces: g.observed.Sampling()}
	options := extproc.Options{
		Router: router.New(routing, g.sessions, g.publisher.Snapshot),
		Replay: func(ctx context.Context, c *router.Call) (*http.Response, error) {
			return g.replay(ctx, c)
		},
		Forgotten: func(ctx context.Context, c *router.Call) bool {
			return g.broker.Forgotten(ctx, c.Server.Name, c.Authorization, c.Backend)
		},
		Unauthorized: g.unauthorized,
		Logger:       g.logger, Observer: g.metrics.Router(),
	}
	if g.policies != nil {
		options.Token = g.policies.seen.see
	}
	if g.store != nil {
		options.Session = g.knowSession
	}
	g.serveRouter(extproc.New(options))
	g.assembleHub(routing, options)
	g.serveBroker()
	return nil
}

// learned is told of every new state of a server.
func (g *gateway) learned(name string, st catalog.State) {
	if g.publisher.SetState(name, st) {
		g.metrics.Listed(name)
	}
}

// unchanged is told of lists that a server says to have changed, and which have not.
func (g *gateway) unchanged(name string, kinds []catalog.Kind) { g.broker.Unchanged(name, kinds) }

// maxRouterMessage bounds what Envoy may send the router at once, which is at most what it buffers of a connection.
const maxRouterMessage = 2 * xds.DefaultBufferLimit

// routerWorkers is how many goroutines wait for requests of the router. More requests at once get goroutines of their own.
const routerWorkers = 64

func (g *gateway) serveRouter(p *extproc.Processor) {
	g.processor = p
	g.routerServer = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRouterMessage),
		// A stream is one request: goroutines that stay save the growing of a new stack for each.
		grpc.NumStreamWorkers(routerWorkers),
	)
	p.Register(g.routerServer)
	if g.observed != nil {
		xds.RegisterCallReports(g.routerServer, g.observed.Took)
	}
	if g.feed != nil {
		g.xdsServer = grpc.NewServer(xds.ServerOptions()...)
		g.feed.server.Register(g.xdsServer)
	}
}

// maxBrokerHeaders leaves room for what Envoy and the router add to a client's headers.
const maxBrokerHeaders = 256 << 10

func (g *gateway) serveBroker() {
	g.requests = &inFlight{handler: http.HandlerFunc(g.public)}
	// No timeouts but for the headers: an answer may be a stream that lasts for hours.
	g.brokerServer = &http.Server{
		Handler: g.requests, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: maxBrokerHeaders,
		ErrorLog: slog.NewLogLogger(g.logger.Handler(), slog.LevelWarn),
	}
}

// notReady are the reasons for which no traffic should be sent here.
func (g *gateway) notReady() []string {
	if g.draining.Load() {
		return []string{"the process is stopping"}
	}
	reasons := g.publisher.NotReady()
	if g.kube != nil {
		reasons = append(reasons, g.kube.notReady(g)...)
	}
	if g.policies != nil {
		reasons = append(reasons, g.policies.NotReady()...)
	}
	if g.waiting.Load() {
		reasons = append(reasons, "Envoy does not serve everything yet")
	}
	if g.feed != nil {
		reasons = append(reasons, g.feed.NotReady()...)
	}
	return reasons
}

// listeners are the open addresses.
type listeners struct{ router, broker, admin, page, xds, module net.Listener }

func (l *listeners) close() {
	for _, one := range []net.Listener{l.router, l.broker, l.admin, l.page, l.xds, l.module} {
		if one != nil {
			_ = one.Close()
		}
	}
}

func (g *gateway) listen(ctx context.Context) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	s := g.settings
	if l.router, err = listen(ctx, flagRouter, s.routerAddress); err != nil {
		return l, err
	}
	if l.broker, err = listen(ctx, flagBroker, s.brokerAddress); err != nil {
		return l, err
	}
	if l.admin, err = listen(ctx, flagAdmin, s.adminAddress); err != nil {
		return l, err
	}
	if g.pageServer != nil {
		if l.page, err = listen(ctx, flagPage, s.page.address); err != nil {
			return l, err
		}
	}
	if g.hub != nil {
		if l.module, err = listen(ctx, flagModule, s.moduleAddress); err != nil {
			return l, err
		}
	}
	if g.feed != nil {
		l.xds, err = listen(ctx, flagXDS, s.xdsAddress)
	}
	return l, err
}

// start listens and begins to work. What it starts ends by shutdown, not by the context.
func (g *gateway) start(ctx context.Context) error {
	l, err := g.listen(ctx)
	if err != nil {
		return err
	}
	ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.running.Go(func() { g.publisher.Run(ctx) })
	g.running.Go(func() { g.sessions.Run(ctx) })
	g.running.Go(func() { g.metrics.Carried().Run(ctx) })
	g.running.Go(func() { g.metrics.Tools().Run(ctx) })
	current := g.watched.current()
	g.running.Go(func() { g.watch(ctx, current) })
	if g.policies != nil {
		g.running.Go(func() { g.policies.Run(ctx) })
	}
	g.serve("the router", func() error { return g.routerServer.Serve(l.router) })
	g.serve("the broker", func() error { return g.brokerServer.Serve(l.broker) })
	g.serve("the admin interface", func() error { return g.adminServer.Serve(l.admin) })
	if g.pageServer != nil {
		g.serve("the status page", func() error { return g.pageServer.Serve(l.page) })
	}
	if g.hub != nil {
		g.serve("the hub of router modules", func() error { return g.hub.Serve(l.module) }) //nolint:contextcheck // it ends by Close
		context.AfterFunc(ctx, func() { _ = l.module.Close() })
	}
	if g.feed != nil {
		g.serve("the configuration server", func() error { return g.xdsServer.Serve(l.xds) })
	}
	g.applyCredentials(current) //nolint:contextcheck // tokens are kept fresh until Close
	g.manager.Apply(current)    //nolint:contextcheck // workers end by Close, not by a context
	g.adminAddress = l.admin.Addr().String()
	g.logger.InfoContext(ctx, "listening", "router", l.router.Addr().String(), "broker", l.broker.Addr().String(), "admin", l.admin.Addr().String(),
		"xds", g.settings.xdsAddress, "version", g.version)
	return nil
}

func (g *gateway) serve(what string, serve func() error) {
	g.running.Go(func() {
		err := serve()
		if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
			return
		}
		g.failed <- fmt.Errorf("%s stopped serving: %w", what, err)
	})
}

// quiesce takes no new requests and waits until those in flight have been answered, or the context ends.
func (g *gateway) quiesce(ctx context.Context) {
	g.draining.Store(true)
	stopped := make(chan struct{})
	go func() {
		g.routerServer.GracefulStop()
		close(stopped)
	}()
	g.untilRouted(ctx, stopped)
	untilNone(ctx, g.requests.calls.Load)
	g.quiesced.Store(true)
}

// routerRest is how long the router has no request before none is taken to be on its way: Envoy has heard by then that it takes no more.
const routerRest = 100 * time.Millisecond

// untilRouted waits until nothing is asked of the router any more. An Envoy that reports calls does so over a stream that lasts for as long as it runs itself, so that
// the end of all streams may never come.
func (g *gateway) untilRouted(ctx context.Context, stopped <-chan struct{}) {
	busy := time.Now()
	untilNone(ctx, func() int64 {
		select {
		case <-stopped:
			return 0
		default:
		}
		if g.processor.InFlight() > 0 || g.observed == nil {
			busy = time.Now()
		}
		return int64(max(routerRest-time.Since(busy), 0))
	})
}

// endSessions ends the sessions of clients, with their streams and their sessions with servers.
func (g *gateway) endSessions(ctx context.Context) {
	g.ending.Do(func() {
		g.draining.Store(true)
		closing, cancel := closingTime(ctx)
		defer cancel()
		g.broker.Close(closing)
	})
}

// closingTime is what is left of the time for draining, or a second if that is over: servers should hear that their
// sessions have ended.
func closingTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), time.Second)
}

// shutdown ends everything.
func (g *gateway) shutdown(ctx context.Context) {
	g.endSessions(ctx) // before the manager ends, whose endpoints that needs
	closing, cancel := closingTime(ctx)
	defer cancel()
	if err := g.brokerServer.Shutdown(closing); err != nil {
		_ = g.brokerServer.Close()
	}
	g.manager.Close(closing)
	g.tokens.Close()
	lasts, end := context.WithTimeout(closing, telemetryEnd)
	defer end()
	g.lastReports(lasts)
	g.routerServer.Stop()
	if g.xdsServer != nil {
		g.xdsServer.Stop()
	}
	if g.hub != nil {
		g.hub.Close()
	}
	_ = g.adminServer.Close()
	if g.pageServer != nil {
		_ = g.pageServer.Close()
	}
	g.endTelemetry(lasts)
	if g.consentStore != nil {
		_ = g.consentStore.Close()
	}
	g.stop()
	g.running.Wait()
	if g.store != nil {
		_ = g.store.Close()
	}
}
