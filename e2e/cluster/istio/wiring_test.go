package istio_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// One world serves all tests, in this order: the last ones break it.
func TestIstio(t *testing.T) {
	w := newWorld(t)
	t.Run("before the wiring the broker serves nobody", w.testUnwired)
	w.apply(t, "policy.yaml", "NAME", "older")
	w.wire(t)
	w.apply(t, "policy.yaml", "NAME", "younger")
	w.awaitWired(t)
	w.awaitFilter(t, "younger-first")

	t.Run("the order of the filters", w.testOrder)
	t.Run("the endpoint's routes", w.testRoutes)
	t.Run("the guide's checks", w.testChecks)
	t.Run("others' routes", w.testNoOtherRoutes)
	t.Run("direct calls", w.testDirect)
	t.Run("sessions", w.testSessions)
	t.Run("carried calls", w.testCarried)
	t.Run("large requests", w.testLarge)
	t.Run("bad answers", w.testJudge)
	t.Run("policies", w.testPolicies)
	t.Run("browsers", w.testBrowsers)
	t.Run("forged labels", w.testForgedLabels)
	t.Run("forged hosts", w.testForgedHosts)
	t.Run("neighbours", w.testNeighbours)
	t.Run("the controller", w.testController)
	t.Run("a broken filter of somebody else's", w.testBroken)
	t.Run("a listener without the filters", w.testUnprotected)
	t.Run("no router", w.testNoRouter)
}

func (w *world) awaitFilter(t *testing.T, name string) {
	t.Helper()
	testbed.Await(t, "the filter "+name, func() bool {
		chain, _ := w.filters(t)
		return slices.Contains(names(chain), name)
	})
}

// Where the EnvoyFilters are not yet in force, an HTTPRoute leads to the broker past the router and all policies (Invariant 3).
func (w *world) testUnwired(t *testing.T) {
	c := w.client(t)
	testbed.Await(t, "the HTTPRoute to be in force", func() bool { return len(w.routes(t, endpointHost)) > 0 })
	a := c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	assert.Equal(t, http.StatusForbidden, a.Status, a)
	assert.Contains(t, a.Body, "this is the broker's own port")
}

// The router comes before every policy and the judge after, whatever was made when, and all three are off where no route switches them on.
func (w *world) testOrder(t *testing.T) {
	chain, refused := w.filters(t)
	require.Empty(t, refused)
	got := names(chain)
	require.Greater(t, len(got), 8, got)
	assert.Equal(t, []string{"mcp-gateway-cors", "mcp-gateway-router"}, got[:2])
	assert.Equal(t, []string{"mcp-gateway-judge", "envoy.filters.http.router"}, got[len(got)-2:])
	for _, policy := range []string{"older-first", "older-last", "younger-first", "younger-last"} {
		assert.Contains(t, got[2:len(got)-2], policy)
	}
	for _, f := range chain {
		assert.Equal(t, strings.HasPrefix(f.Name, "mcp-gateway-"), f.Disabled, f.Name)
	}
}

func (w *world) testRoutes(t *testing.T) {
	routes := w.routes(t, endpointHost)
	assert.Equal(t, []string{
		"mcp-gateway-protected-resource", "mcp-gateway-credentials", "mcp-gateway-broker", "mcp-gateway-watched-server", "mcp-gateway-server", "mcp-gateway-unlabelled",
		"shop.shop.0", "mcp-system.mcp.0",
	}, routeNames(routes))
	clusters := w.clusters(t)
	for _, r := range routes[:6] {
		for _, filter := range []string{"mcp-gateway-cors", "mcp-gateway-router", "mcp-gateway-judge"} {
			assert.Contains(t, r.Filters, filter, r.Name)
		}
		switch r.Name {
		case "mcp-gateway-server", "mcp-gateway-watched-server":
			assert.Equal(t, "x-mcp-cluster", r.Route.ClusterHeader)
		case "mcp-gateway-unlabelled":
			assert.NotContains(t, clusters, r.Route.Cluster, "what has no label goes nowhere")
		default:
			assert.Contains(t, clusters, r.Route.Cluster, r.Name)
		}
	}
}

// No route of others switches a filter of ours on, and those to MCP servers are closed before they begin.
func (w *world) testNoOtherRoutes(t *testing.T) {
	for name := range w.servers() {
		routes := w.routes(t, serverHost(name))
		require.Equal(t, []string{"mcp-gateway-closed", "tools." + name + ".0"}, routeNames(routes))
		require.NotNil(t, routes[0].Direct)
		assert.Equal(t, http.StatusNotFound, routes[0].Direct.Status)
		assert.Equal(t, "/", routes[0].Match.Prefix)
	}
	all := w.routes(t, shopHost)
	assert.Equal(t, []string{"shop.shop.0"}, routeNames(all))
	for _, r := range append(all, w.routes(t, endpointHost)[6:]...) {
		for filter := range r.Filters {
			assert.NotContains(t, filter, "mcp-gateway", r.Name)
		}
	}
}
