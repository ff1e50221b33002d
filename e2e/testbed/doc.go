// Package testbed starts what the end-to-end tests need: the gateway as its users run it, a real Envoy, MCP servers that
// we did not write, and scripted ones for what no real server does on demand. It looks at the gateway from outside: it
// must not know how any part of it works, only its command line, its configuration file and what it says on the wire.
package testbed
