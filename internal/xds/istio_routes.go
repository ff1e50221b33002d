package xds

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	// istioRoutePrefix begins the names of our routes among those of HTTPRoutes.
	istioRoutePrefix = "mcp-gateway-"
	// istioCORSFilter is ours: Istio's own has the usual name, and its settings are for all to make.
	istioCORSFilter = "mcp-gateway-cors"
)

// endpointRoutes are those that other Envoys are fed, made fit for a virtual host that is shared with others. All that the virtual host has said there
// each route says here.
func (w *istioWiring) endpointRoutes() []*routev3.Route {
	host := w.routes().GetVirtualHosts()[0]
	var out []*routev3.Route
	for _, r := range host.GetRoutes() {
		if r.GetRoute() == nil {
			continue // what is nobody's is left to the HTTPRoutes
		}
		filters := maps.Clone(host.GetTypedPerFilterConfig())
		maps.Copy(filters, r.GetTypedPerFilterConfig())
		filters[istioCORSFilter] = filters[corsFilter]
		delete(filters, corsFilter)
		if filters[judgeFilter] == nil {
			filters[judgeFilter] = w.judged()
		}
		r.TypedPerFilterConfig = filters
		w.adapt(r)
		r.Name = istioRoutePrefix + r.GetName()
		w.check("route", r.GetName(), r)
		out = append(out, r)
	}
	return out
}

// adapt changes a route for clusters that are Istio's, and for headers that no filter of ours has looked at before the route was chosen.
func (w *istioWiring) adapt(r *routev3.Route) {
	action := r.GetRoute()
	labelled := slices.ContainsFunc(r.GetMatch().GetHeaders(), func(h *routev3.HeaderMatcher) bool { return h.GetName() == wire.HeaderCluster })
	if labelled {
		r.Match.DynamicMetadata = append(r.GetMatch().GetDynamicMetadata(), routed())
	}
	switch {
	case action.GetClusterHeader() != "":
		w.finish(r)
	case action.GetCluster() == wire.BrokerCluster:
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: w.Broker.cluster()}
		if !labelled {
			r.RequestHeadersToRemove = append(r.GetRequestHeadersToRemove(), forgeable()...)
		}
	}
	r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, wire.HeaderToken) // Istio's filter takes it off only where it is in force
	slices.Sort(r.RequestHeadersToRemove)
	r.RequestHeadersToRemove = slices.Compact(r.RequestHeadersToRemove)
}

// routed matches what the router has decided on. A label alone could be a client's own.
func routed() *matcherv3.MetadataMatcher {
	return &matcherv3.MetadataMatcher{Filter: wire.MetadataNamespace, Path: segments(wire.KeyServer), Value: anything()}
}

// finish does on a route to servers what other Envoys do in a server's cluster, which is Istio's here: take off what is the client's and the
// gateway's own, and mark the answer. A token never goes this way: what needs a credential is carried by the broker. The client's authority stays
// until here, where the server's takes its place; Envoy removes headers first, so that this one goes along with the request.
func (w *istioWiring) finish(r *routev3.Route) {
	r.GetRoute().HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: wire.HeaderAuthority}
	r.RequestHeadersToRemove = slices.Concat(r.GetRequestHeadersToRemove(), notForServers(), []string{"authorization", "x-forwarded-client-cert", wire.HeaderDirect})
	r.ResponseHeadersToRemove = append(r.GetResponseHeadersToRemove(), "set-cookie")
	r.ResponseHeadersToAdd = []*corev3.HeaderValueOption{{
		// Envoy adds the header to replies of its own too, unless its value is empty: no server took any time for those.
		Header:       &corev3.HeaderValue{Key: wire.HeaderAnswered, Value: "%RESPONSE_DURATION%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}
}
