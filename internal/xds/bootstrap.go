package xds

import (
	"errors"
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxConnections bounds the clients' connections of one Envoy. Each stream over HTTP/1.1 that a client listens on is one.
const maxConnections = 50000

// Bootstrap renders, as YAML, what an Envoy is started with that takes everything else from the gateway's configuration server.
func Bootstrap(o Options) ([]byte, error) {
	o = o.withDefaults()
	at, err := o.endpoints()
	if err == nil && o.XDS == "" {
		err = errors.New("xds address: is missing")
	}
	if err != nil {
		return nil, err
	}
	b := &builder{options: o, at: at}
	boot := b.bootstrap()
	boot.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{b.grpcCluster(wire.XDSCluster, at.xds)}}
	boot.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices:              []*corev3.GrpcService{configurationServer()},
		},
		CdsConfig: overADS(),
		LdsConfig: overADS(),
	}
	boot.ClusterManager = &bootstrapv3.ClusterManager{LoadStatsConfig: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, GrpcServices: []*corev3.GrpcService{configurationServer()},
	}}
	return b.render(boot)
}

func configurationServer() *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: wire.XDSCluster},
	}}
}

// Static renders, as YAML, everything for an Envoy that no configuration server feeds. Credentials stay where the configuration has them from:
// Envoy reads them there when it starts. Before 1.40 it takes the line break at a file's end for a part of the credential, and then refuses
// every call of that server.
func Static(o Options, cs []Cluster) ([]byte, error) {
	r, err := translate(o, cs, true)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	at, err := o.endpoints()
	if err != nil {
		return nil, err
	}
	b := &builder{options: o, at: at, static: true}
	boot := b.bootstrap()
	boot.StaticResources = &bootstrapv3.Bootstrap_StaticResources{Listeners: r.Listeners, Clusters: r.Clusters, Secrets: r.Secrets}
	return b.render(boot)
}

func (b *builder) bootstrap() *bootstrapv3.Bootstrap {
	boot := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: b.options.NodeID, Cluster: DefaultNodeID},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.pack(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: maxConnections,
			})},
		}}},
	}
	if b.at.admin != (address{}) {
		boot.Admin = &bootstrapv3.Admin{Address: b.at.admin.proto()}
	}
	return boot
}

func (b *builder) render(boot *bootstrapv3.Bootstrap) ([]byte, error) {
	if err := validate(boot); err != nil {
		b.errs = append(b.errs, fmt.Errorf("bootstrap: %w", err))
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	return toYAML(boot)
}
