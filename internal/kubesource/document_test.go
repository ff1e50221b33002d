package kubesource_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
)

// words are documents that may say anything but "bad".
func words() config.FileKind[string] {
	return config.FileKind[string]{
		Load: func(path string, env config.Env) (string, error) {
			text, err := env.ReadFile(path)
			if err == nil && string(text) == "bad" {
				err = errors.New(path + ": is bad")
			}
			if more, missing := env.ReadFile(strings.TrimSuffix(path, "policies.yaml") + "more"); missing == nil {
				text = append(append(text, '+'), more...)
			}
			return strings.TrimSpace(string(text)), err
		},
		Equal: func(a, b string) bool { return a == b },
	}
}

// followDocument follows one until the test ends.
func followDocument(t *testing.T, d *kubesource.Document) *heard {
	t.Helper()
	h := &heard{}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		kubesource.FollowDocument(ctx, d, words(), config.FileOptions[string]{
			OnChange:  func(text string) { h.say("taken: %s", text) },
			OnError:   func(err error) { h.say("refused: %v", err) },
			OnRecover: func() { h.say("recovered") },
		})
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return h
}

// Invariant 8 for a document in a ConfigMap, by a user that may read this one ConfigMap and nothing else.
func TestDocument(t *testing.T) {
	cluster := k8stest.Start(t)
	meta := metav1.ObjectMeta{Namespace: "documents", Name: "mcp-gateway-policies"}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	require.NoError(t, cluster.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: meta.Namespace}}))
	d, err := kubesource.NewDocument(cluster.As("reader"), "documents/mcp-gateway-policies", "policies.yaml", logger)
	require.NoError(t, err)
	h := followDocument(t, d)
	h.await(t, patience, `refused: the ConfigMap "documents/mcp-gateway-policies" cannot be watched`)
	assert.Contains(t, h.all()[0], "forbidden")
	allowReading(t, cluster, meta)
	h.await(t, patience, `refused: the ConfigMap "documents/mcp-gateway-policies" does not exist`)

	put := func(data map[string]string) {
		t.Helper()
		m := &corev1.ConfigMap{ObjectMeta: meta, Data: data}
		if err := cluster.Client.Create(t.Context(), m); err != nil {
			require.NoError(t, cluster.Client.Update(t.Context(), m))
		}
	}
	put(map[string]string{"policies.yaml": "one"})
	h.await(t, patience, "taken: one")
	put(map[string]string{"policies.yaml": "two"})
	h.await(t, patience, "taken: two")
	put(map[string]string{"policies.yaml": "two", "more": "beside"})
	h.await(t, patience, "taken: two+beside")
	put(map[string]string{"policies.yaml": "two"})
	h.await(t, patience, "taken: two")
	put(map[string]string{"policies.yaml": "bad"})
	h.await(t, patience, "refused: documents/mcp-gateway-policies/policies.yaml: is bad")
	put(map[string]string{"policies.yaml": "two\n"})
	h.await(t, patience, "recovered")
	put(map[string]string{"policy.yaml": "three"})
	h.await(t, patience, `has no key "policies.yaml"`)
	require.NoError(t, cluster.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: meta}))
	h.await(t, patience, "does not exist")
	put(map[string]string{"policies.yaml": "four"})
	h.await(t, patience, "taken: four")

	told := len(h.all())
	cluster.StopAPIServer(t)
	cluster.StartAPIServer(t)
	put(map[string]string{"policies.yaml": "five"})
	h.await(t, patience, "taken: five")
	assert.Len(t, h.all(), told+1, "an API server that is away is no bad document")
}

func TestDocumentRefusesNames(t *testing.T) {
	for _, name := range []string{"", "policies", "a/b/c", "A/b", "a/"} {
		_, err := kubesource.NewDocument(nil, name, "policies.yaml", slog.Default())
		assert.ErrorContains(t, err, "want namespace/name of a ConfigMap", name)
	}
}

// allowReading lets a user do with one ConfigMap what the broker may do with it.
func allowReading(t *testing.T, cluster *k8stest.Cluster, meta metav1.ObjectMeta) {
	t.Helper()
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{meta.Name}, Verbs: []string{"get", "list", "watch"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "reader"}},
		},
	} {
		require.NoError(t, cluster.Client.Create(t.Context(), object))
	}
}
