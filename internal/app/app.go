package app

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/guicassolato/mcp-gateway/internal/telemetry"
)

// process is what a command has of the process that it runs in.
type process struct {
	version string
	stdout  io.Writer
	stderr  io.Writer
	// hurry is closed when even draining is too slow.
	hurry <-chan struct{}
}

// Main runs the command line until it is done, the context ends, or a signal tells it to stop. It prints no error.
func Main(ctx context.Context, version string, args []string, stdout, stderr io.Writer) error {
	ctx, hurry, release := untilSignal(ctx)
	defer release()
	go tuneCollector(ctx)
	p := &process{version: version, stdout: stdout, stderr: &lockedWriter{w: stderr}, hurry: hurry}
	root := newRoot(p) //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(p.stderr)
	return root.ExecuteContext(ctx)
}

// newRoot makes the whole command tree.
func newRoot(p *process) *cobra.Command {
	root := newServe(p)
	root.AddCommand(newStandalone(p), newEnvoyConfig(p), newEnvoyBootstrap(p), newIstioConfig(p), newACL(p), newProbe(p), newStatus(p))
	for _, c := range append(root.Commands(), root) {
		c.SilenceErrors, c.SilenceUsage = true, true
		c.Args = noArguments
		c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
			return usagef("%w; see %s --help", err, c.CommandPath())
		})
	}
	root.Version = p.version
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	completeValues(root)
	return root
}

// completeValues tells shells which values there are, where there are few.
func completeValues(root *cobra.Command) {
	for flag, values := range map[string][]string{"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}, flagControlPlane: {controlPlaneIstio}} {
		for _, c := range append(root.Commands(), root) {
			if c.Flags().Lookup(flag) != nil {
				_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // it fails for unknown flags only
			}
		}
	}
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command or argument %q; see %s --help", args[0], c.CommandPath())
	}
	return nil
}

func newServe(p *process) *cobra.Command {
	s := &settings{}
	c := &cobra.Command{
		Use:   "mcp-broker-router",
		Short: "Put many MCP servers behind one endpoint of Envoy",
		Long: `Runs the two parts of the gateway beside Envoy: the router, which tells Envoy where each request goes, and the
broker, which answers for all servers together. Envoy is yours to run: with the file that "envoy-config" prints, or,
with --xds-address, with the one of "envoy-bootstrap" and everything else fed to it. "standalone" brings Envoy along.
In a Kubernetes cluster the configuration comes from a ConfigMap, --config-map, and the same program makes it, --controller.`,
		Example: `  mcp-broker-router --mcp-gateway-config ./config/mcp-system/config.yaml
  mcp-broker-router --xds-address 127.0.0.1:18000 --public-url https://mcp.example.com
  mcp-broker-router --controller --gateway gateway-system/mcp-gateway --namespace mcp-system
  mcp-broker-router --config-map mcp-system/mcp-gateway-config`,
		RunE: func(c *cobra.Command, _ []string) error {
			s.publicGiven = c.Flags().Changed(flagPublic)
			if s.controller {
				return p.control(c.Context(), s)
			}
			if s.kube.configMap != "" && c.Flags().Changed(flagConfig) {
				return usagef("--%s and --%s exclude each other: the configuration is in one place", flagConfig, flagConfigMap)
			}
			return p.serve(c.Context(), s)
		},
	}
	f := c.Flags()
	f.StringVar(&s.configFile, flagConfig, "./config/mcp-system/config.yaml", "the configuration `file`, which is read again whenever it changes")
	f.BoolVar(&s.controller, flagController, false, "run the Kubernetes controller, which makes the configuration of MCPServers and HTTPRoutes, in place of broker and router")
	f.StringVar(&s.xdsAddress, flagXDS, "", "`address` on which Envoys are fed their configuration: host:port or unix:/path; empty means that none is")
	f.StringVar(&s.controlPlane, flagControlPlane, "", "`name` of who feeds Envoy where this process does not: istio (see docs/guides/istio.md). With --controller, write what that needs")
	f.StringVar(&s.publicURL, flagPublic, "http://127.0.0.1:8888", "`URL` of the gateway as clients know it, without a path")
	f.StringVar(&s.moduleAddress, flagModule, "", "`address`, unix:/path, for the router module inside of an Envoy on this machine, which is told by --"+flagXDS+" to route with it in place of ext_proc; empty means ext_proc")
	s.listening(f)
	s.serving(f)
	s.envoy.addresses(f)
	s.kube.flags(f)
	s.page.flags(f)
	return c
}

// serve runs the broker and the router until it is told to stop.
func (p *process) serve(ctx context.Context, s *settings) error {
	if err := s.check(); err != nil {
		return usage(err)
	}
	logger, err := p.logger(s)
	if err != nil {
		return err
	}
	g, err := newGateway(p.version, s, logger) //nolint:contextcheck // what it makes outlives the context of the command, to drain
	if err != nil {
		return err
	}
	if err := g.start(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		logger.InfoContext(ctx, "stopping", "shutdown-delay", s.shutdownDelay, "drain-timeout", s.drainTimeout)
		p.linger(g, s.shutdownDelay)
	case err = <-g.failed:
	}
	drain, cancel := p.drainTime(ctx, s.drainTimeout)
	defer cancel()
	if err == nil {
		g.quiesce(drain)
	}
	g.shutdown(drain)
	return p.ended(err)
}

// linger goes on serving for a while, no longer ready: those who send requests here may not have heard of the end yet.
func (p *process) linger(g *gateway, delay time.Duration) {
	g.draining.Store(true)
	select {
	case <-p.hurry:
	case <-time.After(delay):
	}
}

// ended is the error of a process that has stopped.
func (p *process) ended(err error) error {
	select {
	case <-p.hurry:
		return cmp.Or(err, errHurried)
	default:
		return err
	}
}

// drainTime is the time that what is in flight still has. It begins when the context of the command has ended, and a
// second signal cuts it short.
func (p *process) drainTime(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	go func() {
		select {
		case <-p.hurry:
			cancel()
		case <-drain.Done():
		}
	}()
	return drain, cancel
}

func (p *process) logger(s *settings) (*slog.Logger, error) {
	logger, err := telemetry.NewLogger(p.stderr, s.logLevel, s.logFormat)
	return logger, usage(err)
}

// lockedWriter is for several who write whole lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
