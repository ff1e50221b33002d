package xds

import (
	"net/http"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// RouterFilter is the router. Policies come after it.
const RouterFilter = "mcp-gateway-router"

// requestMode takes the whole request, in full duplex, so that headers and body are one round trip.
//
// The answer comes chunk by chunk, and Envoy keeps each until it has been answered: the processor may end its stream at any time, and
// nothing is lost. In full duplex a chunk on its way to a stream that has just ended would be. The answer is shown on routes only: a request
// that breaks off before it has one is answered by Envoy at once or never, and must not wait for a processor.
func requestMode(onRoute bool) *procv3.ProcessingMode {
	m := &procv3.ProcessingMode{
		RequestHeaderMode:   procv3.ProcessingMode_SEND,
		RequestBodyMode:     procv3.ProcessingMode_FULL_DUPLEX_STREAMED,
		RequestTrailerMode:  procv3.ProcessingMode_SEND,
		ResponseHeaderMode:  procv3.ProcessingMode_SKIP,
		ResponseBodyMode:    procv3.ProcessingMode_NONE,
		ResponseTrailerMode: procv3.ProcessingMode_SKIP,
	}
	if onRoute {
		m.ResponseHeaderMode, m.ResponseBodyMode = procv3.ProcessingMode_SEND, procv3.ProcessingMode_STREAMED
	}
	return m
}

// headersOnly takes a request's headers and nothing else, unless the router says that it wants more. No answer of a revision without sessions is looked at.
func headersOnly() *procv3.ProcessingMode {
	return &procv3.ProcessingMode{
		RequestHeaderMode: procv3.ProcessingMode_SEND, RequestBodyMode: procv3.ProcessingMode_NONE, RequestTrailerMode: procv3.ProcessingMode_SKIP,
		ResponseHeaderMode: procv3.ProcessingMode_SKIP, ResponseBodyMode: procv3.ProcessingMode_NONE, ResponseTrailerMode: procv3.ProcessingMode_SKIP,
	}
}

// processor is the router's filter, which finds the router at a cluster. A request that the router has not judged goes nowhere.
func (b *builder) processor(cluster string) *procv3.ExternalProcessor {
	mode := requestMode(false)
	if b.options.HeadersFirst {
		mode = headersOnly() // an Envoy whose filter is in full duplex lets no answer change that; all routes say what they want
	}
	namespaces := &procv3.MetadataOptions_MetadataNamespaces{Untyped: []string{wire.MetadataNamespace}}
	return &procv3.ExternalProcessor{
		ProcessingMode: mode,
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
		}},
		// The router sets the content-length of a body that it changes.
		AllowContentLengthHeader: true,
		StatusOnError:            &typev3.HttpStatus{Code: http.StatusServiceUnavailable},
		MessageTimeout:           seconds(30),
		AllowModeOverride:        b.options.HeadersFirst,
		MutationRules:            routerMayChange(),
		MetadataOptions:          &procv3.MetadataOptions{ReceivingNamespaces: namespaces},
	}
}

// routerMayChange allows what a header mutation may not touch by default: where a request goes, and for how long.
func routerMayChange() *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{AllowAllRouting: yes(), AllowEnvoy: yes()}
}

// withoutProcessor switches a filter off for a route.
func (b *builder) withoutProcessor() *anypb.Any {
	if b.inside() {
		return b.pack(&routev3.FilterConfig{Disabled: true})
	}
	return b.pack(&procv3.ExtProcPerRoute{Override: &procv3.ExtProcPerRoute_Disabled{Disabled: true}})
}

// withMode changes what a filter takes on a route.
func (b *builder) withMode(mode *procv3.ProcessingMode) *anypb.Any {
	return b.pack(&procv3.ExtProcPerRoute{Override: &procv3.ExtProcPerRoute_Overrides{Overrides: &procv3.ExtProcOverrides{ProcessingMode: mode}}})
}
