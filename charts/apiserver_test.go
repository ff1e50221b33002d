package charts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

const envIstio = "ISTIO_CRDS"

// An API server with all that the chart's objects need takes each of them, and says of everything that is missing what to do. One serves all, since it takes
// seconds to start; it has more and more of what a cluster needs.
func TestAPIServer(t *testing.T) {
	istio, kuadrant := os.Getenv(envIstio), os.Getenv(envKuadrant)
	if istio == "" || kuadrant == "" {
		t.Skip(envIstio + " and " + envKuadrant + " are not set: run `make test-charts`")
	}
	c := k8stest.Start(t)
	for _, name := range []string{namespace, "team-a", "team-b", "gateways", "kuadrant-system"} {
		restrictedNamespace(t, c, name)
	}
	lacks(t, c, `The cluster has no GatewayClass "istio" (gateway.className): install an implementation of the Gateway API first, such as Istio`)
	kubectl(t, c, gatewayClass("other"), "create", "--filename", "-")
	lacks(t, c, `The cluster has no GatewayClass "istio" (gateway.className): set it to one of those that there are: other`)
	kubectl(t, c, gatewayClass("istio"), "create", "--filename", "-")
	lacks(t, c, "The cluster does not know Istio's EnvoyFilter, by which Envoy comes to ask the router: install Istio first")
	kubectl(t, c, "", "apply", "--server-side", "--filename", istio)
	lacks(t, c, `The cluster has no Gateway "mcp-gateway" in the namespace "mcp-system", and gateway.create is false`, "--set", "gateway.create=false")
	lacks(t, c, "The cluster does not know the kind monitoring.coreos.com/v1/PodMonitor: install the Prometheus operator first, or set observability.podMonitor.enabled to false",
		"--set", "observability.enabled=true,observability.podMonitor.enabled=true")
	lacks(t, c, "policies.engine to istio", "--values", "mcp-gateway/values-production.yaml")
	for _, file := range []string{"kuadrant.io_authpolicies.yaml", "kuadrant.io_ratelimitpolicies.yaml"} {
		// The definitions are larger than what apply would note of them.
		kubectl(t, c, "", "create", "--filename", filepath.Join(kuadrant, file))
	}
	kubectl(t, c, monitoringKind("PodMonitor")+"\n---\n"+monitoringKind("PrometheusRule"), "create", "--filename", "-")
	kubectl(t, c, "", "wait", "--for=condition=established", "crd", "--all", "--timeout=60s")

	kubectl(t, c, "", "patch", "crd", "mcpservers.mcp.kagenti.com", "--type=json",
		"--patch", `[{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "of another version"}]`)
	lacks(t, c, `The cluster's definition "mcpservers.mcp.kagenti.com" is not the one of this version of the chart, and Helm does not change definitions.`)
	kubectl(t, c, "", "apply", "--server-side", "--force-conflicts", "--filename", "mcp-gateway/charts/crds/crds")

	for name, path := range cases(t, "values") {
		t.Run(name, func(t *testing.T) { taken(t, c, path) })
	}
	t.Run("the login of the guide", func(t *testing.T) {
		manifest := shown(string(read(t, "../docs/guides/status-page-login.md")), "oauth2-proxy.yaml")
		require.NotEmpty(t, manifest)
		out := kubectl(t, c, manifest, "apply", "--namespace", namespace, "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
		assert.NotContains(t, out, "Warning")
	})
	for name, args := range map[string][]string{
		"default": nil, "own-gateway": {"--values", "testdata/values/own-gateway.yaml", "--set", "gateway.enabled=false"},
		"replicas": {"--set", "broker.replicas=2"},
		"dev":      {"--values", "mcp-gateway/values-dev.yaml"}, "production": {"--values", "mcp-gateway/values-production.yaml"},
		"plain-http": {"--set", "policies.enabled=true,policies.engine=istio,policies.authentication.issuer=http://login.example.com,policies.authentication.audiences={a}," +
			"policies.authentication.jwksURI=http://login.auth.svc.cluster.local/keys"},
	} {
		t.Run("notes of "+name, func(t *testing.T) { notes(t, c, name, args) })
	}
	t.Run("life of a release", func(t *testing.T) { life(t, c) })
}

// lacks has helm install the chart where something is missing: it must say what, and what to do.
func lacks(t *testing.T, c *k8stest.Cluster, want string, args ...string) {
	t.Helper()
	message, ok := helmAt(t, c, append([]string{"install", release, chart}, args...)...)
	require.False(t, ok, "it was to be refused with %q", want)
	assert.Contains(t, message, want)
}

// restrictedNamespace makes a namespace that takes no pod beyond the Pod Security Standard "restricted", and warns of what would make one.
func restrictedNamespace(t *testing.T, c *k8stest.Cluster, name string) {
	t.Helper()
	kubectl(t, c, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+name+`", "labels": {
		"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}}`, "create", "--filename", "-")
	kubectl(t, c, "", "create", "serviceaccount", "default", "--namespace", name) // which a controller of Kubernetes makes elsewhere
}

func gatewayClass(name string) string {
	return `{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "` + name + `"}, "spec": {"controllerName": "istio.io/gateway-controller"}}`
}

// monitoringKind defines a kind of the Prometheus operator's by its name alone.
func monitoringKind(kind string) string {
	plural := strings.ToLower(kind) + "s"
	return `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "` + plural + `.monitoring.coreos.com"}, "spec": {
		"group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": "` + kind + `", "plural": "` + plural + `"}, "versions": [
		{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`
}

// taken applies what a case renders to, without keeping it: no field is unknown, and no pod is beyond "restricted".
func taken(t *testing.T, c *k8stest.Cluster, path string) {
	t.Helper()
	rendered := objects(t, render(t, release, namespace, valuesArgs(t, path)...))
	if len(rendered) == 0 {
		return // kubectl wants something
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": rendered})
	require.NoError(t, err)
	out := kubectl(t, c, string(text), "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
	assert.NotContains(t, out, "Warning")
}

// notes compares what helm says after an installation.
func notes(t *testing.T, c *k8stest.Cluster, name string, args []string) {
	t.Helper()
	out, message, ok := helmOut(t, c, append([]string{"install", release, chart, "--dry-run=server"}, args...)...)
	require.True(t, ok, message)
	_, said, found := strings.Cut(out, "\nNOTES:\n")
	require.True(t, found, out)
	assert.NotContains(t, said, "<no value>")
	golden(t, filepath.Join("testdata", "notes", name+".txt"), said)
}
