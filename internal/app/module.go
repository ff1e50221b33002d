package app

import (
	"context"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/extproc"
	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/router"
)

// sessionChanged is nil where no module has to know.
func (g *gateway) sessionChanged() func(token string) {
	if g.settings.moduleAddress == "" {
		return nil
	}
	return func(token string) { g.hub.SessionChanged(token) }
}

// metricsHandler serves the metrics, with what router modules have counted up to now.
func (g *gateway) metricsHandler() http.Handler {
	metrics := g.metrics.Handler()
	if g.hub == nil {
		return metrics
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.hub.Sync()
		metrics.ServeHTTP(w, r)
	})
}

// assembleHub makes what router modules are fed by. They can do what the router by ext_proc can.
func (g *gateway) assembleHub(routing router.Options, o extproc.Options) {
	if g.settings.moduleAddress == "" {
		return
	}
	var ended func(*callreport.Call)
	if g.observed != nil {
		ended = g.observed.Took
	}
	g.hub = replica.NewHub(replica.HubOptions{
		Version: g.version, Settings: replica.Settings{Router: routing, MaxIdle: g.settings.sessionIdleTimeout},
		Sessions: g.sessions, Snapshot: g.publisher.Snapshot,
		Forgotten: o.Forgotten, Unauthorized: o.Unauthorized, Token: o.Token, Ended: ended,
		Replay: func(ctx context.Context, c *router.Call) *router.Reply {
			resp, err := o.Replay(ctx, c) //nolint:bodyclose // Repeated closes it
			return answer.Repeated(c, resp, err)
		},
		Counter: g.metrics.Router(), Logger: g.logger,
	})
	g.publisher.before = g.hub.Publish
}
