package v1alpha1_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

func TestScheme(t *testing.T) {
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	for _, kind := range []string{v1alpha1.KindMCPServer, v1alpha1.KindMCPVirtualServer} {
		for _, name := range []string{kind, kind + "List"} {
			assert.True(t, scheme.Recognizes(v1alpha1.GroupVersion().WithKind(name)), name)
		}
	}
}

// What is left out means the same whether the API server has filled in the default or not.
func TestDefaultsOfMethods(t *testing.T) {
	server := &v1alpha1.MCPServer{}
	server.Namespace = "team-a"
	assert.True(t, server.IsEnabled())
	assert.Equal(t, "team-a", server.TargetNamespace())

	no, other := false, v1alpha1.Label("team-b")
	server.Spec.Enabled, server.Spec.TargetRef.Namespace = &no, &other
	assert.False(t, server.IsEnabled())
	assert.Equal(t, "team-b", server.TargetNamespace())
}
