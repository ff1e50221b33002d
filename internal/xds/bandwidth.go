package xds

import (
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// bandwidthFilter holds back the answers of servers that may send so much in a second and no more. It stands in every chain, so that a limit which comes or
// goes leaves the listener as it is.
const bandwidthFilter = "mcp-gateway-bandwidth"

// bandwidth makes a limiter for each server that has one, which all its calls share. Envoy has no such filter for clusters, and a route for each server would
// be one more to compare every call with; so the label is looked up in a map, when the router has set it, and calls of other servers get no limiter.
func (b *builder) bandwidth(cs []Cluster) *corev3.TypedExtensionConfig {
	limiters := map[string]*matcherv3.Matcher_OnMatch{}
	for _, c := range cs {
		if c.Server.MaxBytesPerSecond > 0 {
			limiters[c.Name] = b.limiterOf(c)
		}
	}
	if len(limiters) == 0 { // such a map may not be empty
		return &corev3.TypedExtensionConfig{Name: bandwidthFilter, TypedConfig: b.pack(&compositev3.Composite{})}
	}
	m := &matchingv3.ExtensionWithMatcher{
		ExtensionConfig: b.extension("envoy.filters.http.composite", &compositev3.Composite{}),
		XdsMatcher: &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherTree_{MatcherTree: &matcherv3.Matcher_MatcherTree{
			Input: toMatcher(b.extension("label", &typematcherv3.HttpRequestHeaderMatchInput{HeaderName: wire.HeaderCluster})),
			TreeType: &matcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &matcherv3.Matcher_MatcherTree_MatchMap{Map: limiters},
			},
		}}},
	}
	b.check("filter", bandwidthFilter, m)
	return &corev3.TypedExtensionConfig{Name: bandwidthFilter, TypedConfig: b.pack(m)}
}

// limiterOf counts in KiB, as Envoy does: what is no multiple of it is rounded up.
func (b *builder) limiterOf(c Cluster) *matcherv3.Matcher_OnMatch {
	const kib = 1 << 10
	limiter := &bandwidthv3.BandwidthLimit{
		StatPrefix: "mcp_server." + strings.ReplaceAll(c.Server.Name, "/", "."),
		EnableMode: bandwidthv3.BandwidthLimit_RESPONSE,
		LimitKbps:  wrapperspb.UInt64((uint64(c.Server.MaxBytesPerSecond) + kib - 1) / kib),
	}
	return &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: toMatcher(b.extension("limit", &compositev3.ExecuteFilterAction{TypedConfig: b.extension("envoy.filters.http.bandwidth_limit", limiter)})),
	}}
}

func (b *builder) extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: b.pack(m)}
}

// toMatcher is the same message under the name that matchers have for it.
func toMatcher(c *corev3.TypedExtensionConfig) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: c.GetName(), TypedConfig: c.GetTypedConfig()}
}

func bandwidthTypes() []string {
	return []string{typeURL(&compositev3.Composite{}), typeURL(&matchingv3.ExtensionWithMatcher{})}
}
