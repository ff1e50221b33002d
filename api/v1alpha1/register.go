package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The API's group and version, and its kinds.
const (
	GroupName = "mcp.kagenti.com"
	Version   = "v1alpha1"

	KindMCPServer        = "MCPServer"
	KindMCPVirtualServer = "MCPVirtualServer"
)

// GroupVersion is the group with its version.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: GroupName, Version: Version}
}

// AddToScheme makes the API's kinds known to a scheme, and by it to clients.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &MCPServer{}, &MCPServerList{}, &MCPVirtualServer{}, &MCPVirtualServerList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
