package cluster_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// What the other tests stand on: Istio programs a Gateway, and its Envoy carries a session with an MCP server in a pod.
func TestPlatform(t *testing.T) {
	c := shared
	ns := c.namespace(t)
	c.apply(t, "example-servers.yaml", "NAMESPACE="+ns)
	c.apply(t, "gateway.yaml", "NAMESPACE="+ns)
	c.apply(t, "plain-route.yaml", "NAMESPACE="+ns)
	c.rollout(t, ns, "weather")
	c.wait(t, ns, "gateway/mcp", "condition=Programmed")
	c.rollout(t, ns, "mcp-istio")
	endpoint := "http://" + c.reach(t, ns, "mcp-istio", 8080) + "/mcp"

	client := testbed.NewClient(t, endpoint)
	host := []string{"Host", "weather.example.com"}
	testbed.AwaitWithin(t, patience, "the route to be live", func() bool {
		a, err := client.TryDo(t, http.MethodPost, strings.NewReader("{}"), host...)
		return err == nil && a.Header.Get("X-Envoy-Upstream-Service-Time") != "" // it comes from the server, whatever it says
	})
	client.Initialize(t, "{}", host...)
	a := client.Call(t, "get_forecast", `{"city":"Lisbon"}`, host...)
	assert.Contains(t, a.Text(t), "Lisbon")
	assert.Equal(t, "istio-envoy", a.Header.Get("Server"))

	assert.Equal(t, http.StatusNotFound, client.Do(t, http.MethodGet, nil, "Host", "other.example.com").Status)
	assert.Contains(t, c.logs(t, ns, "weather"), "listening")
	assert.Contains(t, c.exec(t, ns, "mcp-istio", "pilot-agent", "request", "GET", "server_info"), `"state": "LIVE"`)
}
