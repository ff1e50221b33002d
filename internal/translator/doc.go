// Package translator turns Kubernetes objects into what the gateway runs by: [Translate] makes of MCPServers, MCPVirtualServers and the objects that they lead
// to the configuration file that the file mode reads, the credentials and certificates that lie beside it, and the truth for the objects' statuses.
//
// It is a pure function of its [Input]: what it returns does not depend on the order in which objects come, on the clock or on an earlier call, and it modifies
// nothing that it is given. It must not know a Kubernetes client, the network or the file system; who fetches the objects and writes the results is the
// controller, and whether a server answers is known to the broker alone.
//
// The way of one MCPServer is: its HTTPRoute (server.go), the listeners of the gateway that the route is attached to (attach.go, hostname.go), the rule of the
// route that the server's path takes (rule.go), the filters on that way (filter.go), the one backend at its end (backend.go, external.go), the credential and the
// certificates (secret.go), and the entry that comes of all this (entry.go), which package config itself judges, so that one bad object can never make the whole
// file unreadable.
package translator
