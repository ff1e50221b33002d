package v1alpha1

// Duration is a length of time as the Gateway API writes it: whole numbers, each with its unit h, m, s or ms, as in 30s, 1m30s or 250ms.
//
// +kubebuilder:validation:MaxLength=28
// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')`,message="must be whole numbers with a unit h, m, s or ms each, such as 30s, 1m30s or 250ms"
type Duration string

// Glob is a pattern for names: the name itself, or with one "*" that stands for any text, at its beginning or its end.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
// +kubebuilder:validation:XValidation:rule=`self.indexOf('*') == self.lastIndexOf('*') && self.indexOf('*') in [-1, 0, size(self) - 1]`,message="may have one *, at its beginning or its end: name, name*, *name or *"
// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
type Glob string

// ObjectName is the name of an object, as Kubernetes allows it for most kinds.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')`,message="must be an object's name: lower-case letters, digits, and inner hyphens and dots"
type ObjectName string

// Label is the name of a namespace, an MCPServer or an MCPVirtualServer: a DNS label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')`,message="must be a DNS label: lower-case letters, digits and inner hyphens, at most 63"
type Label string

// DataKey is a key in the data of a Secret or a ConfigMap.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[-._a-zA-Z0-9]+$')`,message="must be a key of a Secret or ConfigMap: letters, digits and - _ ."
type DataKey string

// HeaderName is the name of a request header that may be set. Upper and lower case count alike.
//
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9!#$%&\'*+.^_\\x60|~-]+$')`,message="is not the name of a header"
// +kubebuilder:validation:XValidation:rule=`self.lowerAscii() != 'host'`,message="is set by the gateway: the server gets the hostname that its route gives it"
// +kubebuilder:validation:XValidation:rule=`!(self.lowerAscii() in ['connection', 'keep-alive', 'proxy-authenticate', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])`,message="belongs to one connection and cannot be set"
// +kubebuilder:validation:XValidation:rule=`!self.lowerAscii().matches('^(content|mcp|x-mcp|x-envoy)-')`,message="is set by the gateway: no name that starts with content-, mcp-, x-mcp- or x-envoy- can be set"
type HeaderName string
