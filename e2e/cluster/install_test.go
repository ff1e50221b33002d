package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

// What the installation guide promises, up to a server that the gateway has talked to.
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
