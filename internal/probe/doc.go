// Package probe calls a gateway as an MCP client does, and tells whether it answers as it should. `helm test` runs it in the cluster.
//
// It sees nothing but the wire: it must not know how the gateway is made, nor which of its parts answers. What is not right is tried again until the time is
// up, since servers, policies and keys take their time to be in force.
package probe
