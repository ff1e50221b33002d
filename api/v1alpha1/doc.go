// Package v1alpha1 is the API that the gateway adds to Kubernetes: the resources MCPServer and MCPVirtualServer of the group mcp.kagenti.com, the rules
// by which the API server judges them, and the words of their statuses. What `kubectl explain` tells is the comments here.
//
// It is what other programs import to use that API. It must not know how the gateway does its work: nothing of this module, no client, no controller.
// Fields are only ever added, and a rule is never made stricter: an object that was accepted once stays acceptable.
//
// +kubebuilder:object:generate=true
// +groupName=mcp.kagenti.com
package v1alpha1

//go:generate ../../hack/kube-generate.sh
