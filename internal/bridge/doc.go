// Package bridge translates the messages of a call between the two eras of the protocol: the session-based revisions (legacy) and those without
// sessions (modern, 2026-07-28 and later). It works on raw JSON: what a translation does not own stays byte for byte (Invariant 1).
//
// What the translation owns, and so adds, exchanges or takes off:
//
//   - of a request: the id and the progress token; in params._meta the protocol version, the client's info and capabilities and the log level; of
//     params inputResponses and requestState;
//   - of a result: resultType, ttlMs, cacheScope, and in _meta the server's info; structuredContent that is no object, which legacy forbids and
//     which a text says then, if there is none;
//   - of an error: the codes −32002 (resource not found) and −32042 (a URL has to be opened), which modern forbids.
//
// The package must not know HTTP, sessions, the broker or Envoy, it opens no connection, and it keeps no state: what it remembers of a call travels in
// an authenticated [State].
package bridge
