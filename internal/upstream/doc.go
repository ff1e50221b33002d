// Package upstream speaks to the MCP servers behind the gateway.
//
// An [Endpoint] is the raw Streamable HTTP client of one server. It moves messages as the bytes that they are, over
// net/http and without an SDK, whose typed layers round numbers and drop members that they do not know (Invariant 1). A
// [Manager] runs one supervised worker per configured server, which opens a session of its own, reads every page of every
// list (Invariant 9), hears what changes and publishes a [catalog.State]. One server's trouble stays its own
// (Invariant 12).
//
// The package must not know the broker, the router, Envoy or Kubernetes, nor who wants a listing and why. It speaks the
// session-based revisions; what differs between revisions is in open.go alone.
package upstream
