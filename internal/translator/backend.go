package translator

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

const (
	istioGroup   = "networking.istio.io"
	kindHostname = "Hostname"
	kindService  = "Service"
)

// backend is where the way to a server ends.
type backend struct {
	// host and port are what the broker connects to.
	host string
	port int32
	// secure says that it speaks TLS; its certificate is for serverName, or for host if that is empty.
	secure     bool
	serverName string
	// cluster is Istio's name for it.
	cluster string
	// external is the name of a server outside of the cluster.
	external string
	notes    []string
}

// finding is a reason that an object is not all that it should be.
type finding struct {
	reason, message string
	// harmless findings do not keep a server out of the configuration.
	harmless bool
}

func found(reason, format string, args ...any) *finding {
	return &finding{reason: reason, message: fmt.Sprintf(format, args...)}
}

// only is the one backend that a rule leads to; those with weight 0 get nothing and do not count.
func only(route *gatewayv1.HTTPRoute, rule *gatewayv1.HTTPRouteRule) (*gatewayv1.HTTPBackendRef, *finding) {
	var one *gatewayv1.HTTPBackendRef
	count := 0
	for i := range rule.BackendRefs {
		if ref := &rule.BackendRefs[i]; ref.Weight == nil || *ref.Weight > 0 {
			one = ref
			count++
		}
	}
	switch {
	case count == 1:
		return one, nil
	case count == 0 && len(rule.BackendRefs) > 0:
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "All backendRefs of the rule of the HTTPRoute %q for this path have weight 0: give the one that is the server a weight of 1.", keyOf(route))
	case count == 0:
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The rule of the HTTPRoute %q for this path has no backendRefs: name the server's Service there.", keyOf(route))
	}
	return nil, found(v1alpha1.ReasonUnsupportedRoute, "The rule of the HTTPRoute %q for this path has %d backendRefs with a weight: one MCPServer is one server, so leave one, or set the others' weights to 0. For several servers make a route and an MCPServer each.", keyOf(route), count)
}

// backend follows a backendRef. The finding's reason tells whether the reference is of a kind that is supported, and if it is, why it leads nowhere.
func (x *index) backend(route *gatewayv1.HTTPRoute, ref *gatewayv1.HTTPBackendRef) (*backend, *finding) {
	group, kind := or(ref.Group, ""), or(ref.Kind, kindService)
	if ref.Port == nil && (kind == kindService || kind == kindHostname) {
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The backendRef %q of the HTTPRoute %q has no port: give it one.", ref.Name, keyOf(route))
	}
	switch {
	case group == "" && kind == kindService:
		return x.service(route, types.NamespacedName{Namespace: or(ref.Namespace, route.Namespace), Name: string(ref.Name)}, *ref.Port)
	case group == istioGroup && kind == kindHostname:
		if ref.Namespace != nil && *ref.Namespace != "" {
			return nil, found(v1alpha1.ReasonUnsupportedRoute, "The backendRef %q of the HTTPRoute %q is a Hostname and has a namespace: take the namespace out.", ref.Name, keyOf(route))
		}
		host := strings.ToLower(string(ref.Name))
		if key, ok := x.serviceOf(host); ok {
			return x.service(route, key, *ref.Port)
		}
		return x.external(route, host, *ref.Port)
	}
	return nil, found(v1alpha1.ReasonUnsupportedRoute, "The backendRef %q of the HTTPRoute %q is of the kind %q in the group %q, which is not supported: use a Service, or a Hostname of the group %s with a ServiceEntry.",
		ref.Name, keyOf(route), kind, group, istioGroup)
}

// serviceOf is the Service whose name in the cluster the host is. Naming it by that name does not spare the ReferenceGrant.
func (x *index) serviceOf(host string) (types.NamespacedName, bool) {
	rest, ok := strings.CutSuffix(host, ".svc."+x.domain)
	name, namespace, two := strings.Cut(rest, ".")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok && two && !strings.Contains(namespace, ".")
}

func (x *index) service(route *gatewayv1.HTTPRoute, key types.NamespacedName, number int32) (*backend, *finding) {
	// Before anything is told about the Service: whoever may not refer to it may not know whether it is there.
	if !x.permitted(reference{gatewayv1.GroupName, kindHTTPRoute, route.Namespace, "", kindService, key}) {
		return nil, found(v1alpha1.ReasonRefNotPermitted, "The HTTPRoute %q refers to the Service %q in another namespace: make a ReferenceGrant in %q from HTTPRoutes of %q to Services.", keyOf(route), key, key.Namespace, route.Namespace)
	}
	service := x.services[key]
	if service == nil {
		return nil, found(v1alpha1.ReasonBackendNotFound, "The Service %q that the HTTPRoute %q leads to does not exist: create it, or correct the route's backendRef.", key, keyOf(route))
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The Service %q is of the type ExternalName, which is not supported because it could stand for anything: make a ServiceEntry, and a backendRef of the kind Hostname to it.", key)
	}
	port := portOf(service, number)
	if port == nil {
		return nil, found(v1alpha1.ReasonBackendNotFound, "The Service %q has no port %d (it has %s): correct the backendRef of the HTTPRoute %q.", key, number, portsOf(service), keyOf(route))
	}
	if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
		return nil, found(v1alpha1.ReasonUnsupportedRoute, "The port %d of the Service %q is a %s port: MCP needs TCP.", number, key, port.Protocol)
	}
	host := key.Name + "." + key.Namespace + ".svc." + x.domain
	b := &backend{host: host, port: number, secure: speaksTLS(port), cluster: clusterName(number, host)}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		// Its name stands for the pods themselves, which know only their own port.
		if port.TargetPort.StrVal != "" {
			return nil, found(v1alpha1.ReasonUnsupportedRoute, "The Service %q is headless and its port %d has the named targetPort %q: give the number, or let the Service have a cluster IP.", key, number, port.TargetPort.StrVal)
		}
		if port.TargetPort.IntVal > 0 {
			b.port = port.TargetPort.IntVal
		}
	}
	return b, nil
}

func portOf(service *corev1.Service, number int32) *corev1.ServicePort {
	var other *corev1.ServicePort
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		switch {
		case port.Port != number:
		case port.Protocol == "" || port.Protocol == corev1.ProtocolTCP:
			return port
		default:
			// One number may be a UDP port and a TCP port.
			other = port
		}
	}
	return other
}

func portsOf(service *corev1.Service) string {
	var ports []string
	for _, p := range service.Spec.Ports {
		text := fmt.Sprint(p.Port)
		if p.Name != "" {
			text += " (" + p.Name + ")"
		}
		ports = append(ports, text)
	}
	if len(ports) == 0 {
		return "none"
	}
	return strings.Join(ports, ", ")
}

// speaksTLS goes by appProtocol or, where there is none, by the name that a mesh would go by.
func speaksTLS(port *corev1.ServicePort) bool {
	protocol := strings.ToLower(port.Name)
	if port.AppProtocol != nil && *port.AppProtocol != "" {
		protocol = strings.TrimPrefix(strings.ToLower(*port.AppProtocol), "kubernetes.io/")
		return protocol == "https" || protocol == "tls" || protocol == "wss"
	}
	protocol, _, _ = strings.Cut(protocol, "-")
	return protocol == "https" || protocol == "tls"
}

// clusterName is how Istio names an Envoy cluster of this direction.
func clusterName(port int32, host string) string { return fmt.Sprintf("outbound|%d||%s", port, host) }
