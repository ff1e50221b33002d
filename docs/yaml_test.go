package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
)

// foreign are documents that others read, by how they begin, and who holds them to something, if anybody does.
func foreign() map[string]string {
	return map[string]string{
		"apiVersion: kustomize.config.k8s.io/v1beta1": "TestOverlays in internal/controller, and TestExampleAccessControl in charts, render them",
		"apiVersion: networking.istio.io/v1":          "Istio's own kind",
		"apiVersion: mcp.kuadrant.io/v1alpha1":        "what is to be migrated",
		"meshConfig:":                                 "values of Istio's chart",
		"extensionProviders:":                         "a part of Istio's mesh configuration",
		"# valkey.yaml":                               "values of Valkey's chart",
		"# in kustomization.yaml":                     "a part of a kustomization",
	}
}

// TestEveryYAMLIsRead: each block of YAML is taken by the very decoder that it is for, which knows every field. One that nobody reads is an error, too.
func TestEveryYAMLIsRead(t *testing.T) {
	read := newReader(t)
	counts := map[string]int{}
	for path, page := range pages(t) {
		for _, block := range guidetest.Blocks(path, page) {
			if !slices.Contains([]string{"yaml", "yml"}, block.Language) {
				continue
			}
			for document := range strings.SplitSeq(block.Text, "\n---\n") {
				what, err := read.document(document)
				counts[what]++
				if err != nil {
					t.Errorf("%s:%d: as %s: %v", path, block.Line, what, err)
				}
			}
		}
	}
	for what, least := range map[string]int{"a configuration": 15, "policy values": 9, "a Kubernetes object": 15, "the chart's values": 4, "decision tests": 1} {
		assert.GreaterOrEqual(t, counts[what], least, "%s: %v", what, counts)
	}
}

// reader has the decoders that are made once.
type reader struct {
	kubernetes runtime.Decoder
	values     *jsonschema.Schema
	scratch    string
}

func newReader(t *testing.T) *reader {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, v1alpha1.AddToScheme} {
		require.NoError(t, add(scheme))
	}
	values, err := jsonschema.NewCompiler().Compile("../charts/mcp-gateway/values.schema.json")
	require.NoError(t, err)
	r := &reader{kubernetes: serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer(), values: values, scratch: t.TempDir()}
	require.NoError(t, os.Mkdir(filepath.Join(r.scratch, "tests"), 0o755))
	require.NoError(t, os.CopyFS(filepath.Join(r.scratch, "examples"), os.DirFS("../policies/examples")))
	return r
}

// document reads one, and says as what.
func (r *reader) document(text string) (what string, err error) {
	for begins, whose := range foreign() {
		if strings.Contains("\n"+text, "\n"+begins) {
			return whose, nil
		}
	}
	var top any
	if err := yaml.Unmarshal([]byte(text), &top); err != nil {
		return "YAML", err
	}
	switch top := top.(type) {
	case nil:
		return comment(text)
	case []any:
		return "policy values", parsePolicies("acl:\n" + indented(text))
	case map[string]any:
		return r.object(text, top)
	}
	return "YAML", errors.New("nobody reads this: give TestEveryYAMLIsRead a decoder for it")
}

func (r *reader) object(text string, top map[string]any) (what string, err error) {
	has := func(key string) bool { return top[key] != nil }
	switch {
	case has("apiVersion"):
		_, _, err := r.kubernetes.Decode([]byte(text), nil, nil)
		return "a Kubernetes object", err
	case has("servers"):
		return "a configuration", parseConfig(text)
	case has("virtualServers"):
		return "a configuration", parseConfig("servers:\n  - {name: weather, url: \"http://a.example.com\"}\n  - {name: reports, url: \"http://b.example.com\"}\n" + text)
	case has("credential"):
		return "a configuration", parseConfig("servers:\n  - name: a\n    url: http://a.example.com/mcp\n" + text)
	case has("cases"):
		path := filepath.Join(r.scratch, "tests", "page.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "decision tests", err
		}
		_, err := policytest.Load(filepath.Dir(path))
		return "decision tests", err
	case has("policies"):
		values, _ := top["policies"].(map[string]any)
		if has("global") || values["enabled"] != nil || values["engine"] != nil || values["kuadrant"] != nil {
			return "the chart's values", r.chart(top)
		}
		_, err := policy.Parse("page", []byte(text))
		return "policy values", err
	case has("allow"):
		return "policy values", parsePolicies("acl:\n  - everyone: true\n" + indented(indented(text)))
	case has("authentication"):
		_, err := policy.Parse("page", []byte("policies:\n"+indented(text)))
		return "policy values", err
	case has("rateLimits"):
		return "policy values", parsePolicies(text)
	}
	return "YAML", errors.New("nobody reads this: give TestEveryYAMLIsRead a decoder for it")
}

// chart has the schema, by which helm judges values as well, look at them.
func (r *reader) chart(values map[string]any) error {
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	return r.values.Validate(document)
}

// comment is one for an editor: what it names is a file.
func comment(text string) (what string, err error) {
	_, path, ok := strings.Cut(strings.TrimSpace(text), "# yaml-language-server: $schema=")
	if !ok {
		return "YAML", errors.New("there is nothing in it")
	}
	_, err = os.Stat(filepath.Join("..", path))
	return "a comment", err
}

func parseConfig(text string) error {
	if problems := configProblems(text); len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, ""))
	}
	return nil
}

// parsePolicies parses a part of policy values, where callers have tokens.
func parsePolicies(part string) error {
	_, err := policy.Parse("page", []byte("policies:\n  authentication: {issuer: \"https://login.example.com\", audiences: [a]}\n"+indented(part)))
	return err
}

func indented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString("  " + line)
	}
	return out.String()
}
