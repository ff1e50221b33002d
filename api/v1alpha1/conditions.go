package v1alpha1

// The types of the conditions of both kinds. The controller owns the first three, the broker's leader owns Ready.
const (
	ConditionAccepted     = "Accepted"
	ConditionResolvedRefs = "ResolvedRefs"
	ConditionProgrammed   = "Programmed"
	ConditionReady        = "Ready"
)

// ConditionMCPServerAffected is on a Gateway that MCPServers lead clients to, as the Gateway API's pattern for metaresources (GEP-713) wants it.
const ConditionMCPServerAffected = GroupName + "/MCPServerAffected"

// Reasons of a condition that is True are its own name; ReasonPending goes with Unknown, and ReasonDisabled with any that an object out of use has False.
const (
	ReasonAccepted     = "Accepted"
	ReasonResolvedRefs = "ResolvedRefs"
	ReasonProgrammed   = "Programmed"
	ReasonReady        = "Ready"
	ReasonPending      = "Pending"
	ReasonDisabled     = "Disabled"
)

// ReasonAffected goes with ConditionMCPServerAffected where there is nothing else to say.
const ReasonAffected = "Affected"

// Reasons why an object is not Accepted.
const (
	// ReasonNotPermitted: the object wants what whoever runs the gateway has to allow.
	ReasonNotPermitted = "NotPermitted"
	// ReasonInvalid: a value that the API server could not judge is wrong.
	ReasonInvalid = "Invalid"
	// ReasonUnsupportedRoute: the route does what a way to an MCP server cannot, as weighted backends.
	ReasonUnsupportedRoute = "UnsupportedRoute"
	// ReasonNotAttached: the route is attached to no listener of the gateway, or its gateway has not accepted it.
	ReasonNotAttached = "NotAttached"
	// ReasonConflict: an older object has what this one wants: the path of a virtual server.
	ReasonConflict = "Conflict"
)

// Reasons why references are not resolved.
const (
	ReasonTargetNotFound        = "TargetNotFound"
	ReasonBackendNotFound       = "BackendNotFound"
	ReasonRefNotPermitted       = "RefNotPermitted"
	ReasonInvalidCredential     = "InvalidCredential"
	ReasonInvalidCACertificate  = "InvalidCACertificate"
	ReasonServerNotFound        = "ServerNotFound"
	ReasonVirtualServerNotFound = "VirtualServerNotFound"
)

// Reasons why an object is not Programmed.
const (
	// ReasonNotUsable: what the object needs first, Accepted or ResolvedRefs, is False.
	ReasonNotUsable = "NotUsable"
	// ReasonTooLarge: the configuration of all objects does not fit where it is kept.
	ReasonTooLarge = "TooLarge"
)

// Reasons why an object is not Ready.
const (
	// ReasonUnreachable: no connection, or no answer in time.
	ReasonUnreachable = "Unreachable"
	// ReasonUnauthorized: the server refuses the credential, or wants one.
	ReasonUnauthorized = "Unauthorized"
	// ReasonProtocolError: what answers does not speak MCP, or a revision of it that the gateway does not.
	ReasonProtocolError = "ProtocolError"
	// ReasonNameConflict: an older server has the names of some of this one's items, which are left out.
	ReasonNameConflict = "NameConflict"
	// ReasonPinMismatch: tools have other definitions than they are pinned to, and are left out.
	ReasonPinMismatch = "PinMismatch"
)
