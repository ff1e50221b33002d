// Package wire holds the names that the parts of the gateway and Envoy agree on: headers, metadata keys, protocol
// revisions and paths. It is a leaf: it must not know any other package of this module, nor hold behaviour.
package wire

// MetadataNamespace is the namespace of the dynamic metadata in which policies find what the router decided.
const MetadataNamespace = "envoy.filters.http.mcp_gateway"

// Keys of the dynamic metadata. All values are flat strings.
const (
	KeyMethod        = "method"
	KeyServer        = "server"
	KeyTool          = "tool"
	KeyPrompt        = "prompt"
	KeyResource      = "resource"
	KeyPublicName    = "public_name"
	KeyHints         = "hints"
	KeyVirtualServer = "virtual_server"
	// KeyRevision is the protocol revision of a request of those without sessions; the others have none.
	KeyRevision = "revision"
	// KeyVirtualServerPath is the last segment of the virtual server's path, by which Envoy names its metadata to those whom it refuses.
	KeyVirtualServerPath = "virtual_server_path"
	KeyID                = "id"
	// KeyWatched marks a request whose answer the router looks at itself.
	KeyWatched = "watched"
	// KeyTrace is the traceparent of the gateway's own span, KeyTraceParent the one that the client sent; only of traces that are kept.
	KeyTrace       = "trace"
	KeyTraceParent = "trace_parent"
	// KeyReply marks an answer that the router made itself, so that Envoy sends its body as it is.
	KeyReply = "reply"
	// ReplyStream and ReplyMessage are its values: whether the body is an event stream or one message.
	ReplyStream  = "stream"
	ReplyMessage = "message"
)

// Headers that the router sets on every routed request, beside the metadata.
const (
	HeaderMethod        = "x-mcp-method"
	HeaderServer        = "x-mcp-servername"
	HeaderTool          = "x-mcp-toolname"
	HeaderPrompt        = "x-mcp-promptname"
	HeaderResource      = "x-mcp-resourceuri"
	HeaderPublicName    = "x-mcp-publicname"
	HeaderHints         = "x-mcp-annotation-hints"
	HeaderVirtualServer = "x-mcp-virtualserver"
)

// Headers between the router, Envoy's routes and the broker. They never reach an MCP server.
const (
	// HeaderCluster is the label by which Envoy routes: the cluster of the server or of the broker.
	HeaderCluster = "x-mcp-cluster"
	// HeaderAuthority is the server's :authority where the router leaves the client's own in place.
	HeaderAuthority = "x-mcp-authority"
	// HeaderDirect is "true" of a request that Envoy takes to its server itself, with that server's path, where the client's authority stays in place: by
	// it a policy that knows endpoints by host and path finds the request. It never reaches a server.
	HeaderDirect = "x-mcp-direct"
	// HeaderToken is the access token alone, where the router leaves it for a policy that is not to look into the requests of others. It never reaches a server.
	HeaderToken = "x-mcp-token" //nolint:gosec // a name
	// HeaderHandedOver is "true" of a request that another replica's broker got and hands over to the one that it is for. It never reaches a server.
	HeaderHandedOver = "x-mcp-handed-over"
	// HeaderRouterKey proves to the broker that a request was labelled by a router of this gateway.
	HeaderRouterKey = "x-mcp-router-key"
	// HeaderAuthorized is a signed list of what a caller may have, from a policy engine that decides by itself. It is for the broker.
	HeaderAuthorized = "x-mcp-authorized"
	// HeaderRefusedBy is on the broker's own refusal of a caller's token. Where policies are in force nobody sees it: they refuse the call before, and others
	// that the broker has no part in.
	HeaderRefusedBy = "x-mcp-refused-by"
	// HeaderIntent tells the broker what the router wants of it where the body does not say so.
	HeaderIntent = "x-mcp-intent"
	// HeaderAnswered marks a server's answer on its way from the server's cluster to whoever judges it. A reply of Envoy's own, such as
	// a policy's refusal, never has it.
	HeaderAnswered = "x-mcp-answered"
	// InternalPrefix begins every header that only the gateway may set.
	InternalPrefix = "x-mcp-"
	// EnvoyPrefix begins the headers by which Envoy's router filter takes orders.
	EnvoyPrefix = "x-envoy-"
	// HeaderEnvoyRetry says on what Envoy's router filter may send a call again, once.
	HeaderEnvoyRetry = "x-envoy-retry-on"
	// HeaderEnvoyTimeout is the whole call's timeout in milliseconds, read by Envoy's router filter.
	HeaderEnvoyTimeout = "x-envoy-upstream-rq-timeout-ms"
)

// Headers of the MCP transport.
const (
	HeaderSessionID       = "mcp-session-id"
	HeaderProtocolVersion = "mcp-protocol-version"
	HeaderMCPMethod       = "mcp-method"
	HeaderMCPName         = "mcp-name"
	HeaderMCPParamPrefix  = "mcp-param-"
	HeaderLastEventID     = "last-event-id"
	HeaderTraceparent     = "traceparent"
	HeaderTracestate      = "tracestate"
)

// BrokerServer is the value of HeaderServer for what the broker itself answers.
const BrokerServer = "mcpBroker"

// ExtensionTasks is the extension by which servers answer calls with tasks.
const ExtensionTasks = "io.modelcontextprotocol/tasks"

// The tools that the gateway has itself, where it does not show all of the servers'.
const (
	ToolSearch = "search_tools"
	ToolCall   = "call_tool"
)

// BrokerCluster is Envoy's cluster of the broker. No server can have this name: it is not a DNS label.
const BrokerCluster = "mcp_broker"

// ModuleFilter is the filter's name in the router module.
const ModuleFilter = "router"

// ModuleConfig is what Envoy's configuration says to that filter, as JSON.
type ModuleConfig struct {
	// Socket is the path of the hub's Unix socket.
	Socket string `json:"socket"`
	// Version is the one that the module must be of; empty means any.
	Version string `json:"version,omitempty"`
}

// RouterCluster is Envoy's cluster of the ext_proc router, XDSCluster that of the configuration server.
const (
	RouterCluster = "mcp_router"
	XDSCluster    = "mcp_xds"
)

// PathReplica is where a broker proves to others that it is a replica of the same gateway. No client comes there.
const PathReplica = "/.mcp-gateway/replica"

// Paths of the gateway's public endpoint.
const (
	PathMCP               = "/mcp"
	PathProtectedResource = "/.well-known/oauth-protected-resource"
	// PathCredentials is where the pages are on which users give credentials of their own.
	PathCredentials = "/credentials"
)

// Revisions of the Model Context Protocol.
const (
	Revision20250326 = "2025-03-26"
	Revision20250618 = "2025-06-18"
	Revision20251125 = "2025-11-25"
	Revision20260728 = "2026-07-28"
	LatestSession    = Revision20251125
)

// Members of _meta by which each request of a modern revision tells what a session knows of its client, and by which a message of a subscription names that.
const (
	MetaProtocolVersion    = "io.modelcontextprotocol/protocolVersion"
	MetaClientInfo         = "io.modelcontextprotocol/clientInfo"
	MetaClientCapabilities = "io.modelcontextprotocol/clientCapabilities"
	MetaLogLevel           = "io.modelcontextprotocol/logLevel"
	MetaSubscriptionID     = "io.modelcontextprotocol/subscriptionId"
	MetaServerInfo         = "io.modelcontextprotocol/serverInfo"
)

// SessionRevisions are the session-based revisions that clients may speak, newest first.
func SessionRevisions() []string {
	return []string{Revision20251125, Revision20250618, Revision20250326}
}

// IsSessionRevision tells whether v is one of SessionRevisions.
func IsSessionRevision(v string) bool {
	switch v {
	case Revision20251125, Revision20250618, Revision20250326:
		return true
	}
	return false
}

// ModernRevisions are the revisions without sessions (in the specification's word, modern ones) that clients may speak, newest first.
func ModernRevisions() []string { return []string{Revision20260728} }

// Revisions are all that clients may speak, newest first.
func Revisions() []string { return append(ModernRevisions(), SessionRevisions()...) }

// IsModernRevision tells whether v is one of ModernRevisions.
func IsModernRevision(v string) bool { return v == Revision20260728 }

// NoVirtualServer is said of a name that no virtual server has.
const NoVirtualServer = "there is no such virtual server: what follows /mcp/ in the address, or stands in " + HeaderVirtualServer +
	", must be the name of one that is configured"
