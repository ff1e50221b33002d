package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MCPVirtualServer is a choice among what the gateway offers, at a path of its own, /mcp/NAME. Clients that use it see only what is chosen, and can
// call nothing else by it. What a client may call at all is a question of policies, not of virtual servers.
//
// The name is the path's last segment, so that a gateway has one virtual server of a name: of two in different namespaces the older one gets the path, and
// the younger one's status reports the conflict.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=mcpvs,categories=mcp
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.status.path`,description="The path of the virtual server at the gateway"
// +kubebuilder:printcolumn:name="Tools",type=integer,JSONPath=`.status.discoveredTools`,description="How many tools it has"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the gateway serves it"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it is or is not ready"
// +kubebuilder:printcolumn:name="Description",type=string,priority=1,JSONPath=`.spec.description`,description="What it is for"
// +kubebuilder:validation:XValidation:rule=`self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63`,message="metadata.name must be a DNS label: lower-case letters, digits and inner hyphens, at most 63"
type MCPVirtualServer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted: what the virtual server has. It has everything that any of the lists chooses, of tools only those with the hints; without any list and
	// hints it has nothing but what MCPServers add to it by their virtualServers.
	// +required
	Spec MCPVirtualServerSpec `json:"spec"`
	// What is: whether the gateway serves it, where, and how much is in it.
	// +optional
	// +kubebuilder:default={conditions: {{type: "Ready", status: "Unknown", reason: "Pending", message: "Waiting for a controller: none has seen this object yet. Is one running that watches this namespace?", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	Status MCPVirtualServerStatus `json:"status,omitzero"`
}

// MCPVirtualServerList is a list of MCPVirtualServers.
//
// +kubebuilder:object:root=true
type MCPVirtualServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MCPVirtualServer `json:"items"`
}

// MCPVirtualServerSpec is what is wanted of an MCPVirtualServer.
type MCPVirtualServerSpec struct {
	// What the virtual server is for, in a sentence or two, for those who choose among several. At most 1024 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// The tools that it has, by the names that clients use, toolPrefix included: a name, or one with a "*" at its beginning or its end, as in
	// "weather_*". A name that no server gives (yet) is no error. At most 512.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	Tools []Glob `json:"tools,omitempty"`

	// The prompts that it has, by the names that clients use, written as tools are. At most 512.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	Prompts []Glob `json:"prompts,omitempty"`

	// The resources and resource templates that it has, by the URIs that clients use, written as tools are: "file:///reports/*". At most 512.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	Resources []Glob `json:"resources,omitempty"`

	// The servers of which it has everything: tools, prompts and resources. At most 256. One that does not exist (yet) is reported in the condition
	// ResolvedRefs.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Servers []ServerReference `json:"servers,omitempty"`

	// What the annotations of its tools must say: of what tools and servers choose, it has only those tools. Without tools and servers, these are all tools
	// of all servers that say so. Prompts and resources have no annotations of the kind and are not concerned. A policy has to say so too, if nobody shall
	// call the others: they are still at the gateway's own path.
	// +optional
	Hints *ToolHints `json:"hints,omitempty"`
}

// ToolHints are what a tool's annotations must say, in the words of policies. A tool that says nothing has the specification's defaults: not read-only,
// destructive, not idempotent, in an open world.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule=`!(has(self.readOnly) && self.readOnly && has(self.destructive) && self.destructive)`,message="no tool is both readOnly and destructive; a tool that is read-only is not destructive"
type ToolHints struct {
	// Whether the tool changes nothing.
	// +optional
	ReadOnly *bool `json:"readOnly,omitempty"`

	// Whether it may destroy something, and not only add. A tool that is read-only is not destructive, whatever it says.
	// +optional
	Destructive *bool `json:"destructive,omitempty"`

	// Whether calling it again with the same arguments changes nothing more.
	// +optional
	Idempotent *bool `json:"idempotent,omitempty"`

	// Whether it reaches things outside, such as the web, that nobody can list.
	// +optional
	OpenWorld *bool `json:"openWorld,omitempty"`
}

// ServerReference names an MCPServer.
type ServerReference struct {
	// The name of the MCPServer.
	// +required
	Name Label `json:"name"`

	// The namespace of the MCPServer; left out, that of the MCPVirtualServer.
	// +optional
	Namespace *Label `json:"namespace,omitempty"`
}

// MCPVirtualServerStatus is what is known of an MCPVirtualServer.
type MCPVirtualServerStatus struct {
	// What holds. Accepted: the object makes sense and its name is free. ResolvedRefs: the servers that it names exist. Programmed: the gateway's
	// configuration has it. Ready: the gateway serves it. The reason and message of one that is False say what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// The path at which the gateway serves it.
	// +optional
	Path string `json:"path,omitempty"`

	// How many tools it has now. Absent as long as the gateway has not served it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredTools *int32 `json:"discoveredTools,omitempty"`

	// How many prompts it has now. Absent as long as the gateway has not served it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredPrompts *int32 `json:"discoveredPrompts,omitempty"`

	// How many resources and resource templates it has now. Absent as long as the gateway has not served it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredResources *int32 `json:"discoveredResources,omitempty"`
}
