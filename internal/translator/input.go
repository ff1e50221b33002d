package translator

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// DefaultClusterDomain is the domain of a cluster whose administrator chose none.
const DefaultClusterDomain = "cluster.local"

// Input is everything that a translation depends on. Objects stand in any order, each once.
type Input struct {
	// Gateway is the Gateway that the broker and router serve.
	Gateway types.NamespacedName
	// Watched are the namespaces whose MCPServers and MCPVirtualServers count; none means all.
	Watched []string
	// ClusterDomain is the end of the names of Services; empty means [DefaultClusterDomain].
	ClusterDomain string
	// Broker is the Service of the broker. Without a name, the hostnames of its endpoint are not looked for.
	Broker types.NamespacedName
	// EndpointHosts are the hostnames that the endpoint may have, since policies know no others; none means any.
	EndpointHosts []string
	// CallerTokens are the namespaces whose MCPServers may get callers' tokens, "*" among them means all: whoever gets one can do with it what its caller may.
	CallerTokens []string
	// Now is the time of a transition that this translation finds.
	Now metav1.Time
	// Written is the configuration that is in force, if there is one. It tells which servers are in it where the new one is too large to be written.
	Written []byte

	MCPServers        []*v1alpha1.MCPServer
	MCPVirtualServers []*v1alpha1.MCPVirtualServer
	HTTPRoutes        []*gatewayv1.HTTPRoute
	// Gateways are all that can be seen, and not only the one that is served: a route that names another one belongs to somebody else.
	Gateways        []*gatewayv1.Gateway
	ReferenceGrants []*gatewayv1beta1.ReferenceGrant
	Services        []*corev1.Service
	ServiceEntries  []*ServiceEntry
	// Secrets and ConfigMaps are those that MCPServers refer to; others are not looked at.
	Secrets    []*corev1.Secret
	ConfigMaps []*corev1.ConfigMap
	// Namespaces are for listeners that choose namespaces by their labels.
	Namespaces []*corev1.Namespace
}
