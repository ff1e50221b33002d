// Package jsonrpc reads one JSON-RPC 2.0 message of foreign bytes and edits it in place.
//
// Parse walks the document once, checks all of JSON's grammar and the envelope's rules, and remembers where the parts
// are. Nothing is decoded into a map and nothing is written anew: a change is a Splice of raw spans, so that every byte
// that need not change stays (Invariant 1).
//
// What two readers could read differently is refused rather than guessed at: duplicate keys, and keys that only a reader
// that ignores case would take for a known one. See Parse for the rules.
//
// The package must not know any MCP server, session or catalog, no HTTP beyond the status that belongs to an error, and
// no other package of this module. Its only MCP knowledge is names: of methods, so that they need no allocation, and of
// members of params, so that it can tell a look-alike.
package jsonrpc
