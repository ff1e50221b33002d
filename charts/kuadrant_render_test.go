package charts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

const kuadrantData = "testdata/kuadrant"

// kuadrantCases are the files of a folder of Kuadrant's, by name.
func kuadrantCases(t *testing.T, folder string) map[string]string {
	t.Helper()
	return cases(t, filepath.Join("kuadrant", folder))
}

// ofPolicies leaves of a manifest what the subchart of policies made.
func ofPolicies(manifest string) string {
	var out []string
	for document := range strings.SplitSeq(manifest, "\n---\n") {
		if strings.Contains(document, "# Source: mcp-gateway/charts/policies/") {
			out = append(out, strings.TrimPrefix(strings.TrimSpace(document), "---\n"))
		}
	}
	return "---\n" + strings.Join(out, "\n---\n") + "\n"
}

func TestKuadrantGolden(t *testing.T) {
	for name, path := range kuadrantCases(t, "values") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, filepath.Join(kuadrantData, "golden", name+".yaml"), ofPolicies(render(t, release, namespace, "--values", path)))
		})
	}
	for name := range kuadrantCases(t, "golden") {
		assert.Contains(t, kuadrantCases(t, "values"), name, "golden/%s.yaml has no values: remove it", name)
	}
}

// What a schema cannot say, and what Kuadrant cannot do, is said in words.
func TestKuadrantRefused(t *testing.T) {
	for name, path := range kuadrantCases(t, "refused") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := mark(t, path, refusalMark)
			require.NotEmpty(t, want)
			assert.Contains(t, refusal(t, release, namespace, "--values", path), want)
		})
	}
}

// A file for --policies means in the chart what it means elsewhere, and what is refused there is refused here, by the templates themselves too.
func TestFilesForPolicies(t *testing.T) {
	files, err := filepath.Glob("../internal/policy/testdata/*.in.yaml")
	require.NoError(t, err)
	examples, err := filepath.Glob("../policies/examples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, file := range append(files, examples...) {
		switch filepath.Base(file) {
		case "bad-comments.in.yaml", "bad-empty.in.yaml", "bad-documents.in.yaml":
			continue // to helm these are no values, or the first ones
		case "aliases.in.yaml":
			continue // a bare y is true to helm, and refused
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			want, err := policy.Parse(file, text)
			args := []string{"--values", file, "--set", "policies.enabled=true"}
			if err != nil {
				refusal(t, release, namespace, args...)
				if strings.HasSuffix(file, "bad-root-key.in.yaml") {
					return // only a schema sees keys beside policies
				}
				message := refusal(t, release, namespace, append(args, "--skip-schema-validation")...)
				assert.NotContains(t, message, "wrong type for value", "a template must not stumble")
				return
			}
			got := policiesOf(t, text)
			assert.Equal(t, readable(want), readable(got))
		})
	}
}

// policiesOf is what the broker is given for a file, without what Kuadrant cannot do.
func policiesOf(t *testing.T, values []byte) *policy.Set {
	t.Helper()
	args := []string{"--values", valuesFile(t, string(values)), "--set", "policies.enabled=true"}
	manifest, message, ok := helm(t, append([]string{"template", release, chart, "--namespace", namespace}, args...)...)
	if !ok {
		require.Regexp(t, "clockSkew|rateLimitService", message)
		t.Skip("Kuadrant cannot do it: " + message)
	}
	text, _, err := unstructured.NestedString(object(t, manifest, "ConfigMap", kuadrantName).Object, "data", "policies.yaml")
	require.NoError(t, err)
	set, err := policy.Parse("policies.yaml", []byte(text))
	require.NoError(t, err, text)
	return set
}

// readable puts the text of a condition in its place.
func readable(s *policy.Set) *policy.Set {
	for i := range s.ACL {
		if when := s.ACL[i].When; when != nil {
			s.ACL[i].When = &policy.Condition{Source: when.Source}
		}
	}
	return s
}

// A key that nobody gives is made, its two halves belong together, and each release has its own.
func TestKuadrantMakesAKey(t *testing.T) {
	const values = `{policies: {enabled: true, authentication: {issuer: "https://i.example.com", audiences: [a]}, kuadrant: {namespace: authorino}}}`
	keys := map[string]bool{}
	for _, ns := range []string{"one", "two"} {
		manifest := render(t, release, ns, "--values", valuesFile(t, values))
		secret := object(t, manifest, "Secret", "mcp-gateway-"+ns+"-signing-key")
		assert.Equal(t, "authorino", secret.GetNamespace(), "where Authorino reads it")
		private := privateKey(t, secretText(t, secret, "key.pem"))
		public, _, err := unstructured.NestedString(object(t, manifest, "ConfigMap", kuadrantName).Object, "data", "authorizer.pem")
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSpace(string(secretText(t, secret, "public.pem"))), strings.TrimSpace(public))
		verifier := grantsBy(t, public)
		token, err := signed("x", private, map[string]any{"iss": "mcp-gateway", "exp": 1 << 40, "allow": []any{"*"}})
		require.NoError(t, err)
		_, err = verifier.Parse(token)
		require.NoError(t, err)
		assert.NotContains(t, public, "PRIVATE")
		keys[public] = true
	}
	assert.Len(t, keys, 2)
}

const exampleFolder = "../config/example-access-control"

// The example without helm is what the chart makes of the same values, which are those of another example, with servers' names as they are in a cluster.
func TestExampleAccessControl(t *testing.T) {
	const values = exampleFolder + "/policies.yaml"
	var here, there any
	require.NoError(t, yaml.Unmarshal(regexp.MustCompile(`(finance|help|\*)/(ledger|tickets|wiki|weather)\b`).ReplaceAll(read(t, values), []byte("$2")), &here))
	require.NoError(t, yaml.Unmarshal(read(t, "../policies/examples/per-team.yaml"), &there))
	assert.Equal(t, there, here)
	manifest := render(t, release, namespace, "--values", values, "--values", valuesFile(t, `
global: {hostnames: [mcp.example.com], publicURL: "https://mcp.example.com", gateway: {namespace: gateway-system}}
policies: {enabled: true, kuadrant: {signingKey: {existingSecret: mcp-gateway-signing-key, publicKey: "-----BEGIN PUBLIC KEY-----"}}}
`))
	files := map[string]string{"HTTPRoute": "route.yaml", "AuthPolicy": "authpolicy.yaml", "RateLimitPolicy": "ratelimitpolicy.yaml"}
	labels := regexp.MustCompile(`(?m)^  labels:\n(?:    .*\n)+`)
	for document := range strings.SplitSeq(strings.TrimSuffix(ofPolicies(manifest), "\n"), "---\n") {
		o := objects(t, document)
		if len(o) == 0 || files[o[0].GetKind()] == "" {
			continue
		}
		_, text, _ := strings.Cut(document, "\n") // the first line names the template
		golden(t, filepath.Join(exampleFolder, files[o[0].GetKind()]), labels.ReplaceAllString(strings.TrimSpace(text)+"\n", ""))
		delete(files, o[0].GetKind())
	}
	assert.Empty(t, files, "not rendered")
}
