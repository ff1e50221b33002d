package cluster_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the installation guide promises, from nothing to a call from outside.
func TestInstall(t *testing.T) {
	c := shared
	address := c.gateway(t)
	ns := c.namespace(t)
	c.apply(t, "example-servers.yaml", "NAMESPACE="+ns)
	c.apply(t, "servers.yaml", "NAMESPACE="+ns, "PREFIX=")
	for server, tools := range map[string]string{"weather": "3", "time": "2"} {
		c.wait(t, ns, "mcpserver/"+server, "condition=Programmed")
		c.wait(t, ns, "mcpserver/"+server, "condition=Ready")
		row := strings.Fields(c.kubectl(t, "-n", ns, "get", "mcpserver", server, "--no-headers"))
		require.GreaterOrEqual(t, len(row), 5, row)
		assert.Equal(t, []string{server, server + "_", server, tools, "True"}, row[:5], "name, prefix, target, tools, ready")
	}
	client := clientAt(t, address)
	client.Initialize(t, "{}")
	assert.Equal(t, allTools(""), client.ToolNames(t))
	// Twice, since the first call of a session is made by the broker and the second by Envoy.
	for range 2 {
		assert.Contains(t, client.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`).Text(t), "Lisbon")
		assert.NotEmpty(t, client.Call(t, "time_get_time", `{}`).Text(t))
	}
	past := client.Do(t, http.MethodPost, strings.NewReader("{}"), "Host", "weather."+ns+".mcp.local")
	assert.Equal(t, http.StatusNotFound, past.Status, "nobody gets past the gateway by a server's own hostname (Invariant 3): %s", past)

	for _, deployment := range []string{controllerDeployment, brokerDeployment} {
		image := c.kubectl(t, "-n", installNamespace, "get", "deployment", deployment, "-o", "jsonpath={.spec.template.spec.containers[*].image}")
		assert.Equal(t, gatewayImage, image, "what runs is what is tested")
		restarts := c.kubectl(t, "-n", installNamespace, "get", "pods", "-l", "app.kubernetes.io/name="+deployment, "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		assert.Equal(t, "0", restarts, "nothing had to be tried twice")
	}
}
