package istio_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// policiesLabel is what all objects of the chart's policies bear.
const policiesLabel = "app.kubernetes.io/name=mcp-gateway-policies"

// renderPolicies is what the chart makes of policy values for the broker and the Gateway of these tests, or what it says where it refuses them.
func renderPolicies(t *testing.T, values string, more ...string) (manifest string, refused error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"template", "mcp-gateway", "../../../charts/mcp-gateway", "--namespace", "mcp-system", "--kube-version", "1.37.0", "--values", file,
		"--set", "policies.enabled=true,policies.engine=istio,global.gateway.name=mcp,global.gateway.namespace=gateways",
	}, more...)
	cmd := exec.CommandContext(t.Context(), testbed.Program(t, helmBin), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", errors.New(stderr.String())
	}
	var ours strings.Builder
	for document := range strings.SplitSeq(stdout.String(), "\n---\n") {
		if strings.Contains(document, "# Source: mcp-gateway/charts/policies/templates/") {
			ours.WriteString("\n---\n" + document)
		}
	}
	return ours.String(), nil
}

// inForce is how much of policies Envoy has, by what it does.
type inForce struct{ Tokens, Denying, Allowing, Limits int }

// meant is what Envoy should have of a rendering.
func meant(t *testing.T, manifest string) inForce {
	t.Helper()
	var sum inForce
	for document := range strings.SplitSeq("\n"+manifest, "\n---") {
		var object struct {
			Kind string `json:"kind"`
			Spec struct {
				Action        string `json:"action"`
				Rules         []any  `json:"rules"`
				JWTRules      []any  `json:"jwtRules"`
				ConfigPatches []struct {
					Patch struct {
						Value filter `json:"value"`
					} `json:"patch"`
				} `json:"configPatches"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		sum.Tokens += len(object.Spec.JWTRules)
		for _, p := range object.Spec.ConfigPatches {
			sum.Limits += len(p.Patch.Value.Config.Descriptors)
		}
		if object.Spec.Action == "DENY" {
			sum.Denying += len(object.Spec.Rules)
		} else {
			sum.Allowing += len(object.Spec.Rules)
		}
	}
	return sum
}

// has is what Envoy has of policies.
func (w *world) has(t *testing.T) inForce {
	t.Helper()
	var sum inForce
	chain, _ := w.filters(t)
	for _, f := range chain {
		sum.Tokens += len(f.Config.Providers)
		sum.Limits += len(f.Config.Descriptors)
		if denying, policies := f.Config.access(); denying {
			sum.Denying += policies
		} else {
			sum.Allowing += policies
		}
	}
	return sum
}

// enforce applies policy values and waits until Envoy has what they mean.
func (w *world) enforce(t *testing.T, values string, more ...string) {
	t.Helper()
	manifest, refused := renderPolicies(t, values, more...)
	if refused != nil {
		t.Fatalf("the chart refuses the values: %v", refused)
	}
	w.put(t, manifest)
}

// put applies what was rendered and waits until Envoy has it.
func (w *world) put(t *testing.T, manifest string) {
	t.Helper()
	want := meant(t, manifest)
	if want == (inForce{}) {
		return // there is nothing to enforce
	}
	w.kubectl(t, manifest, "apply", "-f", "-")
	testbed.Await(t, "the policies to be in force", func() bool { return w.has(t) == want })
}

// lift takes all of the chart's policies away.
func (w *world) lift(t *testing.T) {
	t.Helper()
	w.kubectl(t, "", "-n", "gateways", "delete", "authorizationpolicies,requestauthentications,envoyfilters", "-l", policiesLabel)
	testbed.Await(t, "a Gateway without policies", func() bool { return w.has(t) == inForce{} })
}
