package v1alpha1_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// releases are the folders of all releases; testdata/releases/README.md tells how one is added.
func releases(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join("testdata", "releases", "v*"))
	require.NoError(t, err)
	require.NotEmpty(t, folders)
	return folders
}

// What was released is not edited so that a test passes.
func TestReleasesAreFrozen(t *testing.T) {
	for _, folder := range releases(t) {
		sums := map[string]string{}
		data, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
		require.NoError(t, err)
		for line := range strings.Lines(string(data)) {
			sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			sums[name] = sum
		}
		got := map[string]string{}
		for _, part := range []string{"crds", "objects"} {
			names, err := filepath.Glob(filepath.Join(folder, part, "*"))
			require.NoError(t, err)
			require.NotEmpty(t, names)
			for _, name := range names {
				data, err := os.ReadFile(name)
				require.NoError(t, err)
				sum := sha256.Sum256(data)
				got[part+"/"+filepath.Base(name)] = hex.EncodeToString(sum[:])
			}
		}
		assert.Equal(t, sums, got, folder)
	}
}

// Versions stay served, fields stay what they are, limits are not made narrower, and what was optional stays optional. A rule that is new may only be about
// fields that are new.
func TestFieldsAreOnlyAdded(t *testing.T) {
	now := definitions(t)
	for _, folder := range releases(t) {
		for kind, was := range definitionsIn(t, filepath.Join(folder, "crds")) {
			is := now[kind]
			assert.Equal(t, was.Spec.Group, is.Spec.Group)
			assert.Equal(t, was.Spec.Scope, is.Spec.Scope)
			assert.Subset(t, is.Spec.Names.ShortNames, was.Spec.Names.ShortNames)
			for _, version := range was.Spec.Versions {
				i := slices.IndexFunc(is.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version.Name })
				if assert.GreaterOrEqual(t, i, 0, "%s: the version %s of %s is gone", kind, version.Name, folder) {
					assert.True(t, is.Spec.Versions[i].Served, "%s %s", kind, version.Name)
					compareSchemas(t, kind, version.Schema.OpenAPIV3Schema, is.Spec.Versions[i].Schema.OpenAPIV3Schema)
				}
			}
		}
	}
}

func compareSchemas(t *testing.T, path string, was, is *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	assert.Equal(t, was.Type, is.Type, path)
	assert.Equal(t, was.Default, is.Default, "%s: another default changes what objects mean", path)
	assert.Subset(t, was.Required, is.Required, "%s: what was optional is required", path)
	assert.Equal(t, was.XListType, is.XListType, path)
	for what, limits := range map[string][2]*int64{"maxLength": {was.MaxLength, is.MaxLength}, "maxItems": {was.MaxItems, is.MaxItems}, "maxProperties": {was.MaxProperties, is.MaxProperties}} {
		if limits[1] != nil && assert.NotNil(t, limits[0], "%s: %s is new", path, what) {
			assert.GreaterOrEqual(t, *limits[1], *limits[0], "%s: %s is narrower", path, what)
		}
	}
	for what, limits := range map[string][2]*int64{"minLength": {was.MinLength, is.MinLength}, "minItems": {was.MinItems, is.MinItems}} {
		if limits[1] != nil && assert.NotNil(t, limits[0], "%s: %s is new", path, what) {
			assert.LessOrEqual(t, *limits[1], *limits[0], "%s: %s is narrower", path, what)
		}
	}
	if len(is.Enum) > 0 {
		assert.Subset(t, is.Enum, was.Enum, path)
		assert.NotEmpty(t, was.Enum, path)
	}
	assert.Contains(t, []string{"", was.Pattern}, is.Pattern, path)
	added := slices.DeleteFunc(slices.Collect(maps.Keys(is.Properties)), func(name string) bool { _, old := was.Properties[name]; return old })
	for _, rule := range is.XValidations {
		old := slices.ContainsFunc(was.XValidations, func(r apiextensionsv1.ValidationRule) bool { return r.Rule == rule.Rule })
		assert.True(t, old || slices.ContainsFunc(added, func(name string) bool { return strings.Contains(rule.Rule, "self."+name) }), "%s: the rule %s is new", path, rule.Rule)
	}
	for name, property := range was.Properties {
		next, ok := is.Properties[name]
		if assert.True(t, ok, "%s.%s is gone", path, name) {
			compareSchemas(t, path+"."+name, &property, &next)
		}
	}
	if was.Items != nil && assert.NotNil(t, is.Items, path) {
		compareSchemas(t, path+"[]", was.Items.Schema, is.Items.Schema)
	}
}

// TestUpgrade creates a release's objects under its own definitions, puts today's in their place, and has the objects as they were, read, changed and applied.
func TestUpgrade(t *testing.T) {
	cluster := k8stest.Start(t)
	for _, folder := range releases(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			define(t, cluster, filepath.Join(folder, "crds"))
			names, err := filepath.Glob(filepath.Join(folder, "objects", "*.yaml"))
			require.NoError(t, err)
			before := map[string]*unstructured.Unstructured{}
			for _, name := range names {
				object := read(t, name)
				await(t, func() error {
					return cluster.Client.Create(t.Context(), object.DeepCopy(), client.FieldValidation(metav1.FieldValidationStrict), client.DryRunAll)
				})
				require.NoError(t, cluster.Client.Create(t.Context(), object, client.FieldValidation(metav1.FieldValidationStrict)), name)
				before[name] = object
			}

			out, ok := cluster.Kubectl(t.Context(), t, "", "apply", "--server-side", "--force-conflicts", "-k", k8stest.CRDFolder(t))
			require.True(t, ok, out)
			awaitDefinitions(t, cluster.Client)
			for _, name := range names {
				object := &unstructured.Unstructured{}
				object.SetGroupVersionKind(before[name].GroupVersionKind())
				require.NoError(t, cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(before[name]), object))
				assert.Equal(t, before[name].Object["spec"], object.Object["spec"], "%s: nothing is lost, and nothing gets another meaning", name)
				object.SetLabels(map[string]string{"touched": "yes"})
				require.NoError(t, cluster.Client.Update(t.Context(), object, client.FieldValidation(metav1.FieldValidationStrict)), name)
				out, ok := cluster.Kubectl(t.Context(), t, "", "apply", "--server-side", "--force-conflicts", "--validate=strict", "-n", "default", "-f", absolute(t, name))
				assert.True(t, ok, out)
				require.NoError(t, cluster.Client.Delete(t.Context(), object))
			}
		})
	}
}

// define replaces our definitions. Deleted first, those of before leave nothing behind by which objects could be judged.
func define(t *testing.T, cluster *k8stest.Cluster, folder string) {
	t.Helper()
	for _, crd := range definitionsIn(t, folder) {
		old := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: crd.Name}}
		out, ok := cluster.Kubectl(t.Context(), t, "", "delete", "--ignore-not-found", "--timeout=60s", "crd/"+old.Name)
		require.True(t, ok, out)
	}
	out, ok := cluster.Kubectl(t.Context(), t, "", "create", "-f", absolute(t, folder))
	require.True(t, ok, out)
	out, ok = cluster.Kubectl(t.Context(), t, "", "wait", "--for=condition=Established", "--timeout=60s", "-f", absolute(t, folder))
	require.True(t, ok, out)
}

// awaitDefinitions waits until the API server goes by today's definitions: it takes all of today's examples.
func awaitDefinitions(t *testing.T, c client.Client) {
	t.Helper()
	for _, file := range files(t, "valid") {
		object := read(t, file)
		await(t, func() error {
			return c.Create(t.Context(), object.DeepCopy(), client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
		})
	}
}

// await tries again, for some time, as long as there is an error.
func await(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || apierrors.IsAlreadyExists(err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(fmt.Errorf("waited in vain: %w", err))
		case <-tick.C:
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	return path
}

func definitionsIn(t *testing.T, folder string) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	found := map[string]*apiextensionsv1.CustomResourceDefinition{}
	names, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	require.NoError(t, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		require.NoError(t, yaml.UnmarshalStrict(data, crd), name)
		found[crd.Spec.Names.Kind] = crd
	}
	return found
}
