package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

func newObject(t *testing.T, kind string) client.Object {
	t.Helper()
	switch kind {
	case v1alpha1.KindMCPServer:
		return &v1alpha1.MCPServer{}
	case v1alpha1.KindMCPVirtualServer:
		return &v1alpha1.MCPVirtualServer{}
	}
	t.Fatalf("unknown kind %q", kind)
	return nil
}

func newServer(t *testing.T, c client.Client, name string) *v1alpha1.MCPServer {
	t.Helper()
	server := &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       v1alpha1.MCPServerSpec{ToolPrefix: "weather_", TargetRef: v1alpha1.TargetReference{Name: "weather-route"}},
	}
	require.NoError(t, c.Create(t.Context(), server))
	remove(t, c, server)
	return server
}

func condition(kind, status, reason string, generation int64) map[string]any {
	return map[string]any{
		"type": kind, "status": status, "reason": reason, "message": "It is so.", "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": generation,
	}
}

// apply writes a status by server-side apply, as a manager that owns only what it writes.
func apply(t *testing.T, c client.Client, server *v1alpha1.MCPServer, manager string, status map[string]any) error {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMCPServer))
	object.SetNamespace(server.Namespace)
	object.SetName(server.Name)
	return c.Status().Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(manager))
}

// A fresh object says that nobody has looked at it; a status is no part of what a user applies.
func testStatus(t *testing.T, c client.Client) {
	server := newServer(t, c, "fresh")
	require.Len(t, server.Status.Conditions, 1)
	ready := server.Status.Conditions[0]
	assert.Equal(t, v1alpha1.ConditionReady, ready.Type)
	assert.Equal(t, metav1.ConditionUnknown, ready.Status)
	assert.Equal(t, v1alpha1.ReasonPending, ready.Reason)

	server.Status.Endpoint = "http://nowhere"
	server.Spec.ToolPrefix = "other_"
	require.NoError(t, c.Update(t.Context(), server))
	assert.Empty(t, server.Status.Endpoint, "the status has its own subresource")
	assert.Equal(t, "other_", server.Spec.ToolPrefix, "the prefix may be changed")
	assert.EqualValues(t, 2, server.Generation)

	err := apply(t, c, server, "controller", map[string]any{"discoveredTools": -1})
	assert.ErrorContains(t, err, "status.discoveredTools: Invalid value: -1")
}

// The controller and the broker's leader write into one status, and neither takes off what the other wrote.
func testStatusOfTwoManagers(t *testing.T, c client.Client) {
	server := newServer(t, c, "shared")
	require.NoError(t, apply(t, c, server, "controller", map[string]any{
		"endpoint": "http://weather.default.svc:80/mcp",
		"conditions": []any{
			condition("Accepted", "True", "Accepted", 1), condition("ResolvedRefs", "True", "ResolvedRefs", 1), condition("Programmed", "True", "Programmed", 1),
		},
	}))
	broker := map[string]any{
		"discoveredTools": 7, "discoveredPrompts": 0, "discoveredResources": 2, "protocolRevisions": []any{"2026-07-28", "2025-11-25"},
		"conditions": []any{condition("Ready", "True", "Ready", 1)},
	}
	require.NoError(t, apply(t, c, server, "broker", broker), "what the definition filled in belongs to nobody: no conflict")
	require.NoError(t, apply(t, c, server, "controller", map[string]any{
		"endpoint":   "http://weather.default.svc:8080/mcp",
		"conditions": []any{condition("Accepted", "True", "Accepted", 1), condition("Programmed", "False", "TooLarge", 1)},
	}))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))

	status := server.Status
	assert.Equal(t, "http://weather.default.svc:8080/mcp", status.Endpoint)
	assert.EqualValues(t, 7, *status.DiscoveredTools)
	assert.EqualValues(t, 0, *status.DiscoveredPrompts, "none is something else than not known")
	assert.Equal(t, []string{"2026-07-28", "2025-11-25"}, status.ProtocolRevisions)
	assert.True(t, meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady))
	assert.True(t, meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionProgrammed))
	assert.Nil(t, meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionResolvedRefs), "what its manager leaves out is gone")

	before := server.ResourceVersion
	require.NoError(t, apply(t, c, server, "broker", broker))
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(server), server))
	assert.Equal(t, before, server.ResourceVersion, "nothing is written where nothing changes")
}

func testColumns(t *testing.T, cluster *k8stest.Cluster) {
	server := newServer(t, cluster.Client, "weather-tools")
	require.NoError(t, apply(t, cluster.Client, server, "broker", map[string]any{
		"discoveredTools": 7, "endpoint": "http://weather:80/mcp", "conditions": []any{condition("Ready", "True", "Ready", 1)},
	}))
	virtual := &v1alpha1.MCPVirtualServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "accounting"}, Spec: v1alpha1.MCPVirtualServerSpec{Description: "Bills"},
	}
	require.NoError(t, cluster.Client.Create(t.Context(), virtual))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"mcps"}, `^NAME +PREFIX +TARGET +TOOLS +READY +AGE\nweather-tools +weather_ +weather-route +7 +True +\d+s\n$`},
		{[]string{"mcpservers", "-o", "wide"}, `READY +AGE +REASON +PATH +ENDPOINT\nweather-tools .* +True +\d+s +Ready +/mcp +http://weather:80/mcp\n$`},
		{[]string{"mcpvs"}, `^NAME +PATH +TOOLS +READY +AGE\naccounting +Unknown +\d+s\n$`},
		{[]string{"mcpvs", "-o", "wide"}, `REASON +DESCRIPTION\naccounting .* Pending +Bills\n$`},
		{[]string{"mcp", "-o", "name"}, `^mcpserver.mcp.kagenti.com/weather-tools\nmcpvirtualserver.mcp.kagenti.com/accounting\n$`},
	} {
		out, ok := cluster.Kubectl(t.Context(), t, "", append([]string{"get"}, test.args...)...)
		assert.True(t, ok, out)
		assert.Regexp(t, test.want, out)
	}
	out, ok := cluster.Kubectl(t.Context(), t, "", "wait", "--for=condition=Ready", "mcps/weather-tools", "--timeout=5s")
	assert.True(t, ok, out)
}

func testExplain(t *testing.T, cluster *k8stest.Cluster) {
	for path, want := range map[string]string{
		"mcps":                              "puts one MCP server behind the gateway",
		"mcps.spec.toolPrefix":              "What stands before the names",
		"mcps.spec.targetRef.namespace":     "ReferenceGrant",
		"mcps.spec.timeouts.call":           "0s means no limit",
		"mcps.status.discoveredTools":       "How many tools the server has",
		"mcpvs.spec.tools":                  "by the names that clients use",
		"mcpvirtualservers.spec.servers":    "of which it has everything",
		"mcpservers.spec.credentialRef.key": "The key in the Secret",
	} {
		out, ok := cluster.Kubectl(t.Context(), t, "", "explain", path)
		assert.True(t, ok, out)
		assert.Contains(t, out, want, path)
	}
}
