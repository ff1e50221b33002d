package translator_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

var update = flag.Bool("update", false, "write what the tests see into their golden files")

// Each case is objects as a cluster has them (*.in.yaml, whose first lines say what it is about) and what comes of them (*.out.yaml).
func TestGolden(t *testing.T) {
	reasons := map[string]bool{}
	for _, input := range glob(t, "*.in.yaml") {
		base := strings.TrimSuffix(input, ".in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			data, err := os.ReadFile(input)
			require.NoError(t, err)
			in := read(t, data)
			out := translator.Translate(in)
			golden(t, base+".out.yaml", render(t, out))
			if out.Fits {
				requireReadable(t, out)
			}
			requireSettled(t, in, out)
			collect(reasons, out)
		})
	}
	for _, reason := range everyReason() {
		assert.True(t, reasons[reason], "no case shows %s", reason)
	}
}

func TestGoldenFilesHaveInputs(t *testing.T) {
	for _, output := range glob(t, "*.out.yaml") {
		assert.FileExists(t, strings.TrimSuffix(output, ".out.yaml")+".in.yaml")
	}
}

// everyReason is every condition with every reason that objects alone can give it.
func everyReason() []string {
	of := func(condition string, reasons ...string) []string {
		for i := range reasons {
			reasons[i] = condition + "=" + reasons[i]
		}
		return reasons
	}
	server := append(append(
		of("MCPServer Accepted", v1alpha1.ReasonAccepted, v1alpha1.ReasonPending, v1alpha1.ReasonInvalid, v1alpha1.ReasonUnsupportedRoute, v1alpha1.ReasonNotAttached, v1alpha1.ReasonNotPermitted),
		of("MCPServer ResolvedRefs", v1alpha1.ReasonResolvedRefs, v1alpha1.ReasonPending, v1alpha1.ReasonTargetNotFound, v1alpha1.ReasonBackendNotFound, v1alpha1.ReasonRefNotPermitted,
			v1alpha1.ReasonInvalidCredential, v1alpha1.ReasonInvalidCACertificate, v1alpha1.ReasonVirtualServerNotFound)...),
		of("MCPServer Programmed", v1alpha1.ReasonProgrammed, v1alpha1.ReasonNotUsable, v1alpha1.ReasonTooLarge, v1alpha1.ReasonDisabled)...)
	virtual := append(append(
		of("MCPVirtualServer Accepted", v1alpha1.ReasonAccepted, v1alpha1.ReasonInvalid, v1alpha1.ReasonConflict),
		of("MCPVirtualServer ResolvedRefs", v1alpha1.ReasonResolvedRefs, v1alpha1.ReasonServerNotFound)...),
		of("MCPVirtualServer Programmed", v1alpha1.ReasonProgrammed, v1alpha1.ReasonNotUsable, v1alpha1.ReasonTooLarge)...)
	return append(append(server, virtual...), "Problem="+translator.ProblemGatewayNotFound, "Problem="+translator.ProblemTooLarge, "Problem="+translator.ProblemNoEndpoint, "Problem="+translator.ProblemEndpointHost)
}

func collect(reasons map[string]bool, out translator.Output) {
	note := func(kind string, conditions []metav1.Condition) {
		for _, c := range conditions {
			reasons[kind+" "+c.Type+"="+c.Reason] = true
		}
	}
	for _, s := range out.ServerStatuses {
		note("MCPServer", s.Conditions)
	}
	for _, s := range out.VirtualServerStatuses {
		note("MCPVirtualServer", s.Conditions)
	}
	for _, p := range out.Problems {
		reasons["Problem="+p.Reason] = true
	}
}

// requireSettled proves that a second look at the same objects, with the statuses of the first, finds nothing to write.
func requireSettled(t *testing.T, in translator.Input, first translator.Output) {
	t.Helper()
	in.MCPServers = append([]*v1alpha1.MCPServer(nil), in.MCPServers...)
	in.MCPVirtualServers = append([]*v1alpha1.MCPVirtualServer(nil), in.MCPVirtualServers...)
	apply(&in, first)
	in.Now = metav1.NewTime(in.Now.Add(time.Hour))
	second := translator.Translate(in)
	require.Equal(t, string(first.Config), string(second.Config))
	require.Equal(t, first.Digest, second.Digest)
	for i, s := range second.ServerStatuses {
		require.False(t, s.Changed, "%s", s.Key)
		require.Equal(t, first.ServerStatuses[i].Conditions, s.Conditions)
	}
	for i, s := range second.VirtualServerStatuses {
		require.False(t, s.Changed, "%s", s.Key)
		require.Equal(t, first.VirtualServerStatuses[i].Conditions, s.Conditions)
	}
	requireFound(t, in, first)
}

// requireFound proves that what is in a configuration is found in it when it has been written.
func requireFound(t *testing.T, in translator.Input, first translator.Output) {
	t.Helper()
	if !first.Fits {
		return // then it is never written
	}
	in.Written = first.Config
	has, hasVirtual := map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}
	for _, s := range first.Servers {
		has[s.Key] = true
	}
	for _, v := range first.VirtualServers {
		hasVirtual[v.Key] = true
	}
	again := translator.Translate(in)
	for _, s := range again.ServerStatuses {
		require.Equal(t, has[s.Key], s.Written, "%s", s.Key)
	}
	for _, s := range again.VirtualServerStatuses {
		require.Equal(t, hasVirtual[s.Key], s.Written, "the virtual %s", s.Key)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/" + pattern)
	require.NoError(t, err)
	require.NotEmpty(t, names)
	return names
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update")
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// rendered is an output as golden files show it: the configuration as it is written, and digests of what lies beside it.
type rendered struct {
	Problems      []string               `json:"problems,omitempty"`
	Config        string                 `json:"config"`
	Credentials   map[string]string      `json:"credentials,omitempty"`
	Certificates  map[string]string      `json:"certificates,omitempty"`
	Clusters      map[string]string      `json:"clusters,omitempty"`
	Endpoint      []string               `json:"endpoint,omitempty"`
	Bypasses      []string               `json:"bypasses,omitempty"`
	Statuses      map[string]any         `json:"statuses,omitempty"`
	VirtualStatus map[string]interface{} `json:"virtualStatuses,omitempty"`
}

func render(t *testing.T, out translator.Output) string {
	t.Helper()
	r := rendered{
		Config: string(out.Config), Credentials: map[string]string{}, Certificates: map[string]string{}, Clusters: map[string]string{},
		Statuses: map[string]any{}, VirtualStatus: map[string]any{},
	}
	if len(out.Config) > 4096 {
		r.Config = digest(string(out.Config))
	}
	for _, p := range out.Problems {
		r.Problems = append(r.Problems, p.Reason+": "+p.Message)
	}
	for key, value := range out.Credentials {
		r.Credentials[key] = digest(value.Reveal())
	}
	for key, value := range out.Certificates {
		r.Certificates[key] = digest(string(value))
	}
	for _, s := range out.Servers {
		r.Clusters[s.Name] = s.Cluster
	}
	// They are of use together only.
	if r.Endpoint = out.Endpoint; len(r.Endpoint) > 0 {
		for _, p := range out.Bypasses {
			r.Bypasses = append(r.Bypasses, p.Host+" "+string(p.Kind)+" "+p.Value)
		}
	}
	for _, s := range out.ServerStatuses {
		r.Statuses[s.Key.String()] = status(s.Conditions, s.Endpoint, s.Changed, s.Release)
	}
	for _, s := range out.VirtualServerStatuses {
		r.VirtualStatus[s.Key.String()] = status(s.Conditions, s.Path, s.Changed, s.Release)
	}
	if len(r.Statuses) > 40 {
		r.Statuses, r.Credentials, r.Clusters = sample(r.Statuses), sample(r.Credentials), nil
	}
	text, err := yaml.Marshal(r)
	require.NoError(t, err)
	return string(text)
}

// sample keeps the ends of what is long and all alike.
func sample[V any](all map[string]V) map[string]V {
	kept := map[string]V{}
	for i, key := range slices.Sorted(maps.Keys(all)) {
		if i < 2 || i >= len(all)-2 {
			kept[key] = all[key]
		}
	}
	return kept
}

func status(conditions []metav1.Condition, place string, changed, release bool) any {
	if release {
		return "released"
	}
	shown := map[string]any{}
	if place != "" {
		shown["place"] = place
	}
	if !changed {
		shown["unchanged"] = true
	}
	for _, c := range conditions {
		text := string(c.Status) + "/" + c.Reason
		if c.ObservedGeneration != 0 {
			text += " of generation " + string(rune('0'+c.ObservedGeneration))
		}
		if !c.LastTransitionTime.Equal(new(now())) {
			text += " since " + c.LastTransitionTime.UTC().Format(time.DateTime)
		}
		shown[c.Type] = text + ": " + c.Message
	}
	return shown
}
