package v1alpha1_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestAPIServer is about what a real API server makes of our resources. One server serves all, since it takes seconds to start.
func TestAPIServer(t *testing.T) {
	cluster := k8stest.Start(t)
	t.Run("invalid", func(t *testing.T) { testInvalid(t, cluster.Client) })
	t.Run("valid", func(t *testing.T) { testValid(t, cluster.Client) })
	t.Run("unknown field", func(t *testing.T) { testUnknownField(t, cluster.Client) })
	t.Run("status", func(t *testing.T) { testStatus(t, cluster.Client) })
	t.Run("status of two managers", func(t *testing.T) { testStatusOfTwoManagers(t, cluster.Client) })
	t.Run("columns", func(t *testing.T) { testColumns(t, cluster) })
	t.Run("explain", func(t *testing.T) { testExplain(t, cluster) })
	t.Run("guides", func(t *testing.T) { testGuides(t, cluster.Client) })
}

// testInvalid has one file for each rule. Its first line tells the field and the error that it must give, and it must break no other rule.
func testInvalid(t *testing.T, c client.Client) {
	for _, file := range files(t, "invalid") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			object := read(t, file)
			err := c.Create(t.Context(), object, client.DryRunAll)
			require.Error(t, err)
			var status apierrors.APIStatus
			require.ErrorAs(t, err, &status)
			assert.Equal(t, metav1.StatusReasonInvalid, status.Status().Reason)
			// The API server adds that the rules in CEL were not looked at, where a simpler one was broken.
			causes := slices.DeleteFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool {
				return strings.Contains(c.Message, "some validation rules were not checked")
			})
			require.Len(t, causes, 1, "a file is about one rule: %v", err)
			// The message repeats the value in some versions of Kubernetes.
			field, message := wantedError(t, file)
			assert.Equal(t, field, causes[0].Field)
			assert.Contains(t, causes[0].Message, message)
		})
	}
}

// wantedError reads "# error: FIELD: MESSAGE".
func wantedError(t *testing.T, file string) (field, message string) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(data), "\n")
	want, ok := strings.CutPrefix(line, "# error: ")
	require.True(t, ok, "%s must begin with \"# error: \"", file)
	field, message, ok = strings.Cut(want, ": ")
	require.True(t, ok, "%s must have a field and its message", file)
	return field, message
}

// testValid has objects that were accepted once and must be for ever: files are only added. What comes back, defaults filled in, is in the golden files.
func testValid(t *testing.T, c client.Client) {
	for _, file := range files(t, "valid") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			object := read(t, file)
			require.NoError(t, c.Create(t.Context(), object, client.FieldValidation(metav1.FieldValidationStrict)))
			remove(t, c, object)

			typed := newObject(t, object.GetKind())
			require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), typed))
			typed.GetObjectKind().SetGroupVersionKind(object.GroupVersionKind())
			for _, clean := range []client.Object{object, typed} {
				clean.SetUID("")
				clean.SetCreationTimestamp(metav1.Time{})
				clean.SetResourceVersion("")
				clean.SetManagedFields(nil)
			}
			fromServer, err := yaml.Marshal(object)
			require.NoError(t, err)
			fromTypes, err := yaml.Marshal(typed)
			require.NoError(t, err)
			assert.YAMLEq(t, string(fromServer), string(fromTypes), "the Go types lose nothing and add nothing")
			golden(t, filepath.Join("testdata", "defaulted", filepath.Base(file)), fromServer)
		})
	}
}

// A field that is misspelt must not be dropped silently; kubectl asks for that.
func testUnknownField(t *testing.T, c client.Client) {
	object := read(t, "testdata/valid/server-minimal.yaml")
	require.NoError(t, unstructured.SetNestedField(object.Object, "weather_", "spec", "toolprefix"))
	err := c.Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
	assert.ErrorContains(t, err, `unknown field "spec.toolprefix"`)
}

// remove deletes an object when the test ends.
func remove(t *testing.T, c client.Client, object client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { assert.NoError(t, c.Delete(ctx, object)) })
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func read(t *testing.T, file string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.UnmarshalStrict(data, &object.Object), file)
	object.SetNamespace("default")
	return object
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o600))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run the test with -update to write it")
	assert.Equal(t, string(want), string(got))
}
