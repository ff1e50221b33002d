// Package app puts the gateway's parts together and runs them as one process: the command line, the listeners, the order
// of starting and stopping, and the loop that turns configuration, servers and Envoys into the published catalog. It holds
// no protocol of its own: what a request means, what Envoy is told and how a server is spoken to is for the parts to know.
package app
