package v1alpha1_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

func guide(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "guides", name))
	require.NoError(t, err)
	return string(data)
}

// Whoever sees a reason in a status finds it in the guide.
func TestEveryReasonIsInTheGuide(t *testing.T) {
	text := guide(t, "troubleshooting.md")
	file, err := parser.ParseFile(token.NewFileSet(), "conditions.go", nil, 0)
	require.NoError(t, err)
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		found++
		assert.Contains(t, text, "`"+value+"`", "docs/guides/troubleshooting.md does not tell of %s", spec.Names[0].Name)
		return true
	})
	assert.Greater(t, found, 20)
}

// testGuides has the API server judge what the guides say to apply. Istio's kinds it does not know.
func testGuides(t *testing.T, c client.Client) {
	for _, namespace := range []string{"team", "routes", "mcp-system"} {
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		require.NoError(t, c.Create(t.Context(), object))
	}
	kinds := map[string]int{}
	for _, name := range []string{"kubernetes-install.md", "register-a-server.md", "external-servers.md"} {
		for i, block := range strings.Split(guide(t, name), "```") {
			text, ok := strings.CutPrefix(block, "yaml\n")
			if i%2 == 0 || !ok {
				continue
			}
			for document := range strings.SplitSeq(text, "---\n") {
				object := &unstructured.Unstructured{}
				require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object), document)
				if object.GetKind() == "ServiceEntry" {
					continue
				}
				kinds[object.GetKind()]++
				require.NoError(t, c.Create(t.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)), "%s:\n%s", name, document)
			}
		}
	}
	for _, kind := range []string{"MCPServer", "MCPVirtualServer", "HTTPRoute", "ReferenceGrant", "Secret"} {
		assert.Positive(t, kinds[kind], kind)
	}
}
