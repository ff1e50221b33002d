package main

import (
	"cmp"
	"fmt"
	"slices"
)

// benchCase is one kind of work that rows are measured with. A new one is one more entry of benchCases.
type benchCase struct {
	name, about string
	work        work // default: workCall
	modern      bool // the client speaks the revision without sessions
	// server is the one of the gateway's that is called, where the row does not say another; default: serverSessionless.
	server string
	// catalog is what the gateway has.
	catalog catalog
	// path is where the upstream is asked without a gateway, by one that speaks as the client does; default: pathSessionless.
	path string
	tool string // the upstream's name of it; default: toolName
	body int    // bytes of a call; default: 1 KiB
	// connections is the number of them if it must be this one, else it is the middle one of those that are asked for, or each in turn.
	connections     int
	eachConnections bool
	// atHalf makes calls when they are due, half as many as the first plain Envoy could answer.
	atHalf bool
	// metric is what ratios are made of; default: calls per second.
	metric metric
	rows   []string // those that are measured; default: all
	quick  bool     // it belongs to the quick suite
}

// usualConnections is the number that targets are meant for.
const usualConnections = 8

// metric is a quantity of a round of which ratios are made.
type metric string

const (
	callsPerSecond metric = "calls per second"
	latency50      metric = "median latency"
	latency99      metric = "99th percentile of the latency"
)

func (m metric) of(r round) float64 {
	switch m {
	case latency50:
		return microseconds(r.P50)
	case latency99:
		return microseconds(r.P99)
	default:
		return r.callsPerSecond()
	}
}

// moreIsBetter tells in which direction a ratio is good.
func (m metric) moreIsBetter() bool { return m == callsPerSecond }

// The names of cases that targets refer to.
const (
	caseCall     = "tools/call, 1 KiB"
	caseHalf     = "tools/call, 1 KiB, at half of plain Envoy's peak"
	caseHeaders  = "tools/call, 1 KiB, 2026-07-28, no prefix"
	caseManyList = "tools/list, 10 000 tools"
	caseFreshOne = "first call of a session, server with sessions"
	caseFreshNo  = "first call of a session, server without"
	caseMany     = "tools/call, 1 KiB, 1 000 servers"
)

func benchCases() []benchCase {
	pair := []string{baseRow, noiseRow, extProcRow, moduleRow}
	headers := append(slices.Clone(pair), extProcHeadersRow)
	sessions := append(slices.Clone(pair), extProcSessionRow, moduleSessionRow)
	const large = 100 << 10
	all := []benchCase{
		{name: caseCall, about: "calls of one tool over open sessions, the request's body 1 KiB, a small JSON result", eachConnections: true, quick: true},
		{
			name: caseHalf, about: "the same calls, each when it is due, half as many as plain Envoy A could answer: what a call takes where nothing is overloaded",
			connections: 64, atHalf: true, metric: latency99, rows: []string{baseRow, noiseRow, nativeRow, moduleRow, moduleSessionRow}, quick: true,
		},
		{name: "tools/call, 100 KiB", about: "the request's body 100 KiB", body: large, rows: append([]string{nativeRow}, pair...)},
		{
			name: fmt.Sprintf("tools/call, 1 KiB, %d events", eventsPerAnswer), about: "the answer is a stream of 99 notifications and the result, sent in 10 pieces",
			work: workEvents, tool: eventsTool, rows: sessions,
		},
		{
			name: "tools/call, 1 KiB, 2026-07-28", about: "client and server without sessions; the tool's prefix is taken off in body and header",
			modern: true, server: serverModern, path: pathModern, rows: headers, quick: true,
		},
		{
			name: caseHeaders, about: "client and server without sessions; the tool has no prefix, so that headers say all",
			modern: true, server: serverBare, path: pathModern, rows: headers, quick: true,
		},
		{
			name: "tools/call, 100 KiB, 2026-07-28", about: "as with 1 KiB",
			modern: true, server: serverModern, path: pathModern, body: large, rows: headers,
		},
		{
			name: "tools/call, 100 KiB, 2026-07-28, no prefix", about: "as with 1 KiB",
			modern: true, server: serverBare, path: pathModern, body: large, rows: headers,
		},
		{
			name: "tools/call, 1 KiB, 2026-07-28 client, 2025-11-25 server", about: "the gateway translates; plain Envoy stands before a server that needs none of that",
			modern: true, server: serverSessionful, path: pathModern, rows: pair,
		},
		{
			name: "tools/call, 1 KiB, 2025-11-25 client, 2026-07-28 server", about: "the same the other way round",
			server: serverModern, path: pathSessionful, rows: pair,
		},
		{
			name: caseFreshOne, about: "each client opens a session, calls once, and ends it; the latency is that of the call, which the gateway has to open a session for",
			work: workFresh, server: serverSessionful, path: pathSessionful, connections: 1, metric: latency50, rows: pair,
		},
		{
			name: caseFreshNo, about: "the same, where the server has no session to open",
			work: workFresh, connections: 1, metric: latency50, rows: pair,
		},
	}
	for _, n := range []int{10, 1000, 10_000} {
		c := benchCase{
			name: fmt.Sprintf("tools/list, %s tools", thousands(n)), about: "the broker's list; plain Envoy stands before an upstream that sends bytes as many, and as they are",
			work: workList, catalog: catalog{servers: 1, tools: n}, path: catalog{servers: 1, tools: n}.path(0), rows: pair,
		}
		if n > pageSize {
			c.about += ", in pages of 1 000"
		}
		all = append(all, c)
	}
	return append(all, benchCase{
		name: caseMany, about: "calls of one tool in a catalog of 1 000 servers and 10 000 tools", catalog: manyServers(),
		path: manyServers().path(500), server: manyServers().server(500), rows: pair,
	})
}

// thousands writes a number as texts do.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d %03d", n/1000, n%1000)
}

// settled are the cases as they are measured: with all that was left to defaults, and once for each number of connections.
func settled(cases []benchCase, connections []int) []benchCase {
	sorted := slices.Sorted(slices.Values(connections))
	var out []benchCase
	for _, c := range cases {
		c.work, c.server, c.path = cmp.Or(c.work, workCall), cmp.Or(c.server, serverSessionless), cmp.Or(c.path, pathSessionless)
		c.tool, c.body, c.metric = cmp.Or(c.tool, toolName), cmp.Or(c.body, 1024), cmp.Or(c.metric, callsPerSecond)
		if c.eachConnections {
			for _, n := range sorted {
				c.connections = n
				out = append(out, c)
			}
			continue
		}
		c.connections = cmp.Or(c.connections, sorted[len(sorted)/2])
		out = append(out, c)
	}
	return out
}

// rowsOf are those of the rows that the case is measured with.
func (c *benchCase) rowsOf(all []row) []row {
	if c.rows == nil {
		return slices.DeleteFunc(slices.Clone(all), func(r row) bool { return r.name == extProcHeadersRow }) // that is for calls without a session
	}
	return slices.DeleteFunc(slices.Clone(all), func(r row) bool { return !slices.Contains(c.rows, r.name) })
}

// upstreamLists is how many tools the upstream lists itself, where lists are what is measured.
func (c *benchCase) upstreamLists() int {
	if c.work != workList {
		return 0
	}
	return c.catalog.tools
}

// job is the case as the load generator is told it.
func (c *benchCase) job(t target) job {
	return job{
		URL: t.url, Work: c.work, Modern: c.modern, Tool: t.tool, Authorization: t.authorization, Body: c.body, Tools: t.listed,
		Connections: c.connections,
	}
}
