package xds

import (
	"strings"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// corsFilter is also the key of its settings on routes.
const corsFilter = "envoy.filters.http.cors"

// loopbackOrigin matches what a page served from the user's own machine sends as its Origin.
const loopbackOrigin = `https?://(localhost|([a-z0-9-]+\.)+localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?`

// endpointCORS lets pages on loopback and the configured ones use the endpoint. A preflight from elsewhere ends here.
func endpointCORS(origins []string) *corsv3.CorsPolicy {
	p := newCORS("GET, POST, DELETE, OPTIONS", strings.Join([]string{
		"authorization", "content-type", "accept", wire.HeaderSessionID, wire.HeaderProtocolVersion,
		wire.HeaderMCPMethod, wire.HeaderMCPName, wire.HeaderLastEventID, wire.HeaderVirtualServer,
		"*", // Mcp-Param- and what a tool's schema says, which cannot be listed; it stands for all but authorization
	}, ", "))
	p.AllowOriginStringMatch = []*matcherv3.StringMatcher{regex(loopbackOrigin)}
	for _, o := range origins {
		p.AllowOriginStringMatch = append(p.AllowOriginStringMatch, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: o}})
	}
	p.ExposeHeaders = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After"
	return p
}

// publicCORS is for what anyone may read.
func publicCORS() *corsv3.CorsPolicy {
	p := newCORS("GET, OPTIONS", strings.Join([]string{"authorization", "content-type", "accept", wire.HeaderProtocolVersion}, ", "))
	p.AllowOriginStringMatch = []*matcherv3.StringMatcher{regex(`.+`)}
	return p
}

func newCORS(methods, headers string) *corsv3.CorsPolicy {
	return &corsv3.CorsPolicy{
		AllowMethods:                 methods,
		AllowHeaders:                 headers,
		MaxAge:                       "7200",
		ForwardNotMatchingPreflights: no(),
	}
}

// regex matches a whole value.
func regex(pattern string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pattern}}}
}
