// Package dataplane_test drives the gateway from outside, as clients and servers meet it: the real binary, a real Envoy,
// real MCP servers, and scripted ones for what no real one does on demand. It reads the wire and what operators see, never
// the inside.
package dataplane_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// eachMode runs a test with the Envoy that the gateway brings along and feeds, and with a plain one beside it that has
// nothing but the printed file: what clients and servers see must be the same.
func eachMode(t *testing.T, f func(t *testing.T, mode testbed.Mode)) {
	for _, mode := range []testbed.Mode{testbed.Standalone, testbed.Static} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			f(t, mode)
		})
	}
}

// spec is a server with its name as prefix, changed by f.
func spec(name, url string, f ...func(*config.ServerSpec)) config.ServerSpec {
	s := testbed.ServerSpec(name, url)
	for _, change := range f {
		change(&s)
	}
	return s
}

// specs are scripted servers, in order of their names, with those as prefixes.
func specs(upstreams map[string]*testbed.Upstream) []config.ServerSpec {
	var out []config.ServerSpec
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		out = append(out, spec(name, upstreams[name].URL))
	}
	return out
}
