package k8stest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

func TestCluster(t *testing.T) {
	c := Start(t)
	ctx := t.Context()

	t.Run("kinds", func(t *testing.T) {
		require.NoError(t, c.Client.List(ctx, &v1alpha1.MCPServerList{}))
		require.NoError(t, c.Client.List(ctx, &gatewayv1.HTTPRouteList{}))
	})

	t.Run("kubectl", func(t *testing.T) {
		out, ok := c.Kubectl(ctx, t, "", "get", "namespaces", "-o", "name")
		assert.True(t, ok, out)
		assert.Contains(t, out, "namespace/default")
		out, ok = c.Kubectl(ctx, t, "", "get", "unicorns")
		assert.False(t, ok)
		assert.Contains(t, out, `the server doesn't have a resource type "unicorns"`)
	})

	t.Run("another user may do nothing without a role", func(t *testing.T) {
		err := NewClient(t, c.AsServiceAccount("default", "nobody")).List(ctx, &corev1.SecretList{})
		assert.True(t, apierrors.IsForbidden(err), "%v", err)
	})

	t.Run("restart", func(t *testing.T) {
		kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}}
		require.NoError(t, c.Client.Create(ctx, kept))
		c.StopAPIServer(t)
		require.Error(t, c.Client.Get(ctx, client.ObjectKeyFromObject(kept), kept))
		c.StartAPIServer(t)
		assert.NoError(t, c.Client.Get(ctx, client.ObjectKeyFromObject(kept), kept), "the same client finds the same server")
	})
}
