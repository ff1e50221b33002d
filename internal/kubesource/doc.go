// Package kubesource is the gateway's side of a cluster: [Source] watches the configuration where the controller writes it, over the API, and [Reporter] writes what
// only the gateway can know, whether a server is Ready and what it offers, into the statuses of MCPServers and MCPVirtualServers.
//
// It must not know how a configuration is made of objects, which is the controller's, nor what becomes of one: it hands it over as the file mode does. What
// servers are like it takes from the published snapshot.
package kubesource

//go:generate ../../hack/kube-rbac.sh mcp-gateway-broker ./internal/kubesource config/install/broker

// What the broker and router may do. They see no other Secret than the one that is made for them: list and watch of a single name are allowed by that name.
//
// +kubebuilder:rbac:groups=mcp.kagenti.com,resources=mcpservers;mcpvirtualservers,verbs=list;watch
// +kubebuilder:rbac:groups=mcp.kagenti.com,resources=mcpservers/status;mcpvirtualservers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=mcp-gateway-config;mcp-gateway-certificates;mcp-gateway-policies,namespace=mcp-system,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,resourceNames=mcp-gateway-credentials,namespace=mcp-system,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=mcp-system,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,resourceNames=mcp-gateway-broker,namespace=mcp-system,verbs=get;update
