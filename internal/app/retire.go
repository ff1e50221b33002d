package app

import (
	"time"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// retire tells the broker, before the manager does so, of servers that are reached in another way in the next configuration, or not any more.
func (g *gateway) retire(next *config.Config) {
	ways := make(map[string]string, len(next.Servers))
	for i := range next.Servers {
		if s := &next.Servers[i]; s.Enabled {
			ways[s.Name] = catalog.Fingerprint(s)
		}
	}
	var gone []broker.Retired
	current := g.watched.current()
	for i := range current.Servers {
		s := &current.Servers[i]
		ep := g.manager.Endpoint(s.Name)
		if ep == nil || ways[s.Name] == ep.Fingerprint() {
			continue
		}
		gone = append(gone, broker.Retired{Server: s.Name, Fingerprint: ep.Fingerprint(), Endpoint: ep, Calls: longestCall(s)})
	}
	g.broker.Retire(gone)
}

// longestCall is how long a call to a server may go on, or be thought to where there is no limit.
func longestCall(s *config.Server) time.Duration {
	longest := s.Timeout
	unlimited := longest == 0
	for _, d := range s.ToolTimeouts {
		longest, unlimited = max(longest, d), unlimited || d == 0
	}
	if unlimited {
		return maxLinger
	}
	return min(longest, maxLinger)
}
