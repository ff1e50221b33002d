package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// typeURLPrefix stands before the name of a message in its type URL.
const typeURLPrefix = "type.googleapis.com/"

// The types of resources that are served.
const (
	secretType   = typeURLPrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
	clusterType  = typeURLPrefix + "envoy.config.cluster.v3.Cluster"
	filterType   = typeURLPrefix + "envoy.config.core.v3.TypedExtensionConfig"
	listenerType = typeURLPrefix + "envoy.config.listener.v3.Listener"
	routeType    = typeURLPrefix + "envoy.config.route.v3.RouteConfiguration"
)

// typeOrder is the order in which changes are sent: what is referred to comes before what refers to it.
func typeOrder() []string {
	return []string{secretType, clusterType, filterType, listenerType, routeType}
}

// resource is one resource as it is sent. Its version is made of its content, so that an Envoy that reconnects, to this process or to
// another, is sent only what differs from what it holds.
type resource struct {
	name    string
	version string
	body    *anypb.Any
	// slow says that an Envoy may take long to acknowledge it: it does so only when the name of a cluster's host is resolved, or given up.
	slow bool
}

func (r *resource) proto() *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: r.name, Version: r.version, Resource: r.body}
}

// snapshot is everything that Envoys are to hold, by type and name. It is never modified.
type snapshot struct {
	version string
	types   map[string]map[string]*resource
}

func newSnapshot(r *Resources) (*snapshot, error) {
	s := &snapshot{types: map[string]map[string]*resource{}}
	err := firstError(
		func() error { return index(s, secretType, r.Secrets) },
		func() error { return index(s, clusterType, r.Clusters) },
		func() error { return index(s, filterType, r.Filters) },
		func() error { return index(s, listenerType, r.Listeners) },
		func() error { return index(s, routeType, r.Routes) },
	)
	if err != nil {
		return nil, err
	}
	s.version = s.digest()
	return s, nil
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func index[M interface {
	proto.Message
	GetName() string
}](s *snapshot, typeURL string, messages []M) error {
	byName := make(map[string]*resource, len(messages))
	for _, m := range messages {
		if byName[m.GetName()] != nil {
			return fmt.Errorf("two resources of type %q have the name %q", typeURL, m.GetName())
		}
		body := &anypb.Any{}
		if err := anypb.MarshalFrom(body, m, proto.MarshalOptions{Deterministic: true}); err != nil {
			return fmt.Errorf("cannot encode %q of type %q: %w", m.GetName(), typeURL, err)
		}
		sum := sha256.Sum256(body.GetValue())
		byName[m.GetName()] = &resource{name: m.GetName(), version: hex.EncodeToString(sum[:8]), body: body, slow: isSlow(m)}
	}
	s.types[typeURL] = byName
	return nil
}

func isSlow(m proto.Message) bool {
	c, ok := m.(*clusterv3.Cluster)
	return ok && (c.GetType() != clusterv3.Cluster_STATIC || c.GetClusterType() != nil)
}

// digest is one version for the whole.
func (s *snapshot) digest() string {
	h := sha256.New()
	for _, t := range typeOrder() {
		for _, name := range slices.Sorted(maps.Keys(s.types[t])) {
			fmt.Fprintf(h, "%s %q %s\n", t, name, s.types[t][name].version)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
