package charts

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// What the controller and the replicas write, as they would.
const written = `
apiVersion: v1
kind: ConfigMap
metadata: {name: mcp-gateway-config, namespace: mcp-system, labels: {app.kubernetes.io/managed-by: mcp-gateway-controller}}
data: {config.yaml: "servers: []"}
---
apiVersion: v1
kind: Secret
metadata: {name: mcp-gateway-credentials, namespace: mcp-system, labels: {app.kubernetes.io/managed-by: mcp-gateway-controller}}
stringData: {team.weather: secret}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: public-mcp-endpoint, namespace: gateways, labels: {app.kubernetes.io/managed-by: mcp-gateway-controller}}
spec: {priority: 1000000, configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {name: mcp_broker}}}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: mcp-gateway-controller, namespace: mcp-system}
spec: {holderIdentity: somebody}
`

// life installs the chart, has its programs write what they write, upgrades, rolls back and uninstalls: what was written stays until the end, and nothing then.
func life(t *testing.T, c *k8stest.Cluster) {
	t.Helper()
	before := everything(t, c)
	run := func(args ...string) {
		t.Helper()
		message, ok := helmAt(t, c, args...)
		require.True(t, ok, "helm %v: %s", args, message)
	}
	// No pod runs here, and no hook ends.
	values := []string{"--values", "mcp-gateway/values-dev.yaml", "--set", "keycloak.realmImport.enabled=false,global.gateway.name=public,global.gateway.namespace=gateways"}
	get := func(kind, namespace, name, path string) string {
		t.Helper()
		return kubectl(t, c, "", "get", kind, name, "--namespace", namespace, "--output", "jsonpath={"+path+"}")
	}
	key := func() string { return get("secret", namespace, "mcp-gateway-session-key", ".data.key") }
	password := func() string { return get("secret", namespace, "mcp-gateway-keycloak-admin", ".data.password") }
	policies := func() string { return get("configmap", namespace, "mcp-gateway-policies", ".data.policies\\.yaml") }
	kept := func() {
		t.Helper()
		assert.Equal(t, "servers: []", get("configmap", namespace, "mcp-gateway-config", ".data.config\\.yaml"))
		assert.NotEmpty(t, get("secret", namespace, "mcp-gateway-credentials", ".data.team\\.weather"))
		assert.Equal(t, "CLUSTER", get("envoyfilter", "gateways", "public-mcp-endpoint", ".spec.configPatches[0].applyTo"))
		assert.Equal(t, "somebody", get("lease", namespace, "mcp-gateway-controller", ".spec.holderIdentity"))
	}

	run(append([]string{"install", release, chart}, values...)...)
	kubectl(t, c, written, "apply", "--server-side", "--force-conflicts", "--field-manager", "mcp-gateway-controller", "--filename", "-")
	kept()
	first, secret := key(), password()
	generation := get("deployment", namespace, "mcp-gateway", ".metadata.generation")

	run(append([]string{"upgrade", release, chart, "--set-json", `policies.acl=[{"groups": ["admins"], "allow": ["*"]}]`}, values...)...)
	assert.NotContains(t, policies(), "developers")
	assert.Equal(t, generation, get("deployment", namespace, "mcp-gateway", ".metadata.generation"), "an ACL restarts nothing")
	kept()
	run("rollback", release, "1")
	assert.Contains(t, policies(), "developers")
	kept()
	assert.Equal(t, first, key(), "sessions go on")
	assert.Equal(t, secret, password())

	run("uninstall", release)
	assert.Equal(t, before, everything(t, c), "left behind")
}

// everything is what there is in the cluster but for events, and for the definitions, which Helm never removes.
func everything(t *testing.T, c *k8stest.Cluster) []string {
	t.Helper()
	kinds := strings.Fields(kubectl(t, c, "", "api-resources", "--verbs=list,delete", "--output=name"))
	var all []string
	for line := range strings.Lines(kubectl(t, c, "", "get", strings.Join(kinds, ","), "--all-namespaces", "--no-headers", "--ignore-not-found",
		"--output=custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name")) {
		line = strings.Join(strings.Fields(line), " ")
		if strings.Contains(line, "mcp") && !strings.HasPrefix(line, "Event ") && !strings.HasPrefix(line, "CustomResourceDefinition ") {
			all = append(all, line)
		}
	}
	return all
}
