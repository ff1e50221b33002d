package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	defaultPort = 8888
	// startTimeout is how long everything may take to be ready.
	startTimeout = 30 * time.Second
	// stopGrace is how long a child may take to end once nothing is in flight.
	stopGrace = 3 * time.Second
)

// standaloneSettings are the values of the flags that only standalone has.
type standaloneSettings struct {
	settings
	envoyPath string
	port      int
	examples  string
	router    string
	module    string
}

func newStandalone(p *process) *cobra.Command {
	s := &standaloneSettings{}
	c := &cobra.Command{
		Use:   "standalone",
		Short: "Run the whole gateway on this machine, Envoy included",
		Long: `Runs the router, the broker and an Envoy that is fed by them, on this machine and for this machine: everything listens
on 127.0.0.1 or on Unix sockets in a folder of its own. Ctrl-C ends it all once the calls in flight are done.`,
		Example: `  mcp-broker-router standalone --envoy /usr/local/bin/envoy --mcp-gateway-config ./config/mcp-system/config.yaml`,
		RunE:    func(c *cobra.Command, _ []string) error { return p.standalone(c.Context(), s, c.Flags().Changed) },
	}
	f := c.Flags()
	f.StringVar(&s.configFile, flagConfig, "", "the configuration `file`, which is read again whenever it changes")
	f.StringVar(&s.examples, "example-servers", "", "`path` of the example server, to run two of them and be their gateway, in place of a configuration")
	f.StringVar(&s.envoyPath, "envoy", "envoy", "`path` of Envoy")
	f.StringVar(&s.router, flagAdapter, adapterAuto, "how Envoy asks the router: module, inside of Envoy; extproc, beside it; or auto, the first of these that fits")
	f.StringVar(&s.module, "envoy-module", "", "`path` of the router module for Envoy (default: "+xds.ModuleFile+" beside this program)")
	f.IntVar(&s.port, "port", defaultPort, "port on 127.0.0.1 for the endpoint; or the environment variable "+envPort)
	f.StringVar(&s.publicURL, flagPublic, "", "`URL` of the gateway as clients know it, without a path (default: http://127.0.0.1 and the port)")
	s.serving(f)
	return c
}

// standalone is one run of everything.
type standalone struct {
	*process
	settings *standaloneSettings
	dir      string
	logger   *slog.Logger
	examples *examples
	gateway  *gateway
	envoy    *envoy
	envoyEnv []string // for the router module
}

func (p *process) standalone(ctx context.Context, s *standaloneSettings, given func(flag string) bool) error {
	logger, err := p.logger(&s.settings)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, given); err != nil {
		return err
	}
	bin, version, err := findEnvoy(ctx, s.envoyPath)
	if err != nil {
		return err
	}
	dir, err := privateFolder()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	a := &standalone{process: p, settings: s, dir: dir, logger: logger}
	err = a.run(ctx, bin, version)
	a.stop(ctx, err)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // it was told to stop while it started
	}
	return p.ended(err)
}

// prepare completes the settings and checks them.
func (s *standaloneSettings) prepare(ctx context.Context, given func(flag string) bool) error {
	if v := os.Getenv(envPort); v != "" && !given("port") {
		port, err := strconv.Atoi(v)
		if err != nil {
			return usagef("%s %q: want a port number", envPort, v)
		}
		s.port = port
	}
	switch {
	case s.port < 1 || s.port > 65535:
		return usagef("--port %d: want 1 to 65535", s.port)
	case s.router != adapterAuto && s.router != adapterModule && s.router != adapterExtProc:
		return usagef("--%s %q: want auto, module or extproc", flagAdapter, s.router)
	case s.configFile == "" && s.examples == "":
		return usagef("give --%s, or --example-servers to try the gateway with two example servers", flagConfig)
	case s.configFile != "" && s.examples != "":
		return usagef("--%s and --example-servers exclude each other: the example servers have a configuration of their own", flagConfig)
	}
	if s.publicURL == "" {
		s.publicURL = "http://" + s.endpoint()
	}
	if err := checkFree(ctx, s.endpoint(), s.port); err != nil {
		return err
	}
	if !given(flagAdmin) {
		s.adminAddress = freeUnlessTaken(ctx, s.adminAddress)
	}
	return nil
}

// endpoint is the address that clients connect to.
func (s *standaloneSettings) endpoint() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// checkFree tells a taken port here, where it can be said what to do. Envoy's ports can be shared, so that a second one
// would steal half of the first one's connections.
func checkFree(ctx context.Context, address string, port int) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("port %d is taken (another make run?); choose one with %s=… (%w)", port, envPort, bare(err))
	}
	return l.Close()
}

// freeUnlessTaken is the address itself or, if it is taken, one with a free port.
func freeUnlessTaken(ctx context.Context, address string) string {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = l.Close()
	return address
}

// maxSocketPath is what the shortest of the supported systems allows.
const maxSocketPath = 103

// privateFolder makes a folder that only this user can look into, with a path short enough for sockets.
func privateFolder() (string, error) {
	dir, err := os.MkdirTemp("", "mcp-gateway-")
	if err == nil && len(filepath.Join(dir, "router.sock")) > maxSocketPath {
		_ = os.RemoveAll(dir)
		dir, err = os.MkdirTemp("/tmp", "mcp-gateway-")
	}
	return dir, err
}

func (a *standalone) socket(name string) string { return "unix:" + filepath.Join(a.dir, name+".sock") }

// run starts everything, says so, and waits for the end.
func (a *standalone) run(ctx context.Context, bin, version string) error {
	s := a.settings
	if s.examples != "" {
		a.progress("starting the example servers …")
		var err error
		if a.examples, err = startExamples(ctx, s.examples, a.dir, a.stderr); err != nil {
			return err
		}
		s.configFile = a.examples.file
	}
	s.routerAddress, s.brokerAddress, s.xdsAddress = a.socket("router"), a.socket("broker"), a.socket("xds")
	s.envoy.listen, s.envoy.xds, s.envoy.admin = s.endpoint(), s.xdsAddress, a.socket("envoy")
	if err := s.check(); err != nil {
		return usage(err)
	}
	if err := a.chooseAdapter(ctx, bin); err != nil {
		return err
	}
	g, err := newGateway(a.version, &s.settings, a.logger) //nolint:contextcheck // what it makes outlives this context, to drain
	if err != nil {
		return err
	}
	g.waiting.Store(true)
	if err := g.start(ctx); err != nil {
		return err
	}
	a.gateway = g
	a.progress("starting Envoy %s …", version)
	if a.envoy, err = startEnvoy(bin, a.dir, a.envoyEnv, g.feed.settings(), s.drainTimeout, a.stderr); err != nil {
		return err
	}
	if err := a.untilReady(ctx); err != nil {
		return err
	}
	a.welcome()
	return a.wait(ctx)
}

func (a *standalone) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stdout, format+"\n", args...)
}

// untilReady waits until a client that connects is served.
func (a *standalone) untilReady(ctx context.Context) error {
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.envoy.done:
			return a.envoy.ended()
		case err := <-a.gateway.failed:
			return err
		case <-timeout.C:
			return fmt.Errorf("the gateway is not ready after %v: %v", startTimeout, a.gateway.notReady())
		case <-ticker.C:
		}
		if err := a.gateway.feed.Refused(); err != nil {
			return fmt.Errorf("envoy cannot serve on port %d: %w", a.settings.port, err)
		}
		if hub := a.gateway.hub; hub != nil && hub.Refused() != nil {
			return fmt.Errorf("the router module cannot be used: %w", hub.Refused())
		}
		if a.isReady(ctx) {
			a.gateway.waiting.Store(false)
			return nil
		}
	}
}

func (a *standalone) isReady(ctx context.Context) bool {
	if len(a.gateway.publisher.NotReady()) > 0 || len(a.gateway.feed.NotReady()) > 0 || !a.gateway.feed.Serving() {
		return false
	}
	if hub := a.gateway.hub; hub != nil && hub.Synced() == 0 {
		return false
	}
	if p := a.gateway.policies; p != nil && (len(p.NotReady()) > 0 || !a.gateway.feed.Settled() && time.Since(p.started) < patience) {
		return false // a first client would find its good token refused
	}
	for _, s := range a.gateway.publisher.Snapshot().Servers() {
		if s.State.Health == catalog.HealthReady && !s.Programmed {
			return false
		}
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", a.settings.endpoint())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// wait returns nil when it is told to stop, and an error when something has broken.
func (a *standalone) wait(ctx context.Context) error {
	var gone chan int // of example servers
	if a.examples != nil {
		gone = make(chan int, len(a.examples.children))
		for i, c := range a.examples.children {
			go func() {
				<-c.done
				gone <- i
			}()
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.envoy.done:
			return a.envoy.ended()
		case err := <-a.gateway.failed:
			return err
		case i := <-gone:
			a.logger.WarnContext(ctx, "an example server is gone; the others go on", "error", a.examples.children[i].ended())
		}
	}
}

// stop ends everything in the order in which one part needs the other. After an error there is nothing to wait for.
func (a *standalone) stop(ctx context.Context, err error) {
	drain, cancel := a.drainTime(ctx, a.settings.drainTimeout)
	defer cancel()
	if err != nil {
		cancel()
	} else {
		a.progress("\nstopping …")
	}
	if a.gateway != nil {
		a.gateway.draining.Store(true)
	}
	if a.envoy != nil {
		if err == nil {
			a.settle(drain)
		}
		a.gateway.endSessions(drain)
		a.envoy.stop(stopGrace, a.hurry)
	}
	if a.gateway != nil {
		a.gateway.shutdown(drain)
	}
	if a.examples != nil {
		a.examples.stop(stopGrace, a.hurry)
	}
}

// settle waits until Envoy has answered all that it is asked, but for what clients only listen on.
func (a *standalone) settle(ctx context.Context) {
	if err := a.envoy.drain(ctx); err != nil {
		a.logger.WarnContext(ctx, "envoy does not drain", "error", err)
		return
	}
	untilNone(ctx, func() int64 { return a.envoy.requests(ctx) - a.gateway.requests.streams.Load() })
}
