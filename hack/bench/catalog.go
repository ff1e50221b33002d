package main

import (
	"fmt"
	"strings"
)

// The servers that a gateway has, unless a case wants other ones. All of them are the same upstream.
const (
	serverSessionless = "sessionless"
	serverSessionful  = "sessionful"
	serverModern      = "modern"
	serverBare        = "bare" // as modern, but its tools have no prefix
)

const usualServers = `servers:
  - {name: sessionless, url: %[1]s` + pathSessionless + `, toolPrefix: sessionless_}
  - {name: sessionful, url: %[1]s` + pathSessionful + `, toolPrefix: sessionful_}
  - {name: modern, url: %[1]s` + pathModern + `, toolPrefix: modern_}
  - {name: bare, url: %[1]s` + pathModern + `}
`

// catalog is what a gateway has: so many servers with so many tools each, or the usual ones if it is empty.
type catalog struct{ servers, tools int }

// manyServers are 1 000 with 10 000 tools together.
func manyServers() catalog { return catalog{servers: 1000, tools: 10} }

// all is how many tools that makes, 0 for the usual ones.
func (c catalog) all() int { return c.servers * c.tools }

// name is part of the names of files.
func (c catalog) name() string {
	if c.servers == 0 {
		return "usual"
	}
	return fmt.Sprintf("%dx%d", c.servers, c.tools)
}

// server is the name of a server by its number.
func (catalog) server(i int) string { return fmt.Sprintf("s%03d", i) }

// path is where the upstream is a server by its number.
func (c catalog) path(i int) string { return fmt.Sprintf("/both/%d/%s/mcp", c.tools, c.server(i)) }

// prefix stands before the names of a server's tools. A single server has none, so that its list is the upstream's.
func (c catalog) prefix(server string) string {
	if server == serverBare || c.servers == 1 {
		return ""
	}
	return server + "_"
}

// config is a gateway's configuration for the upstream at a base URL.
func (c catalog) config(base string) []byte {
	if c.servers == 0 {
		return fmt.Appendf(nil, usualServers, base)
	}
	var b strings.Builder
	b.WriteString("servers:\n")
	for i := range c.servers {
		name := c.server(i)
		fmt.Fprintf(&b, "  - {name: %s, url: %s%s, toolPrefix: %q}\n", name, base, c.path(i), c.prefix(name))
	}
	return []byte(b.String())
}
