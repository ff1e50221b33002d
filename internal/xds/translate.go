package xds

import (
	"errors"
	"fmt"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Resources are everything that one Envoy is given. They are shared once made: nobody modifies them.
type Resources struct {
	Clusters  []*clusterv3.Cluster
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	// Secrets hold the servers' credentials, each under the name of its cluster.
	Secrets []*tlsv3.Secret
	// Filters are the configurations of the filters of policy values and policies, apart from the listener so that a change of them drains no connection.
	Filters []*corev3.TypedExtensionConfig
}

// Translate turns the settings and servers into what Envoy is fed over ADS. It is pure, and the order of the clusters does not depend on the
// order of cs.
func Translate(o Options, cs []Cluster) (*Resources, error) {
	return translate(o, cs, false)
}

func translate(o Options, cs []Cluster, static bool) (*Resources, error) {
	o = o.withDefaults()
	at, err := o.endpoints()
	if err != nil {
		return nil, err
	}
	b := &builder{options: o, at: at, static: static, prefixes: prefixes(cs)}
	b.values, b.rates = b.valueConfigs(), b.bandwidth(cs)
	r := &Resources{}
	b.addClusters(r, cs)
	b.addListener(r)
	b.checkAll(r)
	if err := errors.Join(b.errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// builder makes one set of resources. A static set refers to nothing that Envoy would have to fetch.
type builder struct {
	options Options
	at      endpoints
	static  bool
	// prefixes are those that tools' names have here and not at their servers, in order.
	prefixes []string
	// values are the filters that enforce the policy values.
	values []*corev3.TypedExtensionConfig
	// rates is the filter that bounds how fast servers answer.
	rates *corev3.TypedExtensionConfig
	errs  []error
}

// pack wraps a message the way in which the same message always gives the same bytes.
func (b *builder) pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		b.errs = append(b.errs, fmt.Errorf("cannot encode %q: %w", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return a
}

// filter is an HTTP filter of a listener or of a cluster.
func (b *builder) filter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.pack(m)}}
}

// addListener adds the one listener and its routes, apart or inside of it, and the policies' filters likewise.
func (b *builder) addListener(r *Resources) {
	routes := b.routes()
	manager := b.connectionManager()
	if b.static {
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	} else {
		r.Routes = append(r.Routes, routes)
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes.GetName(), ConfigSource: overADS()}}
		r.Filters = slices.Concat(b.values, b.options.Policies.configs(), []*corev3.TypedExtensionConfig{b.rates})
	}
	r.Listeners = append(r.Listeners, b.listener(manager))
}

// checkAll finds what Envoy would refuse by the rules that its messages carry themselves.
func (b *builder) checkAll(r *Resources) {
	for _, m := range r.Clusters {
		b.check("cluster", m.GetName(), m)
	}
	for _, m := range r.Listeners {
		b.check("listener", m.GetName(), m)
	}
	for _, m := range r.Routes {
		b.check("route configuration", m.GetName(), m)
	}
	for _, m := range r.Secrets {
		b.check("secret", m.GetName(), m)
	}
}

func (b *builder) check(what, name string, m proto.Message) {
	if err := validate(m); err != nil {
		b.errs = append(b.errs, fmt.Errorf("%s %q: %w", what, name, err))
	}
}

// overADS refers to a resource that comes over the one stream that everything comes over.
func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

func (a address) proto() *corev3.Address {
	if a.pipe != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.pipe}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.port},
	}}}
}

func seconds(n int64) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

func yes() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }

func no() *wrapperspb.BoolValue { return wrapperspb.Bool(false) }

// reservedCluster tells the gateway's own clusters.
func reservedCluster(name string) bool {
	return name == wire.BrokerCluster || name == wire.RouterCluster || name == wire.XDSCluster || name == jwksCluster || name == limitsCluster
}
