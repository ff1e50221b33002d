package cluster_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

const (
	installNamespace = "mcp-system"
	gatewayNamespace = "gateway-system"
)

// install installs the gateway as the guide says, for the Gateway that it expects, and waits until it is ready. It goes with the test.
func (c *cluster) install(t testing.TB) {
	t.Helper()
	gateway, err := os.ReadFile(filepath.Join("testdata", "shared-gateway.yaml"))
	require.NoError(t, err)
	c.cleanUp(t, gatewayNamespace, func(ctx context.Context) (string, error) {
		return c.try(ctx, string(gateway), "kubectl", "delete", "--ignore-not-found", "-f", "-")
	})
	c.applyText(t, string(gateway))

	overlay := c.overlay(t)
	c.cleanUp(t, installNamespace, func(ctx context.Context) (string, error) {
		return c.try(ctx, "", "kubectl", "delete", "--ignore-not-found", "-k", overlay)
	})
	c.kubectl(t, "apply", "--server-side", "-k", overlay)
	c.rollout(t, installNamespace, "mcp-gateway-controller")
	c.rollout(t, installNamespace, "mcp-gateway")
}

// overlay is a folder with a kustomization of config/install that has the images that are tested.
func (c *cluster) overlay(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	installed, err := filepath.Abs("../../config/install")
	require.NoError(t, err)
	relative, err := filepath.Rel(dir, installed)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join("testdata", "overlay.yaml"))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(data), "${INSTALL}", relative)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}

// testCalls calls tools of both servers through the Gateway, from outside of the cluster.
func (c *cluster) testCalls(t testing.TB) {
	t.Helper()
	c.apply(t, "endpoint.yaml")
	c.wait(t, gatewayNamespace, "gateway/mcp-gateway", "condition=Programmed")
	c.rollout(t, gatewayNamespace, "mcp-gateway-istio")
	client := testbed.NewClient(t, "http://"+c.reach(t, gatewayNamespace, "mcp-gateway-istio", 8080)+"/mcp")
	host := []string{"Host", "mcp.example.com"}
	testbed.AwaitWithin(t, patience, "the endpoint to be live", func() bool {
		a, err := client.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), host...)
		return err == nil && a.Status != http.StatusNotFound && a.Status < http.StatusInternalServerError
	})
	client.Initialize(t, "{}", host...)
	// Twice, since the first call of a session is made by the broker and the second by Envoy.
	for range 2 {
		assert.Contains(t, client.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`, host...).Text(t), "Lisbon")
		assert.NotEmpty(t, client.Call(t, "time_get_time", `{}`, host...).Text(t))
	}
	past := client.Do(t, http.MethodPost, strings.NewReader("{}"), "Host", "weather.mcp.local")
	assert.Equal(t, http.StatusNotFound, past.Status, "nobody gets past the gateway by a server's own hostname (Invariant 3): %s", past)
}

// What the installation guide promises, from nothing to a call from outside.
func TestInstall(t *testing.T) {
	c := shared
	c.install(t)
	ns := c.namespace(t)
	c.apply(t, "example-servers.yaml", "NAMESPACE="+ns)
	c.apply(t, "servers.yaml", "NAMESPACE="+ns)
	for server, tools := range map[string]string{"weather": "3", "time": "2"} {
		c.wait(t, ns, "mcpserver/"+server, "condition=Programmed")
		c.wait(t, ns, "mcpserver/"+server, "condition=Ready")
		row := strings.Fields(c.kubectl(t, "-n", ns, "get", "mcpserver", server, "--no-headers"))
		require.GreaterOrEqual(t, len(row), 5, row)
		assert.Equal(t, []string{server, server + "_", server, tools, "True"}, row[:5], "name, prefix, target, tools, ready")
	}
	c.testCalls(t)
	for _, deployment := range []string{"mcp-gateway-controller", "mcp-gateway"} {
		image := c.kubectl(t, "-n", installNamespace, "get", "deployment", deployment, "-o", "jsonpath={.spec.template.spec.containers[*].image}")
		assert.Equal(t, gatewayImage, image, "what runs is what is tested")
		restarts := c.kubectl(t, "-n", installNamespace, "get", "pods", "-l", "app.kubernetes.io/name="+deployment, "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		assert.Equal(t, "0", restarts, "nothing had to be tried twice")
	}
}

// A crash of the API server changes nothing, and what is asked for after it is done.
func TestAPIServerRestarts(t *testing.T) {
	c := shared
	c.install(t)
	ns := c.namespace(t)
	c.apply(t, "example-servers.yaml", "NAMESPACE="+ns)
	c.apply(t, "servers.yaml", "NAMESPACE="+ns)
	c.wait(t, ns, "mcpserver/weather", "condition=Ready")
	transition := "jsonpath={.status.conditions[?(@.type=='Ready')].lastTransitionTime}"
	before := c.kubectl(t, "-n", ns, "get", "mcpserver", "weather", "-o", transition)

	c.restart(t, "kube-apiserver", func() {
		_, err := c.try(t.Context(), "", "kubectl", "get", "--raw", "/readyz")
		require.Error(t, err)
	})
	c.kubectl(t, "-n", ns, "patch", "mcpserver", "time", "--type=merge", "--patch", `{"spec":{"enabled":false}}`)
	c.wait(t, ns, "mcpserver/time", "jsonpath={.status.conditions[?(@.type=='Ready')].reason}=Disabled")
	assert.Equal(t, before, c.kubectl(t, "-n", ns, "get", "mcpserver", "weather", "-o", transition), "the other server was never unready")
}
