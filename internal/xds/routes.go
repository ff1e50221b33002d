package xds

import (
	"net/http"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// resourceName is the name of the one listener and of the one route configuration.
const resourceName = "mcp"

// nowhere is a cluster that does not exist.
const nowhere = "mcp_nowhere"

// routes are the one virtual host. Envoy looks for a route before the router has seen the request, when no label can be on it (see
// dropForged), and again when the router has set one.
func (b *builder) routes() *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:             resourceName,
		ValidateClusters: no(),
		VirtualHosts: []*routev3.VirtualHost{{
			Name:     resourceName,
			Domains:  []string{"*"},
			Metadata: b.challenges(),
			Routes:   b.allRoutes(),
			// For filters that wait for the whole of a request, or of an answer that no client must see: a connection holds less.
			RequestBodyBufferLimit: wrapperspb.UInt64(uint64(b.options.BufferLimit)),
			TypedPerFilterConfig: b.onRoutes(map[string]*anypb.Any{
				corsFilter: b.pack(endpointCORS(b.options.AllowedOrigins)),
			}),
		}},
	}
}

func (b *builder) allRoutes() []*routev3.Route {
	routes := []*routev3.Route{b.protectedResource(), b.credentials(), toBroker(), b.toWatchedServer(), b.toServer()}
	if b.options.HeadersFirst && !b.inside() && len(b.prefixes) <= maxPrefixes {
		routes = append(routes, b.headersFirst())
	}
	return append(routes, unlabelled(), elsewhere())
}

// maxPrefixes bounds what Envoy compares a name with to see whether a call's headers are worth being shown first. With more, none are.
const maxPrefixes = 64

// prefixes are those of the servers' tools.
func prefixes(cs []Cluster) []string {
	var out []string
	for _, c := range cs {
		if p := c.Server.ToolPrefix; p != "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// headersFirst is what Envoy finds for a call that its headers may say enough of: the router is shown these alone, and asks for the body if it needs that.
// As with all that is unlabelled, the call ends here if the router lets it pass without a label.
func (b *builder) headersFirst() *routev3.Route {
	r := unlabelled()
	r.Name = "headers-first"
	r.Match.Headers = []*routev3.HeaderMatcher{
		headerMatches(wire.HeaderProtocolVersion, regex(strings.Join(wire.ModernRevisions(), "|"))),
		headerMatches(wire.HeaderMCPMethod, regex("tools/call|prompts/get|resources/read")),
		present("content-length"),
	}
	for _, prefix := range b.prefixes { // in a body with such a name there is something to change
		m := headerMatches(wire.HeaderMCPName, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}})
		m.InvertMatch = true
		r.Match.Headers = append(r.Match.Headers, m)
	}
	r.TypedPerFilterConfig = map[string]*anypb.Any{RouterFilter: b.withMode(headersOnly())}
	return r
}

func headerMatches(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
}

// protectedResource is public and has no body: the router has nothing to decide.
func (b *builder) protectedResource() *routev3.Route {
	return b.public("protected-resource", wire.PathProtectedResource, publicCORS())
}

// credentials are web pages, which see for themselves who opens them. No page of another origin may read them; a policy of the route's own
// without origins would leave that of the endpoint in force.
func (b *builder) credentials() *routev3.Route {
	return b.public("credentials", wire.PathCredentials, &routev3.FilterConfig{Disabled: true})
}

// public is a route to the broker that needs neither the router nor a token. What only the router may set is taken off.
func (b *builder) public(name, path string, cors proto.Message) *routev3.Route {
	own := map[string]*anypb.Any{
		RouterFilter: b.withoutProcessor(),
		corsFilter:   b.pack(cors),
	}
	if b.options.Values != nil {
		own[authenticationFilter] = b.unauthenticated()
	}
	return &routev3.Route{
		Name:  name,
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: path}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: wire.BrokerCluster},
		}},
		RequestHeadersToRemove: []string{wire.HeaderRouterKey, wire.HeaderCluster},
		TypedPerFilterConfig:   own,
	}
}

func toBroker() *routev3.Route {
	return &routev3.Route{
		Name:  "broker",
		Match: withHeaders(has(wire.HeaderCluster, wire.BrokerCluster)),
		Action: &routev3.Route_Route{Route: untimed(&routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: wire.BrokerCluster},
		})},
		RequestHeadersToRemove: []string{wire.HeaderCluster},
	}
}

// toServer goes where the label says, whatever Host the client named. How long a call may take, the router says in a header of the request.
func (b *builder) toServer() *routev3.Route {
	hidden := []string{wire.HeaderSessionID}
	if b.inside() { // else it is our own mark, which whoever judges the answer takes off
		hidden = append(hidden, wire.HeaderAnswered)
	}
	return &routev3.Route{
		Name:  "server",
		Match: withHeaders(present(wire.HeaderCluster)),
		Action: &routev3.Route_Route{Route: untimed(&routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: wire.HeaderCluster},
		})},
		RequestHeadersToRemove:  []string{wire.HeaderCluster, wire.HeaderRouterKey, wire.HeaderIntent, wire.HeaderAuthorized},
		ResponseHeadersToRemove: hidden,
	}
}

// toWatchedServer is where the router looks at the answer itself, so that nobody else has to.
func (b *builder) toWatchedServer() *routev3.Route {
	r := b.toServer()
	r.Name = "watched-server"
	r.Match.DynamicMetadata = []*matcherv3.MetadataMatcher{{
		Filter: wire.MetadataNamespace,
		Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: wire.KeyWatched}}},
		Value:  &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
	}}
	if !b.inside() {
		r.TypedPerFilterConfig = map[string]*anypb.Any{judgeFilter: b.unjudged()}
	}
	return r
}

// unlabelled is what Envoy finds for every request before the router has seen it. It refers to a cluster, though there is none, because the
// CORS filter takes its policy only from a route that does. A request that the router let pass without a label ends here with 404, and one on
// which the router hangs does not wait for ever: Envoy's own limit for that filter does not hold in full duplex.
func unlabelled() *routev3.Route {
	return &routev3.Route{
		Name:  "unlabelled",
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: wire.PathMCP}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:            &routev3.RouteAction_Cluster{Cluster: nowhere},
			ClusterNotFoundResponseCode: routev3.RouteAction_NOT_FOUND,
			IdleTimeout:                 seconds(requestSeconds + 5),
		}},
	}
}

func elsewhere() *routev3.Route {
	return &routev3.Route{
		Name:   "elsewhere",
		Match:  withHeaders(),
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: http.StatusNotFound}},
	}
}

// untimed lifts Envoy's limits for a whole answer and for silence inside of it: a stream may last for hours and say nothing for most of them.
func untimed(a *routev3.RouteAction) *routev3.RouteAction {
	a.Timeout, a.IdleTimeout = seconds(0), seconds(0)
	return a
}

// withHeaders matches any path.
func withHeaders(headers ...*routev3.HeaderMatcher) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: headers}
}

func present(name string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
}

func has(name, value string) *routev3.HeaderMatcher {
	return headerMatches(name, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}})
}
