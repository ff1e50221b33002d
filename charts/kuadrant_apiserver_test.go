package charts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

const envKuadrant = "KUADRANT_CRDS"

func kubectl(t *testing.T, c *k8stest.Cluster, stdin string, args ...string) string {
	t.Helper()
	out, ok := c.Kubectl(t.Context(), t, stdin, args...)
	require.True(t, ok, "kubectl %v: %s", args, out)
	return out
}

// helmAt runs helm on a cluster, in the namespace of the release.
func helmAt(t *testing.T, c *k8stest.Cluster, args ...string) (message string, ok bool) {
	t.Helper()
	_, message, ok = helmOut(t, c, args...)
	return message, ok
}

// helmOut is helmAt with what helm prints.
func helmOut(t *testing.T, c *k8stest.Cluster, args ...string) (out, message string, ok bool) {
	t.Helper()
	home := t.TempDir()
	env := []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home, "KUBECONFIG=" + c.Kubeconfig()}
	return helmIn(t, env, append(args, "--namespace", namespace)...)
}

// onlyPolicies are values by which nothing but the policies is installed.
func onlyPolicies(t *testing.T, group string) string {
	t.Helper()
	return valuesFile(t, `{policies: {enabled: true, authentication: {issuer: "https://i.example.com", audiences: [a]}, acl: [{groups: [`+group+`], allow: ["*"]}]}, `+
		`controller: {enabled: false}, broker: {enabled: false}, gateway: {enabled: false}, keycloak: {enabled: false}, observability: {enabled: false}, sampleServers: {enabled: false}, crds: {enabled: false}}`)
}

// Every object is taken by a real API server with Kuadrant's definitions, and what the chart upgrades keeps its key.
func TestKuadrantAPIServer(t *testing.T) {
	folder := os.Getenv(envKuadrant)
	if folder == "" {
		t.Skip(envKuadrant + " is not set: run `make test-charts`")
	}
	c := k8stest.Start(t)
	kubectl(t, c, "", "create", "namespace", namespace)
	message, ok := helmAt(t, c, "install", release, chart, "--values", onlyPolicies(t, "x"))
	require.False(t, ok, "without Kuadrant nothing would be enforced")
	assert.Contains(t, message, "The cluster does not know AuthPolicies, so that nothing would be enforced: install Kuadrant first, or set policies.engine to istio")
	for _, file := range []string{"kuadrant.io_authpolicies.yaml", "kuadrant.io_ratelimitpolicies.yaml"} {
		// The definitions are larger than what apply would note of them.
		kubectl(t, c, "", "create", "--filename", filepath.Join(folder, file))
	}
	kubectl(t, c, "", "wait", "--for=condition=established", "crd", "--all", "--timeout=60s")
	message, ok = helmAt(t, c, "install", release, chart, "--values", onlyPolicies(t, "x"))
	require.False(t, ok)
	assert.Contains(t, message, `The cluster has no namespace "kuadrant-system", from which Authorino is to read a key: set policies.kuadrant.namespace to Kuadrant's`)
	kubectl(t, c, "", "create", "namespace", "kuadrant-system")
	for name, path := range kuadrantCases(t, "values") {
		t.Run(name, func(t *testing.T) {
			for _, o := range objects(t, ofPolicies(render(t, release, namespace, "--values", path))) {
				text, err := json.Marshal(o)
				require.NoError(t, err)
				kubectl(t, c, string(text), "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
			}
		})
	}
	t.Run("what the tests on a cluster need", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		kubectl(t, c, clusterObjects(t, "test-kuadrant", "http://issuer", key), "apply", "--validate=strict", "--filename", "-")
	})
	t.Run("example without helm", func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "example")
		require.NoError(t, os.CopyFS(folder, os.DirFS(exampleFolder)))
		for _, file := range []string{"key.pem", "authorizer.pem"} {
			require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte("a key"), 0o600))
		}
		out := kubectl(t, c, "", "apply", "--server-side", "--dry-run=server", "--validate=strict", "--kustomize", folder)
		for _, name := range []string{"httproute", "authpolicy", "ratelimitpolicy", "configmap", "secret"} {
			assert.Contains(t, out, name)
		}
	})
	t.Run("upgrades", func(t *testing.T) { upgrades(t, c) })
}

// upgrades installs the policies alone, changes the acl, goes back, and takes everything away.
func upgrades(t *testing.T, c *k8stest.Cluster) {
	t.Helper()
	run := func(args ...string) {
		t.Helper()
		message, ok := helmAt(t, c, args...)
		require.True(t, ok, "helm %v: %s", args, message)
	}
	values := func(group string) string { return onlyPolicies(t, group) }
	get := func(kind, namespace, name string) *unstructured.Unstructured {
		t.Helper()
		o := &unstructured.Unstructured{}
		require.NoError(t, o.UnmarshalJSON([]byte(kubectl(t, c, "", "get", kind, name, "--namespace", namespace, "--output", "json"))))
		return o
	}
	secret := "mcp-gateway-" + namespace + "-signing-key"
	public := func() string {
		text, _, err := unstructured.NestedString(get("configmap", namespace, kuadrantName).Object, "data", "authorizer.pem")
		require.NoError(t, err)
		return text
	}
	asks := func(group string) {
		t.Helper()
		assert.Contains(t, kubectl(t, c, "", "get", "authpolicy", kuadrantName, "--namespace", namespace, "--output", "json"), `in [\"`+group+`\"]`)
	}

	run("install", release, chart, "--values", values("first"))
	key, certificate := secretText(t, get("secret", "kuadrant-system", secret), "key.pem"), public()
	asks("first")
	run("upgrade", release, chart, "--values", values("second"))
	asks("second")
	assert.Equal(t, key, secretText(t, get("secret", "kuadrant-system", secret), "key.pem"), "the key stays")
	assert.Equal(t, certificate, public(), "and the broker is told the same")
	run("rollback", release, "1")
	asks("first")
	assert.Equal(t, key, secretText(t, get("secret", "kuadrant-system", secret), "key.pem"))
	run("uninstall", release, "--wait")
	for _, ns := range []string{namespace, "kuadrant-system"} {
		left := kubectl(t, c, "", "get", "authpolicies,ratelimitpolicies,httproutes,secrets,configmaps", "--namespace", ns, "--output", "name", "--field-selector", "metadata.name!=kube-root-ca.crt")
		assert.Empty(t, left, "left in %s", ns)
	}
}
