package istio_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

const initialize = `{"jsonrpc":"2.0","id":"f","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"f","version":"1"}}}`

// forged is everything that only the gateway may say.
func forged(cluster string) []string {
	return []string{
		"X-Mcp-Cluster", cluster, "X-Mcp-Authority", "secret.tools.internal", "X-Mcp-Router-Key", "guess", "X-Mcp-Servername", "plain",
		"X-Mcp-Toolname", "hello", "X-Mcp-Intent", "replay", "X-Mcp-Answered", "1", "Content-Type", "application/json", "Accept", "application/json, text/event-stream",
	}
}

// quiet runs f and fails if any MCP server got a request meanwhile.
func (w *world) quiet(t *testing.T, f func()) {
	t.Helper()
	before := map[string]int{}
	for name, u := range w.servers() {
		before[name] = len(u.AllCalls())
	}
	f()
	for name, u := range w.servers() {
		assert.Len(t, u.AllCalls(), before[name], "server %q got a request", name)
	}
}

// A label of the client's leads nowhere, at any path (Invariant 3).
func (w *world) testForgedLabels(t *testing.T) {
	for _, cluster := range []string{"outbound|80||secret.tools.internal", "outbound|80||shop.internal", "mcp_broker"} {
		w.quiet(t, func() {
			a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, forged(cluster)...)
			require.Equal(t, http.StatusOK, a.Status, "the router judges it, and it is what it would be without: %s", a)
			assert.NotEmpty(t, a.Header.Get("Mcp-Session-Id"))

			a = w.ask(t, http.MethodPost, "http://"+endpointHost+"/shop", initialize, forged(cluster)...)
			assert.Equal(t, "welcome to the shop", a.Body)

			a = w.ask(t, http.MethodPost, "http://"+endpointHost+"/elsewhere", initialize, forged(cluster)...)
			assert.Equal(t, http.StatusNotFound, a.Status)

			a = w.ask(t, http.MethodGet, "http://"+endpointHost+"/.well-known/oauth-protected-resource/mcp", "", forged(cluster)...)
			assert.Contains(t, a.Body, `"resource"`)
		})
	}
}

// A server's own host, or what it is called inside, leads to no server.
func (w *world) testForgedHosts(t *testing.T) {
	for _, host := range []string{"plain.example.com", "secret.example.com", "SECRET.example.com", "secret.example.com:80", "secret.tools.internal", "nowhere.example.com"} {
		w.quiet(t, func() {
			for _, path := range []string{"/mcp", "/", "/anything"} {
				a := w.ask(t, http.MethodPost, "http://"+host+path, initialize, forged("outbound|80||secret.tools.internal")...)
				assert.Equal(t, http.StatusNotFound, a.Status, "%s%s: %s", host, path, a)
			}
		})
	}
	// The endpoint itself is found under every spelling of its host.
	for _, host := range []string{"MCP.example.com", "mcp.example.com:8080"} {
		a := w.ask(t, http.MethodPost, "http://"+host+"/mcp", initialize, forged("")...)
		assert.Equal(t, http.StatusOK, a.Status, "%s: %s", host, a)
		a = w.ask(t, http.MethodPut, "http://"+host+"/mcp", initialize)
		assert.NotZero(t, a.Error(t).Code)
	}
}

// Another application gets and gives what it would without us.
func (w *world) testNeighbours(t *testing.T) {
	for _, host := range []string{shopHost, endpointHost} {
		a := w.ask(t, http.MethodPost, "http://"+host+"/shop/cart", "body", append(forged("outbound|80||secret.tools.internal"), "Authorization", "Bearer shop", "Cookie", "c=1")...)
		assert.Equal(t, http.StatusOK, a.Status)
		assert.Equal(t, "welcome to the shop", a.Body)
		assert.Equal(t, "shop=1", a.Header.Get("Set-Cookie"))
		assert.Equal(t, "the shop's own", a.Header.Get("X-Mcp-Answered"))
		req, body := w.shop.got()
		assert.Equal(t, host, req.Host)
		assert.Equal(t, "body", body)
		headers := append(forged("outbound|80||secret.tools.internal"), "Authorization", "Bearer shop", "Cookie", "c=1")
		for i := 0; i < len(headers); i += 2 {
			assert.Equal(t, headers[i+1], req.Header.Get(headers[i]), headers[i])
		}
		a = w.ask(t, http.MethodGet, "http://"+host+"/shop/missing", "")
		assert.Equal(t, "404 page not found\n", a.Body)
		a = w.ask(t, http.MethodOptions, "http://"+host+"/shop/cart", "", "Origin", "http://localhost:6274", "Access-Control-Request-Method", "POST")
		assert.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
	}
	// Envoy's own replies are Envoy's.
	a := w.ask(t, http.MethodGet, "http://"+shopHost+"/mcp", "")
	assert.Equal(t, http.StatusNotFound, a.Status)
	assert.Empty(t, a.Body)
}

// A filter that Envoy does not take keeps it at the listener that it has, which is ours.
func (w *world) testBroken(t *testing.T) {
	w.apply(t, "broken.yaml")
	testbed.Await(t, "Envoy to refuse the listener", func() bool {
		_, refused := w.filters(t)
		return refused != ""
	})
	chain, _ := w.filters(t)
	assert.Equal(t, "mcp-gateway-cors", chain[0].Name)
	c := w.client(t)
	c.Initialize(t, "{}")
	assert.Contains(t, c.Call(t, "plain_hello", "{}").Text(t), "hello")
	w.kubectl(t, "", "-n", "gateways", "delete", "envoyfilter", "broken")
	testbed.Await(t, "Envoy to take the listener again", func() bool {
		_, refused := w.filters(t)
		return refused == ""
	})
}

// unwire takes the EnvoyFilters away and waits until nothing of them is in force.
func (w *world) unwire(t *testing.T) {
	t.Helper()
	w.kubectl(t, "", "-n", "gateways", "delete", "envoyfilter", "mcp-mcp-endpoint", "mcp-mcp-servers")
	testbed.Await(t, "a Gateway without our EnvoyFilters", func() bool {
		chain, _ := w.filters(t)
		return len(chain) > 0 && chain[0].Name != "mcp-gateway-cors" && len(w.routes(t, serverHost("plain"))) == 1
	})
}

// The controller writes the same of the MCPServers and HTTPRoutes that there are, for pods that bear the Gateway's name.
func (w *world) testController(t *testing.T) {
	w.unwire(t)
	controller := testbed.Start(t, "controller", testbed.Command{Path: testbed.Program(t, testbed.GatewayBin), Args: []string{
		"--controller", "--kubeconfig", w.cluster.Kubeconfig(), "--gateway", "gateways/mcp", "--namespace", "mcp-system", "--envoy-control-plane", "istio",
		"--leader-elect=false", "--metrics-address", "", "--health-address", "",
	}})
	for name := range w.servers() {
		w.kubectl(t, "apiVersion: mcp.kagenti.com/v1alpha1\nkind: MCPServer\nmetadata: {name: "+name+", namespace: tools}\nspec: {targetRef: {name: "+name+"}}\n", "apply", "-f", "-")
	}
	w.awaitWired(t)
	for name := range w.servers() {
		testbed.Await(t, "the host of "+name+" to be closed", func() bool { return routeNames(w.routes(t, serverHost(name)))[0] == "mcp-gateway-closed" })
	}
	c := w.client(t)
	c.Initialize(t, "{}")
	assert.Contains(t, c.Call(t, "plain_hello", "{}").Text(t), "hello")
	// The servers of the tests are on loopback, where a controller lets no ServiceEntry lead the broker; they are closed all the same.
	w.kubectl(t, strings.NewReplacer("127.0.0.1", "192.0.2.9").Replace(read(t, "server.yaml", "NAME", "far", "PORT", "80")), "apply", "-f", "-")
	w.kubectl(t, "apiVersion: mcp.kagenti.com/v1alpha1\nkind: MCPServer\nmetadata: {name: far, namespace: tools}\nspec: {targetRef: {name: far}}\n", "apply", "-f", "-")
	testbed.Await(t, "the configuration to label a server as the cluster that Envoy has", func() bool {
		out, ok := w.cluster.Kubectl(t.Context(), t, "", "-n", "mcp-system", "get", "configmap", "mcp-gateway-config", "-o", "yaml")
		return ok && strings.Contains(out, "cluster: outbound|80||far.tools.internal") && !strings.Contains(out, "plain.tools.internal")
	})

	// A server that leaves leaves its host to whoever else has it.
	w.kubectl(t, "", "-n", "tools", "delete", "mcpserver", "plain")
	testbed.Await(t, "the host of plain to be open again", func() bool { return routeNames(w.routes(t, serverHost("plain")))[0] == "tools.plain.0" })
	controller.Kill()
	w.unwire(t)
	w.wire(t)
	w.awaitWired(t)
}

// Where somebody's broken filter keeps ours from the listener, the routes alone let nothing pass: the gateway fails closed.
func (w *world) testUnprotected(t *testing.T) {
	w.unwire(t)
	w.apply(t, "broken.yaml")
	testbed.Await(t, "Envoy to refuse the listener", func() bool {
		_, refused := w.filters(t)
		return refused != ""
	})
	w.wire(t)
	testbed.Await(t, "our routes alone", func() bool {
		return routeNames(w.routes(t, endpointHost))[0] == "mcp-gateway-protected-resource" && routeNames(w.routes(t, serverHost("secret")))[0] == "mcp-gateway-closed"
	})
	chain, _ := w.filters(t)
	require.NotContains(t, names(chain), "mcp-gateway-router")
	w.quiet(t, func() {
		for _, cluster := range []string{"outbound|80||secret.tools.internal", "mcp_broker"} {
			for _, host := range []string{endpointHost, serverHost("secret")} {
				a := w.ask(t, http.MethodPost, "http://"+host+"/mcp", initialize, forged(cluster)...)
				assert.Equal(t, http.StatusNotFound, a.Status, "%s: %s", host, a)
			}
		}
	})
	w.kubectl(t, "", "-n", "gateways", "delete", "envoyfilter", "broken")
	w.awaitWired(t)
	c := w.client(t)
	c.Initialize(t, "{}")
	assert.Contains(t, c.Call(t, "plain_hello", "{}").Text(t), "hello")
}

// Without the router nothing is served, and the neighbours do not notice.
func (w *world) testNoRouter(t *testing.T) {
	w.gateway.Kill()
	w.quiet(t, func() {
		a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, forged("outbound|80||secret.tools.internal")...)
		assert.Equal(t, http.StatusServiceUnavailable, a.Status, a)
		assert.Contains(t, a.Error(t).Message, "could not handle the request")
	})
	assert.Equal(t, "welcome to the shop", w.ask(t, http.MethodGet, "http://"+shopHost+"/shop", "").Body)
}

// What docs/guides/istio.md tells people to look at from outside.
func (w *world) testChecks(t *testing.T) {
	a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", "{}", "Content-Type", "application/json")
	assert.Equal(t, http.StatusBadRequest, a.Status, a)
	assert.Equal(t, -32600, a.Error(t).Code)
	a = w.ask(t, http.MethodGet, "http://"+serverHost("plain")+"/", "")
	assert.Equal(t, http.StatusNotFound, a.Status)
	assert.Contains(t, a.Body, "this MCP server is reached through the gateway only")
}
