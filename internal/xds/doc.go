// Package xds says to Envoy what the gateway's settings and MCP servers mean: [Translate] turns them into Envoy resources, [Server] feeds
// those to any number of Envoys over the incremental aggregated discovery service and tracks what each of them took, [Bootstrap] renders what
// such an Envoy is started with, and [Static] renders one file for an Envoy that is fed by nobody.
//
// [EnvoyFilters] says the same to an Envoy that istiod feeds, as patches of what istiod makes (istio.go and its kin).
//
// The translation is pure: the same settings and servers give the same bytes, and nothing is read from the machine. What belongs together in
// Envoy is kept together here: which filters run in which order (listener.go), which label leads where (routes.go), what a server gets and
// what it never gets to see (servers.go), how Envoy enforces policy values (values.go and its kin), and what a client reads when Envoy itself must
// answer (replies.go).
//
// The package must not know how the router decides, what a session is, how the broker works, or Kubernetes. It sees a server only as an
// address, its headers, its credential and its TLS settings.
package xds
