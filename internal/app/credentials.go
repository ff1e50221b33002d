package app

import (
	"slices"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// assembleCredentials makes the part that gets tokens, and has them reach Envoys.
func (g *gateway) assembleCredentials(key session.Key) {
	o := credential.Options{Logger: g.logger, OnChange: g.tokenChanged}
	if g.store != nil {
		o.Replicas = &credential.Replicas{Records: g.store, Box: key.Box("exchanged-tokens"), DigestKey: key.Derive("exchanged-token-names")}
	}
	g.tokens = credential.New(o)
	g.publisher.token = g.tokens.Token
}

// applyCredentials takes the credentials of a configuration, before anybody else does, and warns of those that deserve it.
func (g *gateway) applyCredentials(cfg *config.Config) {
	g.tokens.Apply(cfg)
	for _, p := range slices.Concat(credentialWarnings(cfg), g.consentProblems(cfg)) {
		g.logger.Warn("credential", "server", p.Server, "warning", p.Message)
	}
}

// tokenChanged is told that the token of servers is another. One that failed for want of it is tried again at once.
func (g *gateway) tokenChanged(servers []string, regained bool) {
	g.publisher.poke()
	if !regained {
		return
	}
	snap := g.publisher.Snapshot()
	for _, name := range servers {
		if s := snap.Server(name); s != nil && s.State.Health == catalog.HealthFailing {
			g.manager.Poke(name)
		}
	}
}

// unauthorized is told of a call that Envoy made and its server refused with status 401: the next call gets another token.
func (g *gateway) unauthorized(c *router.Call) {
	cfg := g.watched.current()
	i := slices.IndexFunc(cfg.Servers, func(s config.Server) bool { return s.Name == c.Server.Name })
	if i >= 0 && catalog.Fingerprint(&cfg.Servers[i]) == c.Server.Fingerprint {
		g.tokens.Refused(&cfg.Servers[i])
	}
}

// problems are those that no snapshot has: of feeding Envoys, of the credentials, and of tools that are not what they were.
func (g *gateway) problems() []catalog.Problem {
	cfg, view := g.watched.current(), g.publisher.view.Load()
	return slices.Concat(view.problems, credentialWarnings(cfg), g.consentProblems(cfg), g.publisher.history.Problems(view.snapshot))
}

// credentialWarnings are about what was chosen, and yet is better known to whoever operates the gateway.
func credentialWarnings(cfg *config.Config) []catalog.Problem {
	var out []catalog.Problem
	for i := range cfg.Servers {
		if s := &cfg.Servers[i]; s.Enabled && s.Credential != nil && s.Credential.Kind == config.ClientToken {
			out = append(out, catalog.Problem{
				Server: s.Name,
				Message: "clientToken passes the token of each client on: the server can use it wherever the client can; tokenExchange would give it " +
					"one that is good for this server only",
			})
		}
	}
	return out
}
