package xds

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// httpOptions is the key under which a cluster says how it speaks HTTP.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// addClusters adds the gateway's own clusters, the servers' in order of their names, and the policies'.
func (b *builder) addClusters(r *Resources, cs []Cluster) {
	r.Clusters = append(r.Clusters, b.brokerCluster())
	if !b.inside() {
		r.Clusters = append(r.Clusters, b.grpcCluster(wire.RouterCluster, b.at.router))
	}
	for _, c := range []*clusterv3.Cluster{b.keysCluster(), b.limitsCluster()} {
		if c != nil {
			r.Clusters = append(r.Clusters, c)
		}
	}
	seen := map[string]bool{wire.BrokerCluster: true, wire.RouterCluster: true, wire.XDSCluster: true, jwksCluster: true, limitsCluster: true}
	for _, c := range slices.SortedFunc(slices.Values(cs), func(x, y Cluster) int { return cmp.Compare(x.Name, y.Name) }) {
		if err := checkName(c.Name, seen); err != nil {
			b.errs = append(b.errs, fmt.Errorf("server %q: %w", c.Server.Name, err))
			continue
		}
		b.addServer(r, c)
	}
	for _, c := range b.options.Policies.clusters() {
		if err := checkName(c.GetName(), seen); err != nil {
			b.errs = append(b.errs, fmt.Errorf("policies: %w", err))
			continue
		}
		r.Clusters = append(r.Clusters, c)
	}
}

// checkPlain refuses a name that is no plain header value: the router writes it into one.
func checkPlain(name string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("cluster name %q: must be printable ASCII without spaces", name)
	}
	return nil
}

// checkName refuses a name that is not plain, or that leads elsewhere already.
func checkName(name string, seen map[string]bool) error {
	if err := checkPlain(name); err != nil {
		return err
	}
	if seen[name] {
		return fmt.Errorf("cluster name %q: is taken by another cluster", name)
	}
	seen[name] = true
	return nil
}

func (b *builder) brokerCluster() *clusterv3.Cluster {
	c := b.cluster(wire.BrokerCluster, b.at.broker)
	c.PerConnectionBufferLimitBytes = wrapperspb.UInt32(b.connectionBuffer()) // it passes on what servers send
	c.TypedExtensionProtocolOptions = b.speaks(&httpv3.HttpProtocolOptions{UpstreamProtocolOptions: http1Only()})
	return c
}

// grpcCluster is one of the gateway's gRPC services.
func (b *builder) grpcCluster(name string, at address) *clusterv3.Cluster {
	c := b.cluster(name, at)
	c.TypedExtensionProtocolOptions = b.speaks(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		}},
	})
	return c
}

// cluster is what every cluster that we make has in common.
func (b *builder) cluster(name string, at address) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                seconds(5),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(b.options.BufferLimit),
		CircuitBreakers:               unlimited(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: at.proto()}},
			}}}},
		},
	}
	if at.pipe == "" {
		// A peer that vanished without a word is noticed by TCP alone, since a stream may be silent for hours.
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(60), KeepaliveInterval: wrapperspb.UInt32(10),
		}}
	}
	if !at.isIP() {
		b.resolve(c)
	}
	return c
}

// resolve makes a cluster look up its host's name. Envoy's own patience with a silent name server is most of a minute, in which it would
// acknowledge no cluster; here it is about 5 s, and it tries again soon.
func (b *builder) resolve(c *clusterv3.Cluster) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns",
		TypedConfig: b.pack(&dnsv3.DnsCluster{
			DnsLookupFamily:       commondnsv3.DnsLookupFamily_V4_PREFERRED,
			DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{BaseInterval: seconds(1), MaxInterval: seconds(5)},
			TypedDnsResolverConfig: &corev3.TypedExtensionConfig{
				Name: "envoy.network.dns_resolver.cares",
				TypedConfig: b.pack(&caresv3.CaresDnsResolverConfig{
					QueryTimeoutSeconds: wrapperspb.UInt64(1),
					QueryTries:          wrapperspb.UInt32(2),
				}),
			},
		}),
	}}
}

// speaks attaches HTTP options to a cluster.
func (b *builder) speaks(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{httpOptions: b.pack(o)}
}

func http1Only() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}}
}

// unlimited lifts Envoy's circuit breakers, which stop at 1024 open calls: one stream that a client listens on is one open call, for hours.
func unlimited() *clusterv3.CircuitBreakers {
	most := wrapperspb.UInt32(math.MaxUint32)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: most, MaxPendingRequests: most, MaxRequests: most, MaxRetries: most,
	}}}
}
