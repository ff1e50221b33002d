package translator

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// external finds a server outside of the cluster by the ServiceEntry that makes it known.
func (x *index) external(route *gatewayv1.HTTPRoute, host string, number int32) (*backend, *finding) {
	entries := x.entries[host]
	if len(entries) == 0 {
		return nil, found(v1alpha1.ReasonBackendNotFound, "No ServiceEntry has the host %q that the HTTPRoute %q leads to: create one with this host and port %d.", host, keyOf(route), number)
	}
	visible := slices.DeleteFunc(slices.Clone(entries), func(e *ServiceEntry) bool { return !e.exportedTo(x.gateway.Namespace) })
	if len(visible) == 0 {
		return nil, found(v1alpha1.ReasonRefNotPermitted, "The ServiceEntry for the host %q is not exported to the gateway's namespace: add %q to its exportTo.", host, x.gateway.Namespace)
	}
	// As Istio does for the gateway's Envoy, so that the broker and Envoy mean one server.
	slices.SortStableFunc(visible, func(a, b *ServiceEntry) int {
		return cmp.Compare(distance(a.Namespace, x.gateway.Namespace), distance(b.Namespace, x.gateway.Namespace))
	})
	for _, entry := range visible {
		for i := range entry.Spec.Ports {
			if entry.Spec.Ports[i].Number == number {
				b, f := entry.backend(host, &entry.Spec.Ports[i])
				if f == nil {
					f = x.outside(entry, b.host)
				}
				if f != nil {
					return nil, f
				}
				return b, nil
			}
		}
	}
	return nil, found(v1alpha1.ReasonBackendNotFound, "The ServiceEntry %q for the host %q has no port %d: add it, or correct the backendRef of the HTTPRoute %q.", keyOf(visible[0]), host, number, keyOf(route))
}

// outside refuses addresses that a ServiceEntry must not lead the broker to: the broker comes to where its author may not, and a ReferenceGrant is what opens
// the Services of others.
func (x *index) outside(entry *ServiceEntry, address string) *finding {
	if ip, err := netip.ParseAddr(address); err == nil {
		switch ip = ip.Unmap(); {
		case ip.IsLoopback(), ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified():
			return found(v1alpha1.ReasonUnsupportedRoute, "The ServiceEntry %q leads to %q, an address of the machine itself or of its link: give it one that others can reach.", keyOf(entry), address)
		}
		for key, service := range x.services {
			if key.Namespace != entry.Namespace && (service.Spec.ClusterIP == address || slices.Contains(service.Spec.ClusterIPs, address)) {
				return inCluster(entry, address)
			}
		}
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(address), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return found(v1alpha1.ReasonUnsupportedRoute, "The ServiceEntry %q leads to %q, the machine itself: give it a name that others can reach.", keyOf(entry), address)
	}
	// What the resolver of a pod makes a Service of: name.namespace.svc, with the cluster's domain or without, and anything within one label or two.
	if strings.HasSuffix(name, ".svc") || strings.HasSuffix(name, ".svc."+x.domain) || strings.HasSuffix(name, "."+x.domain) || !strings.Contains(name, ".") {
		return inCluster(entry, address)
	}
	if service, namespace, two := strings.Cut(name, "."); two && x.services[types.NamespacedName{Namespace: namespace, Name: service}] != nil {
		return inCluster(entry, address)
	}
	return nil
}

func inCluster(entry *ServiceEntry, address string) *finding {
	return found(v1alpha1.ReasonUnsupportedRoute, "The ServiceEntry %q leads to %q, which is a Service of the cluster: let the HTTPRoute's backendRef name the Service, for which the namespace of the Service can make a ReferenceGrant.", keyOf(entry), address)
}

func distance(a, b string) int {
	if a == b {
		return 0
	}
	return 1
}

func (e *ServiceEntry) exportedTo(namespace string) bool {
	return len(e.Spec.ExportTo) == 0 || slices.ContainsFunc(e.Spec.ExportTo, func(to string) bool {
		return to == "*" || to == namespace || to == "." && e.Namespace == namespace
	})
}

// backend is what the broker connects to by itself, where Envoy would go by the ServiceEntry.
func (e *ServiceEntry) backend(host string, port *ServiceEntryPort) (*backend, *finding) {
	b := &backend{host: host, port: port.Number, cluster: clusterName(port.Number, host), external: host}
	if port.TargetPort > 0 {
		b.port = port.TargetPort
	}
	switch strings.ToUpper(port.Protocol) {
	case "HTTPS", "TLS":
		b.secure = true
	case "", "HTTP", "HTTP2", "GRPC", "TCP", "HTTP_PROXY":
		// An entry for plain HTTP whose target is 443 is how a mesh is told to do TLS itself; the broker, which no mesh carries, does it too.
		b.secure = port.Number == 443 || b.port == 443
	default:
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The port %d of the ServiceEntry %q has the protocol %q: MCP needs HTTP or HTTPS.", port.Number, keyOf(e), port.Protocol)
	}
	if len(e.Spec.Endpoints) == 0 {
		return b, nil
	}
	// The host then need not be known to DNS: its endpoints are what it stands for.
	endpoint := e.Spec.Endpoints[0]
	if endpoint.Address == "" || strings.HasPrefix(endpoint.Address, "unix:") {
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The first endpoint of the ServiceEntry %q has no address that can be connected to over a network: give it an IP address or a name.", keyOf(e))
	}
	b.host, b.serverName = endpoint.Address, host
	if own := endpoint.Ports[port.Name]; own > 0 {
		b.port = own
	}
	if len(e.Spec.Endpoints) > 1 {
		b.notes = append(b.notes, fmt.Sprintf("The ServiceEntry %q has %d endpoints, of which the broker uses the first.", keyOf(e), len(e.Spec.Endpoints)))
	}
	return b, nil
}
