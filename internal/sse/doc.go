// Package sse splits, reads and rewrites text/event-stream bytes by the rules of the WHATWG HTML standard.
//
// A Splitter cuts a stream that arrives in chunks into raw blocks, one event each, and loses no byte: all blocks and the
// rest, put together, are the stream. Parse reads a block, Rewrite exchanges its id and data and leaves every other line
// as it is (Invariant 1), and a Reader does it all for a client. An event is handed on as soon as its blank line is there
// (Invariant 10).
//
// The package must not know what events hold (JSON-RPC, ids of the gateway's own), no HTTP, and no other package of this
// module.
package sse
