package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// MCPServer puts one MCP server behind the gateway: its tools, prompts and resources then appear at the gateway's /mcp endpoint. Where the server is
// reached is told by an HTTPRoute that is attached to the gateway.
//
// Of two servers that would give one tool name, the one whose MCPServer is older keeps it; the younger one's status reports the conflict.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=mcps,categories=mcp
// +kubebuilder:printcolumn:name="Prefix",type=string,JSONPath=`.spec.toolPrefix`,description="What stands before the names of the server's tools"
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRef.name`,description="The HTTPRoute that leads to the server"
// +kubebuilder:printcolumn:name="Tools",type=integer,JSONPath=`.status.discoveredTools`,description="How many tools the server has"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the gateway has talked to the server and offers it"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why the server is or is not ready"
// +kubebuilder:printcolumn:name="Path",type=string,priority=1,JSONPath=`.spec.path`,description="The path of the MCP endpoint"
// +kubebuilder:printcolumn:name="Endpoint",type=string,priority=1,JSONPath=`.status.endpoint`,description="Where the gateway calls the server"
// +kubebuilder:validation:XValidation:rule=`self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63`,message="metadata.name must be a DNS label: lower-case letters, digits and inner hyphens, at most 63"
type MCPServer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted: which server it is and how it is called.
	// +required
	Spec MCPServerSpec `json:"spec"`
	// What is: whether the server is in the gateway, what it offers, and if something is amiss, what and what to do.
	// +optional
	// +kubebuilder:default={conditions: {{type: "Ready", status: "Unknown", reason: "Pending", message: "Waiting for a controller: none has seen this object yet. Is one running that watches this namespace?", lastTransitionTime: "1970-01-01T00:00:00Z"}}}
	Status MCPServerStatus `json:"status,omitzero"`
}

// MCPServerList is a list of MCPServers.
//
// +kubebuilder:object:root=true
type MCPServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MCPServer `json:"items"`
}

// MCPServerSpec is what is wanted of an MCPServer.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.headers) || !has(self.credentialRef) || !has(self.credentialRef.header) || !self.headers.exists(h, h.name.lowerAscii() == self.credentialRef.header.lowerAscii())`,message="the credential's header is among headers too; give it once",fieldPath=`.headers`
// +kubebuilder:validation:XValidation:rule=`!has(self.credentialRef) || !has(self.oauth)`,message="is there besides credentialRef: give one of the two",fieldPath=`.oauth`
// +kubebuilder:validation:XValidation:rule=`!has(self.perUser) || !has(self.credentialRef) && !has(self.oauth)`,message="is there besides credentialRef or oauth: give one of the three",fieldPath=`.perUser`
// +kubebuilder:validation:XValidation:rule=`!has(self.headers) || !has(self.perUser) || !has(self.perUser.header) || !self.headers.exists(h, h.name.lowerAscii() == self.perUser.header.lowerAscii())`,message="the header of perUser is among headers too; give it once",fieldPath=`.headers`
type MCPServerSpec struct {
	// The route that leads to the server. It must be attached to a listener of the gateway; its backend is the server.
	// +required
	TargetRef TargetReference `json:"targetRef"`

	// What stands before the names of the server's tools and prompts at the gateway: with "weather_", the server's tool "forecast" is called
	// "weather_forecast". Letters, digits and _ - . / are allowed, at most 64. Empty or left out: the names stay as the server gives them. Prefixes may begin
	// alike ("a_" and "a_b_"), and several servers may have the same one. It may be changed at any time; clients see the new names at once, and calls by the
	// old names fail.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches('^[A-Za-z0-9_./-]*$')`,message="must be made of what tool names may have: letters, digits and _ - . /"
	ToolPrefix string `json:"toolPrefix,omitempty"`

	// The path of the server's MCP endpoint, percent-encoded, at most 2048 characters, without the segments "." and "..". It is the path that the route
	// matches; where the route rewrites paths, the server gets the rewritten one.
	// +optional
	// +kubebuilder:default="/mcp"
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`self.startsWith('/')`,message="must start with a slash"
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Za-z0-9/._~!$&\'()*+,;=:@-]|%[0-9A-Fa-f]{2})*$')`,message="has a character that must be percent-encoded, such as a space, ? or #, or a % without two hexadecimal digits"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('/([.]|%2[eE]){1,2}(/|$)')`,message="must not have the segments \".\" and \"..\""
	Path string `json:"path,omitempty"`

	// False takes the server out of the gateway and keeps its object: its tools are no longer listed and calls of them fail.
	// +optional
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`

	// What the gateway shows the server as proof of identity, the same for all callers: when it looks what the server offers and with every call. It, oauth
	// and perUser exclude each other; without any of them, the server gets no credential. A client's own token is not passed on.
	// +optional
	CredentialRef *CredentialReference `json:"credentialRef,omitempty"`

	// The token that the server gets, in place of credentialRef: one that the gateway gets for itself or for each caller, or the client's own.
	// +optional
	OAuth *OAuth `json:"oauth,omitempty"`

	// What each user brings along, in place of credentialRef: a key or a token of their own for this server, which they give once, on a page of the gateway.
	// Calls carry that of their caller; a call of a user who has given none fails with the address of the page.
	// +optional
	PerUser *PerUser `json:"perUser,omitempty"`

	// The certificates by which the server's own is verified; these and no others are then trusted, and the server is called by https. Left out: the
	// route's backend says whether the server speaks https, and the system's root certificates are trusted. A certificate is always verified.
	// +optional
	CACertificateRef *CACertificateReference `json:"caCertificateRef,omitempty"`

	// More about https to the server.
	// +optional
	TLS *TLS `json:"tls,omitempty"`

	// Headers that every request to the server gets. Their values are no secret: for one that is, there is credentialRef. At most 32.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule=`self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))`,message="has a header twice: upper and lower case count alike"
	Headers []Header `json:"headers,omitempty"`

	// How long the server may take.
	// +optional
	// +kubebuilder:default={}
	Timeouts *Timeouts `json:"timeouts,omitempty"`

	// How much of the server may be used at once.
	// +optional
	Limits *Limits `json:"limits,omitempty"`

	// What differs for single tools. At most 256.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Tools []ToolSettings `json:"tools,omitempty"`

	// True puts "mcp+NAMESPACE.NAME:" in front of the server's resource URIs, for a server whose URIs clash with another's. False leaves them as the server
	// gives them, so that links in its results keep working.
	// +optional
	URIPrefix bool `json:"uriPrefix,omitempty"`

	// True has the broker make all calls of the server, and read every answer before a client sees it: one to another request is not passed on. For servers
	// that could be out to deceive clients of the others. False lets Envoy carry what it can, at its own speed.
	// +optional
	Untrusted bool `json:"untrusted,omitempty"`

	// The MCPVirtualServers of this namespace that have everything of this server, besides what they name themselves. At most 64. One that does not exist
	// (yet) is reported in the condition ResolvedRefs.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	VirtualServers []Label `json:"virtualServers,omitempty"`
}

// TargetReference names the route to a server.
type TargetReference struct {
	// The API group of the route.
	// +optional
	// +kubebuilder:default="gateway.networking.k8s.io"
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self == 'gateway.networking.k8s.io'`,message="must be gateway.networking.k8s.io: a server is reached by an HTTPRoute of the Gateway API"
	Group string `json:"group,omitempty"`

	// The kind of the route: HTTPRoute.
	// +optional
	// +kubebuilder:default="HTTPRoute"
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self == 'HTTPRoute'`,message="must be HTTPRoute: no other kind of target is supported"
	Kind string `json:"kind,omitempty"`

	// The name of the route.
	// +required
	Name ObjectName `json:"name"`

	// The namespace of the route; left out, that of the MCPServer. In another namespace there must be a ReferenceGrant that allows references from
	// MCPServers of this namespace to HTTPRoutes of that one.
	// +optional
	Namespace *Label `json:"namespace,omitempty"`
}

// CredentialReference names where a server's credential is.
type CredentialReference struct {
	// The name of a Secret in the MCPServer's namespace. A change of the Secret takes effect without a restart.
	// +required
	Name ObjectName `json:"name"`

	// The key in the Secret's data. Its value is UTF-8 text without control characters, 1 byte to 16 KiB; line breaks at its end are cut off.
	// +optional
	// +kubebuilder:default="token"
	Key DataKey `json:"key,omitempty"`

	// The header that carries the credential.
	// +optional
	// +kubebuilder:default="Authorization"
	Header HeaderName `json:"header,omitempty"`

	// What stands before the value in the header, with its trailing space. Left out: "Bearer " where the header is Authorization, else nothing. Where the
	// Secret's value is a whole header value, such as "Basic dXNlcjpwYXNz", give an empty one. At most 256 characters.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
	// +kubebuilder:validation:XValidation:rule=`!self.startsWith(' ')`,message="must not begin with a space"
	Prefix *string `json:"prefix,omitempty"`
}

// PerUser is about the credential that each user brings along.
type PerUser struct {
	// What users are asked for, as in "Acme API key". At most 100 characters.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters, such as a line break"
	Title string `json:"title"`

	// Tells users where to get it; web addresses become links. At most 1000 characters, on one line.
	// +optional
	// +kubebuilder:validation:MaxLength=1000
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters, such as a line break"
	Description string `json:"description,omitempty"`

	// The header that carries it.
	// +optional
	// +kubebuilder:default="Authorization"
	Header HeaderName `json:"header,omitempty"`

	// What stands before the value in the header, with its trailing space. Left out: "Bearer " where the header is Authorization, else nothing. At most 256
	// characters.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
	// +kubebuilder:validation:XValidation:rule=`!self.startsWith(' ')`,message="must not begin with a space"
	Prefix *string `json:"prefix,omitempty"`

	// What the gateway asks the server with what it offers, when no user is there whose credential it could use: a Secret's value, sent in the same header.
	// Left out: nothing.
	// +optional
	DiscoveryRef *SecretReference `json:"discoveryRef,omitempty"`
}

// CACertificateReference names where certificates are that a server is verified by.
type CACertificateReference struct {
	// What holds the certificates: a ConfigMap or a Secret in the MCPServer's namespace. A change of it takes effect without a restart.
	// +optional
	// +kubebuilder:default="ConfigMap"
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self in ['ConfigMap', 'Secret']`,message="must be ConfigMap or Secret"
	Kind string `json:"kind,omitempty"`

	// The name of the ConfigMap or the Secret.
	// +required
	Name ObjectName `json:"name"`

	// The key in its data. The value is PEM with at least one certificate; whatever else is in it is not used.
	// +optional
	// +kubebuilder:default="ca.crt"
	Key DataKey `json:"key,omitempty"`
}

// TLS is about https to a server.
type TLS struct {
	// The host name or IP address that the server's certificate must be for; a name is also sent as SNI. Left out: the hostname by which the server is
	// called. Giving it means that the server is called by https.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?([.][A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+)$')`,message="must be a host name or an IP address, without a port"
	ServerName string `json:"serverName,omitempty"`
}

// Header is a request header with its value.
//
// +kubebuilder:validation:XValidation:rule=`!(self.name.lowerAscii() in ['authorization', 'proxy-authorization', 'cookie', 'api-key']) && !self.name.lowerAscii().endsWith('-api-key')`,message="carries a credential: use credentialRef, which keeps the value in a Secret",fieldPath=`.name`
type Header struct {
	// The header's name; upper and lower case count alike. Names that carry credentials are refused (Authorization, Cookie, *-Api-Key and the like), and so
	// are those that the gateway sets (Host, Content-*, Mcp-*, X-Mcp-*, X-Envoy-*) and those that belong to one connection.
	// +required
	Name HeaderName `json:"name"`

	// The header's value: at most 8 KiB, no control characters, no space at its beginning or end.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters, such as a line break or a tab"
	// +kubebuilder:validation:XValidation:rule=`!self.startsWith(' ') && !self.endsWith(' ')`,message="must not begin or end with a space"
	Value string `json:"value"`
}

// Timeouts are how long a server may take.
type Timeouts struct {
	// How long one call may take, until its answer is complete, in h, m, s and ms; 0s means no limit. A call that takes longer ends with an error (JSON-RPC
	// code -32603, or HTTP status 504).
	// +optional
	// +kubebuilder:default="5m"
	Call Duration `json:"call,omitempty"`
}

// Limits are how much of a server may be used at once. Each Envoy counts for itself, and so does each broker for the calls that it makes. An Envoy that Istio
// feeds heeds none of them: there a DestinationRule says the same of calls and connections.
type Limits struct {
	// How many calls may be open with the server at once; one more is refused with JSON-RPC code -32603 and HTTP status 503. 0 means no limit. Left out:
	// 10000.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Calls *int32 `json:"calls,omitempty"`

	// How many connections Envoy may have to the server; calls wait for one. 0 means no limit, and so does leaving it out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Connections *int32 `json:"connections,omitempty"`

	// How many bytes of the server's answers are passed on in a second, of all its calls together; the server waits with what is more. It is rounded up
	// to a multiple of 1024. 0 means no limit, and so does leaving it out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BytesPerSecond *int32 `json:"bytesPerSecond,omitempty"`
}

// ToolSettings is what differs for one tool.
type ToolSettings struct {
	// The tool's name as the server gives it, without toolPrefix.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`!self.matches('[\\x00-\\x1f\\x7f]')`,message="must not have control characters"
	Name string `json:"name"`

	// How long one call of this tool may take, in h, m, s and ms; 0s means no limit. Left out: as timeouts.call says.
	// +optional
	Timeout *Duration `json:"timeout,omitempty"`

	// The hash that the definition of this tool must have, as the broker's /status shows it: "sha256:" and 64 lower-case hexadecimal digits. A tool whose
	// definition has another one is left out, calls of it are refused as those of an unknown tool, and the condition Ready says so. Left out: the tool is
	// offered whatever it says of itself.
	// +optional
	// +kubebuilder:validation:MaxLength=71
	// +kubebuilder:validation:XValidation:rule=`self.matches('^sha256:[0-9a-f]{64}$')`,message="must be sha256: and 64 lower-case hexadecimal digits, as /status of the broker shows them"
	Pin string `json:"pin,omitempty"`
}

// MCPServerStatus is what is known of an MCPServer. Nothing of it changes while the server's state stays the same: when it was last talked to is in the
// broker's /status.
type MCPServerStatus struct {
	// What holds. Accepted: the object makes sense and its route is attached to a gateway. ResolvedRefs: all that it refers to exists and may be used.
	// Programmed: the gateway's configuration has the server. Ready: the gateway has talked to the server and offers what it has. The reason and message of
	// one that is False say what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Where the gateway calls the server: the URL that follows from the route.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`

	// How many tools the server has. Absent as long as the gateway has not asked it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredTools *int32 `json:"discoveredTools,omitempty"`

	// How many prompts the server has. Absent as long as the gateway has not asked it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredPrompts *int32 `json:"discoveredPrompts,omitempty"`

	// How many resources and resource templates the server has. Absent as long as the gateway has not asked it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DiscoveredResources *int32 `json:"discoveredResources,omitempty"`

	// The revisions of MCP that the server speaks with the gateway, newest first, such as 2026-07-28.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	ProtocolRevisions []string `json:"protocolRevisions,omitempty"`
}

// IsEnabled tells whether the server is to be in the gateway.
func (s *MCPServer) IsEnabled() bool { return s.Spec.Enabled == nil || *s.Spec.Enabled }

// TargetNamespace is the namespace of the server's route.
func (s *MCPServer) TargetNamespace() string {
	if ns := s.Spec.TargetRef.Namespace; ns != nil && *ns != "" {
		return string(*ns)
	}
	return s.Namespace
}
