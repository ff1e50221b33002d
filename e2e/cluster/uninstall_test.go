package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Who uninstalls the gateway, with servers still registered, is rid of it: nothing is left in any namespace, and nothing that has none.
func TestUninstall(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	before := w.ours(t)
	for _, kind := range []string{"MCPServer", "CustomResourceDefinition", "ClusterRole", "EnvoyFilter", "Deployment", "Lease", "Secret"} {
		assert.Contains(t, before, kind+" ", "else this test would not see what is left")
	}
	w.forget()
	w.kubectl(t, "delete", "-k", w.overlay(t))
	w.kubectl(t, "delete", "namespace", w.ns) // with the servers, of whose HTTPRoutes it is not told
	await(t, "nothing to be left", func() (string, bool) {
		left := w.ours(t)
		return left, left == ""
	})
}

// ours is all in the cluster that has to do with the gateway, but for the Gateway and its Envoy, which are not part of the installation.
func (w *world) ours(t testing.TB) string {
	t.Helper()
	kinds := w.list(t.Context(), "api-resources", "--verbs=list,delete", "-o", "name")
	all, err := w.try(t.Context(), "", "kubectl", "get", strings.Join(kinds, ","), "--all-namespaces", "--ignore-not-found", "--no-headers",
		"-o", "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name")
	if err != nil {
		return err.Error() // kinds may be going while they are asked for
	}
	var ours []string
	for line := range strings.Lines(all) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.Contains(strings.ToLower(line), "mcp") && !strings.HasPrefix(line, "Event ") && !strings.Contains(line, envoyDeployment) &&
			line != "Gateway "+gatewayNamespace+" mcp-gateway" {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "\n")
}
