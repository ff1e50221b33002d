// Package credential gets the tokens that MCP servers are called with from authorization servers: one for all callers by the grant of client
// credentials (RFC 6749, section 4.4), or one for each caller by the exchange of the caller's own (RFC 8693). It keeps them fresh, in memory,
// and shows them to nobody but who sends them. Those of callers it also leaves, sealed, for other replicas, where it is told how.
//
// Both grants are one form in one POST, so it makes them with net/http: golang.org/x/oauth2 knows no exchange, and does not say when a token is
// due for renewal or why one was refused. The package must not know MCP, sessions, Envoy, who calls the servers or what store replicas
// share.
package credential
