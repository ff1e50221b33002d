// Package controller keeps what a gateway runs by in step with the objects of a cluster: it watches MCPServers, MCPVirtualServers and what they lead to, has
// package translator make a configuration and statuses of the whole, and writes those, by server-side apply, where they differ from what is there.
//
// It must not know MCP or the broker, nor of Envoy more than that package xds makes the EnvoyFilters by which istiod is told of the gateway. It never talks to an
// MCP server, and it decides nothing about objects: that is the translator's. Whether a server is Ready it tells only of those that are not in the configuration,
// for about all others the broker knows.
//
// Secrets and ConfigMaps are watched by their metadata alone; the content is read of those that an MCPServer of this gateway refers to, once for each change.
package controller

//go:generate ../../hack/kube-rbac.sh mcp-gateway-controller ./internal/controller config/install/controller

// What the controller may do. What is named after a namespace is a Role there; the rest is a ClusterRole, which an installation for single namespaces
// (config/install-namespaced) replaces by Roles in those. Create cannot be limited to names. Whoever may write an EnvoyFilter can change all that a proxy does:
// that is allowed in the namespace of the Gateway alone. Some clusters, OpenShift among them, let only who may delete an object name its owners.
//
// +kubebuilder:rbac:groups=mcp.kagenti.com,resources=mcpservers;mcpvirtualservers,verbs=list;watch
// +kubebuilder:rbac:groups=mcp.kagenti.com,resources=mcpservers/status;mcpvirtualservers/status,verbs=patch
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways;httproutes;referencegrants,verbs=list;watch
// +kubebuilder:rbac:groups=networking.istio.io,resources=serviceentries,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=services;namespaces,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=networking.istio.io,resources=envoyfilters,namespace=gateway-system,roleName=mcp-gateway-controller-gateway,verbs=list;watch;create
// +kubebuilder:rbac:groups=networking.istio.io,resources=envoyfilters,resourceNames=mcp-gateway-mcp-endpoint;mcp-gateway-mcp-servers,namespace=gateway-system,roleName=mcp-gateway-controller-gateway,verbs=patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gateways/status,resourceNames=mcp-gateway,namespace=gateway-system,roleName=mcp-gateway-controller-gateway,verbs=patch
// +kubebuilder:rbac:groups="",resources=configmaps;secrets,namespace=mcp-system,verbs=create
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=mcp-gateway-config;mcp-gateway-certificates,namespace=mcp-system,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,resourceNames=mcp-gateway-credentials,namespace=mcp-system,verbs=patch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=mcp-system,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,resourceNames=mcp-gateway-controller,namespace=mcp-system,verbs=get;update
