package v1alpha1_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

func definitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	found := definitionsIn(t, k8stest.CRDFolder(t))
	require.ElementsMatch(t, []string{v1alpha1.KindMCPServer, v1alpha1.KindMCPVirtualServer}, slices.Collect(maps.Keys(found)))
	return found
}

// walk calls visit with every part of a definition's schema and its path, such as .spec.headers[].name.
func walk(crd *apiextensionsv1.CustomResourceDefinition, visit func(path string, schema *apiextensionsv1.JSONSchemaProps)) {
	var descend func(path string, schema *apiextensionsv1.JSONSchemaProps)
	descend = func(path string, schema *apiextensionsv1.JSONSchemaProps) {
		visit(path, schema)
		for name, property := range schema.Properties {
			descend(path+"."+name, &property)
		}
		if schema.Items != nil {
			descend(path+"[]", schema.Items.Schema)
		}
	}
	descend("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
}

// What `kubectl explain` tells must be worth reading: every field has words of its own.
func TestEveryFieldIsExplained(t *testing.T) {
	for kind, crd := range definitions(t) {
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			if path == ".metadata" || strings.HasSuffix(path, "[]") && schema.Type == "string" {
				return // Kubernetes' own, and items whose list is explained
			}
			assert.NotEmpty(t, schema.Description, "%s%s", kind, path)
			assert.NotContains(t, schema.Description, "TODO", "%s%s", kind, path)
			assert.NotContains(t, schema.Description, "+kubebuilder", "%s%s", kind, path)
		})
	}
}

// Without a limit, the API server cannot tell what a rule costs, and etcd's limit would be the only one.
func TestEveryListAndTextIsLimited(t *testing.T) {
	for kind, crd := range definitions(t) {
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			if !strings.HasPrefix(path, ".spec") {
				return
			}
			switch schema.Type {
			case "string":
				assert.NotNil(t, schema.MaxLength, "%s%s", kind, path)
			case "array":
				assert.NotNil(t, schema.MaxItems, "%s%s", kind, path)
			}
		})
	}
}

// Every rule in CEL has a message, and a file in testdata/invalid that breaks it.
func TestEveryRuleHasItsExample(t *testing.T) {
	var wanted []string
	for _, file := range files(t, "invalid") {
		_, message := wantedError(t, file)
		wanted = append(wanted, message)
	}
	for kind, crd := range definitions(t) {
		walk(crd, func(path string, schema *apiextensionsv1.JSONSchemaProps) {
			for _, rule := range schema.XValidations {
				assert.NotEmpty(t, rule.Message, "%s%s: %s", kind, path, rule.Rule)
				assert.True(t, slices.ContainsFunc(wanted, func(w string) bool { return strings.Contains(w, rule.Message) }),
					"%s%s: no file in testdata/invalid has the error %q", kind, path, rule.Message)
			}
		})
	}
}

// The examples together have every field, so that what is said of them is said of all.
func TestExamplesAreFull(t *testing.T) {
	set := map[string]bool{}
	for _, file := range files(t, "valid") {
		object := read(t, file)
		var collect func(path string, value any)
		collect = func(path string, value any) {
			set[path] = true
			switch value := value.(type) {
			case map[string]any:
				for name, member := range value {
					collect(path+"."+name, member)
				}
			case []any:
				for _, item := range value {
					collect(path+"[]", item)
				}
			}
		}
		collect(object.GetKind(), object.Object)
	}
	for kind, crd := range definitions(t) {
		walk(crd, func(path string, _ *apiextensionsv1.JSONSchemaProps) {
			if strings.HasPrefix(path, ".spec") {
				assert.True(t, set[kind+path], "no file in testdata/valid has %s%s", kind, path)
			}
		})
	}
}
