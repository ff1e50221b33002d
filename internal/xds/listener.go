package xds

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// lastFilter ends the chain.
const lastFilter = "envoy.filters.http.router"

// maxHeadersKiB bounds a request's headers. A token may be large, and so may the parameters that the transport puts into headers.
const maxHeadersKiB = 96

// requestSeconds bounds how long a request may take to arrive, and how long the router may then think about it in silence.
const requestSeconds = 60

func (b *builder) listener(manager *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:                          resourceName,
		Address:                       b.at.listen.proto(),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(b.connectionBuffer()),
		FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.pack(manager)},
			}},
		}},
	}
}

// connectionManager is everything but the routes.
func (b *builder) connectionManager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		CodecType:   hcmv3.HttpConnectionManager_AUTO,
		StatPrefix:  resourceName,
		ServerName:  "mcp-gateway",
		HttpFilters: b.filters(),
		AccessLog:   b.accessLog(),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_DROP_HEADER,
		},
		UseRemoteAddress: wrapperspb.Bool(b.options.UseRemoteAddress),
		// A stream may be silent for hours; only the receiving of a request has a limit.
		StreamIdleTimeout:             seconds(0),
		RequestHeadersTimeout:         seconds(10),
		RequestTimeout:                seconds(requestSeconds),
		MaxRequestHeadersKb:           wrapperspb.UInt32(maxHeadersKiB),
		NormalizePath:                 yes(),
		MergeSlashes:                  true,
		PathWithEscapedSlashesAction:  hcmv3.HttpConnectionManager_REJECT_REQUEST,
		GenerateRequestId:             yes(),
		LocalReplyConfig:              b.replies(),
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{b.dropForged()},
	}
}

// filters is the order that the promises of the gateway rest on: a policy sees what the router decided, and nothing passes it by.
func (b *builder) filters() []*hcmv3.HttpFilter {
	filters := []*hcmv3.HttpFilter{
		b.filter(corsFilter, &corsv3.Cors{}),
		b.filter(RouterFilter, b.routerFilter()),
	}
	filters = append(filters, b.chained(b.values)...)
	filters = append(filters, b.options.Policies.filters(b.static)...)
	if !b.inside() { // else the router judges by itself
		filters = append(filters, b.filter(judgeFilter, judge()))
	}
	// Whoever looks at an answer sees it as slow as the client does.
	filters = append(filters, b.chained([]*corev3.TypedExtensionConfig{b.rates})...)
	return append(filters, b.filter(lastFilter, &routerv3.Router{SuppressEnvoyHeaders: true}))
}

// dropForged takes off, before any route is looked for, every header that only the gateway may set. The virtual server is left: the router
// reads the client's choice, and sets it anew.
func (b *builder) dropForged() *corev3.TypedExtensionConfig {
	mutations := []*mutationv3.HeaderMutation{removePrefix(wire.EnvoyPrefix)}
	for _, name := range forgeable() {
		mutations = append(mutations, remove(name))
	}
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: b.pack(&earlyv3.HeaderMutation{Mutations: mutations}),
	}
}

// forgeable are the headers that only the gateway may set, but for those that Envoy reads.
func forgeable() []string {
	return []string{
		wire.HeaderCluster, wire.HeaderRouterKey, wire.HeaderIntent, wire.HeaderMethod, wire.HeaderServer, wire.HeaderTool,
		wire.HeaderPrompt, wire.HeaderResource, wire.HeaderPublicName, wire.HeaderHints, wire.HeaderAuthorized, noTokenHeader,
	}
}
