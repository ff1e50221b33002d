package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// serveAdmin makes the operators' interface. What it tells is asked of the parts at that moment.
func (g *gateway) serveAdmin() error {
	o := admin.Options{
		Version: g.version, LocalOnly: isLocal(g.settings.adminAddress), NotReady: g.notReady, Config: g.configStatus,
		Snapshot: g.publisher.Snapshot, URL: func(server string) string { return g.publisher.view.Load().urls[server] },
		Problems: g.problems,
		Sessions: g.sessions.Count, Metrics: g.metricsHandler(),
		Endpoint: strings.TrimSuffix(g.settings.publicURL, "/") + wire.PathMCP, ConsoleClient: g.settings.consoleClient,
		Started: time.Now(), ToolCalls: g.toolCalls,
		Streams: func() int { return int(g.requests.streams.Load()) }, Calls: func() int { return int(g.requests.calls.Load()) },
		Discovery: func(server string) admin.Discovery { return admin.Discovery(g.manager.Discovered(server)) },
	}
	if g.policies != nil {
		o.Policies = g.policies.Status
		o.Values = func() *policy.Set {
			set, _ := g.policies.state()
			return set
		}
	}
	o.Carried = func() map[string]admin.Load {
		out := map[string]admin.Load{}
		for server, c := range g.metrics.Carried().Calls() {
			out[server] = admin.Load{Active: c.Active, Rate: c.Rate, Errors: c.Errors}
		}
		return out
	}
	o.PolicyEngine = func() bool { return g.access != nil && len(g.access.engines()) > 0 }
	o.Issuers = g.issuers
	if g.feed != nil {
		o.Envoys = g.feed.Status
		o.Loads = func() map[string]admin.Load {
			loads := g.feed.Loads(g.publisher.Snapshot())
			if loads == nil {
				return nil
			}
			out := make(map[string]admin.Load, len(loads))
			for server, l := range loads {
				out[server] = admin.Load{Active: l.Active, Rate: l.Rate, Errors: l.Errors}
			}
			return out
		}
	}
	handler, err := admin.New(o)
	if err != nil {
		return err
	}
	if g.settings.page.address != "" {
		o.LocalOnly = false // who comes by another name shows a token
		o.SignOut = g.settings.page.signOut
		page, err := admin.New(o)
		if err != nil {
			return err
		}
		if err := g.servePage(page); err != nil {
			return err
		}
	}
	g.adminServer = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(g.logger.Handler(), slog.LevelWarn),
	}
	return nil
}

// toolCalls says of which calls of tools it is known here which go on, and how they ended. A router inside of Envoy sees the ends of all calls; how they ended is
// reported, if it is not a mesh that feeds Envoy.
func (g *gateway) toolCalls() admin.Known {
	known := admin.Known{Open: admin.BrokersCalls, Failed: admin.BrokersCalls}
	if g.hub != nil {
		known.Open = admin.AllCalls
	}
	if g.observed != nil && g.settings.controlPlane != controlPlaneIstio {
		known.Failed = admin.AllCalls
	}
	return known
}

// issuers are who gives tokens for the endpoint, as the metadata for clients has it.
func (g *gateway) issuers() []string {
	if len(g.authorizationServers) > 0 || g.policies == nil {
		return g.authorizationServers
	}
	if issuer := g.policies.Issuer(); issuer != "" {
		return []string{issuer}
	}
	return nil
}

// metricSources are what metrics are read from when somebody asks for them, by when all parts are there.
func (g *gateway) metricSources() telemetry.Sources {
	sources := telemetry.Sources{
		Snapshot: func() *catalog.Snapshot { return g.publisher.Snapshot() },
		Sessions: func() int { return g.sessions.Count() },
	}
	if g.feed != nil {
		sources.Calls = func() map[string]telemetry.Calls {
			out := map[string]telemetry.Calls{}
			for server, l := range g.feed.Loads(g.publisher.Snapshot()) {
				out[server] = telemetry.Calls{Active: l.Active, Succeeded: l.Succeeded, Failed: l.Failed}
			}
			return out
		}
	}
	return sources
}

// brokerMetrics count what the broker tells of. Only replicas that share something hand requests over to each other.
type brokerMetrics struct{ *telemetry.Metrics }

// HandedOver implements broker.Observer.
func (m brokerMetrics) HandedOver(reached bool) { m.Replicas().HandedOver(reached) }

// observe makes what measures calls, where somebody wants that.
func (g *gateway) observe() (err error) {
	if !g.settings.envoy.reports && !telemetry.SendsOTLP(os.LookupEnv) {
		return nil
	}
	g.observed, err = g.metrics.NewObserved(context.Background(), g.version, os.LookupEnv)
	return err
}

const (
	// telemetryEnd is how much longer stopping may take because of telemetry: a collector that is away must not keep the process.
	telemetryEnd = 2 * time.Second
	// reportsHeld is how long an Envoy may hold a report.
	reportsHeld = time.Second
)

// lastReports waits for those of calls that have ended just now, from an Envoy that goes on.
func (g *gateway) lastReports(ctx context.Context) {
	if g.quiesced.Load() && g.observed != nil && g.observed.Told() {
		pause(ctx, reportsHeld)
	}
}

// endTelemetry sends what is still there, and says what nobody took.
func (g *gateway) endTelemetry(ctx context.Context) {
	if g.observed == nil {
		return
	}
	for _, lost := range g.observed.Close(ctx) {
		attributes := []any{"what", lost.What, "endpoint", lost.Endpoint, "error", lost.Err}
		if lost.Spans > 0 {
			attributes = append(attributes, "spans", lost.Spans, "lost-before", lost.Before)
		}
		g.logger.WarnContext(ctx, "telemetry was lost: the collector did not take it before the end", attributes...)
	}
}

// sessionEnded is told of each session of a client that has ended.
func (g *gateway) sessionEnded(s *session.Session) {
	if g.observed != nil {
		g.observed.SessionEnded(time.Since(s.Expires().Add(-g.settings.sessionMaxAge)), s.Revision())
	}
	g.broker.SessionEnded(s)
}
