package charts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/internal/k8stest"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	istioValues = ".values.yaml"
	// refusedByIstio are the values that the chart refuses for this engine.
	refusedByIstio = "refused"
)

// istioPolicies is what the chart makes of a file of values for the engine istio, without the comments on where it comes from.
func istioPolicies(t testing.TB, file string, args ...string) string {
	t.Helper()
	manifest := render(t, release, namespace, append([]string{"--values", file, "--set", "policies.enabled=true,policies.engine=istio"}, args...)...)
	var ours strings.Builder
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		if source, rest, ok := strings.Cut(document, "\n"); ok && strings.Contains(source, "/charts/policies/templates/istio") {
			ours.WriteString("---\n" + rest + "\n")
		}
	}
	return ours.String()
}

func istioCases(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "istio", "*"+istioValues))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	return paths
}

func TestIstioPolicies(t *testing.T) {
	for _, path := range istioCases(t) {
		base := strings.TrimSuffix(path, istioValues)
		t.Run(filepath.Base(base), func(t *testing.T) {
			if filepath.Base(base) != refusedByIstio {
				golden(t, base+".yaml", istioPolicies(t, path))
				return
			}
			message := refusal(t, release, namespace, "--values", path, "--set", "policies.enabled=true,policies.engine=istio")
			_, problems, found := strings.Cut(message, "the policies cannot be used:\n")
			require.True(t, found, message)
			message, _, _ = strings.Cut(problems, "\n\n")
			golden(t, base+".txt", message+"\n")
		})
	}
}

// Requests that name an item are told by their methods: all that the decision tests have are known to the rule for those that name none.
func TestIstioKnowsWhatNamesAnItem(t *testing.T) {
	files, err := policytest.Load("../policies/tests")
	require.NoError(t, err)
	text := istioPolicies(t, filepath.Join("testdata", "istio", "nobody"+istioValues))
	for _, f := range files {
		for _, c := range f.Cases {
			if c.Request.Kind != policy.None {
				assert.Contains(t, text, "- "+c.Method+"\n", "%s: %s", f.Name, c.Name)
			}
		}
	}
}

// One AuthorizationPolicy holds 512 rules. More become several, and none is lost.
func TestIstioHoldsManyRules(t *testing.T) {
	values := "policies:\n  acl:\n"
	for range 1200 {
		values += "    - {everyone: true, allow: [tool]}\n"
	}
	rules, objects := 0, objects(t, istioPolicies(t, valuesFile(t, values)))
	require.Len(t, objects, 3)
	names := map[string]bool{}
	for _, o := range objects {
		list, _, err := unstructured.NestedSlice(o.Object, "spec", "rules")
		require.NoError(t, err)
		assert.LessOrEqual(t, len(list), 512)
		rules += len(list)
		names[o.GetName()] = true
	}
	assert.Len(t, names, 3)
	assert.Equal(t, 1200+2, rules)
}

// The API server takes every object, with no field that it does not know. Policies of others that our own would undo are found there.
func TestIstioPoliciesAtAPIServer(t *testing.T) {
	definitions := os.Getenv("ISTIO_CRDS")
	if definitions == "" {
		t.Skip("ISTIO_CRDS is not set: `make test-charts` runs this")
	}
	cluster := k8stest.Start(t)
	out, ok := cluster.Kubectl(t.Context(), t, "", "apply", "--server-side", "-f", definitions)
	require.True(t, ok, out)
	out, ok = cluster.Kubectl(t.Context(), t, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	require.True(t, ok, out)
	for _, name := range []string{namespace, "gateways"} {
		require.NoError(t, cluster.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	strict := client.WithFieldValidation(k8stest.NewClient(t, cluster.Config), metav1.FieldValidationStrict)
	for _, path := range istioCases(t) {
		if strings.Contains(path, refusedByIstio) {
			continue
		}
		for _, o := range objects(t, istioPolicies(t, path)) {
			require.NoError(t, strict.Create(t.Context(), o, client.DryRunAll), "%s: %s/%s", path, o.GetKind(), o.GetName())
		}
	}
	t.Run("policies of others", func(t *testing.T) { testOthersPolicies(t, cluster) })
}

// testOthersPolicies is about AuthorizationPolicies that allow something at the same Gateway.
func testOthersPolicies(t *testing.T, cluster *k8stest.Cluster) {
	rendered := func(args ...string) (message string, ok bool) {
		_, message, ok = helmIn(t, []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + cluster.Kubeconfig()}, append([]string{
			"template", release, chart, "--namespace", namespace, "--dry-run=server", "--values", filepath.Join("testdata", "istio", "full"+istioValues),
			"--set", "policies.enabled=true,policies.engine=istio,gateway.enabled=false",
		}, args...)...)
		return message, ok
	}
	for name, tc := range map[string]struct {
		spec  string
		where string
		alone bool
	}{
		"ours":                 {"targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: mcp}]", "gateways/mcp-mcp-access", true},
		"ours, the next":       {"action: ALLOW", "gateways/mcp-mcp-access-1", true},
		"for the Gateway":      {"targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: mcp}]", "gateways/shop", false},
		"for the Gateway, old": {"targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp}", "gateways/shop", false},
		"for the namespace":    {"rules: [{}]", "gateways/all", false},
		"for another Gateway":  {"targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: other}]", "gateways/other", true},
		"that denies":          {"{action: DENY, rules: [{}]}", "gateways/nobody", true},
		"in another namespace": {"rules: [{}]", namespace + "/all", true},
	} {
		t.Run(name, func(t *testing.T) {
			space, object, _ := strings.Cut(tc.where, "/")
			text := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + object + ", namespace: " + space + "}\nspec:\n  " + tc.spec + "\n"
			out, ok := cluster.Kubectl(t.Context(), t, text, "apply", "-f", "-")
			require.True(t, ok, out)
			defer cluster.Kubectl(t.Context(), t, "", "-n", space, "delete", "authorizationpolicy", object)
			message, ok := rendered()
			if tc.alone {
				assert.True(t, ok, message)
				return
			}
			assert.Contains(t, message, `policies.istio.othersPass: the AuthorizationPolicy "`+tc.where+`" allows requests at the Gateway too`)
			message, ok = rendered("--set", "policies.istio.othersPass=false")
			assert.True(t, ok, message)
		})
	}
}

// limiter is a filter that counts, as both renderings have it. The order of its members does not matter.
type limiter map[string]any

// Limits count what they count at an Envoy that the gateway feeds itself, under the same keys and with the same budgets.
func TestIstioLimitsAreEnvoys(t *testing.T) {
	files, err := policytest.Load("../policies/tests")
	require.NoError(t, err)
	full, err := os.ReadFile(filepath.Join("testdata", "istio", "full"+istioValues))
	require.NoError(t, err)
	values := map[string][]byte{"full": full}
	for _, f := range files {
		if len(f.Set.RateLimits) > 0 {
			values[f.Name] = f.Values
		}
	}
	for name, text := range values {
		t.Run(name, func(t *testing.T) {
			text, set := onlyLimits(t, text)
			got := istioLimiters(t, istioPolicies(t, valuesFile(t, string(text))))
			require.Len(t, got, len(set.RateLimits))
			for i := range set.RateLimits {
				limit := set.RateLimits[i]
				want := ownLimiter(t, &policy.Set{Authentication: set.Authentication, RateLimits: []policy.RateLimit{limit}})
				is := got["mcp-gateway-limit-"+limit.Name]
				require.NotNil(t, is, limit.Name)
				delete(is, "response_headers_to_add") // how Istio's clients learn when to try again
				delete(want, "enable_retry_after_header")
				assert.Equal(t, want, is, limit.Name)
			}
		})
	}
}

// onlyLimits is what of values is needed for limits, as a file and as it is read.
func onlyLimits(t *testing.T, text []byte) ([]byte, *policy.Set) {
	t.Helper()
	var file map[string]map[string]any
	require.NoError(t, yaml.Unmarshal(text, &file))
	kept := map[string]any{}
	for _, key := range []string{"authentication", "rateLimits"} {
		if v, ok := file["policies"][key]; ok {
			kept[key] = v
		}
	}
	out, err := yaml.Marshal(map[string]any{"policies": kept})
	require.NoError(t, err)
	out = withoutClockSkew(t, out)
	set, err := policy.Parse("limits.yaml", out)
	require.NoError(t, err)
	if set.Authentication != nil {
		set.Authentication.JWKSURI = "http://issuer.example.com/keys" // which a static file needs
	}
	return out, set
}

// istioLimiters are the filters that the chart renders, by their names.
func istioLimiters(t *testing.T, manifest string) map[string]limiter {
	t.Helper()
	found := map[string]limiter{}
	for _, o := range objects(t, manifest) {
		patches, _, err := unstructured.NestedSlice(o.Object, "spec", "configPatches")
		require.NoError(t, err)
		for _, p := range patches {
			value, _, err := unstructured.NestedMap(p.(map[string]any), "patch", "value")
			require.NoError(t, err)
			config := value["typed_config"].(map[string]any)
			found[value["name"].(string)] = alike(t, config, "text")
		}
	}
	return found
}

// ownLimiter is the filter of an Envoy that the gateway feeds itself.
func ownLimiter(t *testing.T, set *policy.Set) limiter {
	t.Helper()
	text, err := xds.Static(xds.Options{
		Listen: "127.0.0.1:8888", Router: "127.0.0.1:1", Broker: "127.0.0.1:2", Values: &xds.PolicyValues{Set: set},
	}, nil)
	require.NoError(t, err)
	var file any
	require.NoError(t, yaml.Unmarshal(text, &file))
	config := namedFilter(file, "mcp-gateway-limits")
	require.NotNil(t, config)
	// Istio has the payload of a token under a name of its own.
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(raw), `"jwt_payload"`, `"payload"`)), &config))
	return alike(t, config, "parsed")
}

// namedFilter looks through a document for the configuration of a filter.
func namedFilter(at any, name string) map[string]any {
	switch at := at.(type) {
	case map[string]any:
		if config, ok := at["typed_config"].(map[string]any); ok && at["name"] == name {
			return config
		}
		for _, inner := range at {
			if found := namedFilter(inner, name); found != nil {
				return found
			}
		}
	case []any:
		for _, inner := range at {
			if found := namedFilter(inner, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// alike is a configuration whose expressions are in the one form, and whose numbers are of one type.
func alike(t *testing.T, config map[string]any, key string) limiter {
	t.Helper()
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	var out limiter
	require.NoError(t, json.Unmarshal(raw, &out))
	for _, rate := range out["rate_limits"].([]any) {
		for _, action := range rate.(map[string]any)["actions"].([]any) {
			extension, ok := action.(map[string]any)["extension"].(map[string]any)
			if !ok {
				continue
			}
			typed := extension["typed_config"].(map[string]any)
			typed["expression"] = unparsed(t, typed[key])
			delete(typed, key)
		}
	}
	return out
}

// unparsed writes an expression that stands there as a text or as a tree.
func unparsed(t *testing.T, is any) string {
	t.Helper()
	var tree ast.Expr
	if text, ok := is.(string); ok {
		env, err := cel.NewEnv()
		require.NoError(t, err)
		parsed, issues := env.Parse(text)
		require.NoError(t, issues.Err(), text)
		tree = parsed.NativeRep().Expr()
	} else {
		raw, err := json.Marshal(is)
		require.NoError(t, err)
		var message expr.Expr
		require.NoError(t, protojson.Unmarshal(raw, &message))
		tree, err = ast.ProtoToExpr(&message)
		require.NoError(t, err)
	}
	out, err := parser.Unparse(tree, ast.NewSourceInfo(nil))
	require.NoError(t, err)
	return out
}
