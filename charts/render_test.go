// Package charts tests the charts in its folder with helm itself. What they render to is compared with files (TestGolden, `-update` writes them anew),
// what they refuse with sentences (TestRefused), and a real API server is asked about every rendered object (TestAPIServer, `make test-charts`).
//
// A case is a file: testdata/values/NAME.yaml renders to testdata/golden/NAME.yaml, and testdata/refused/NAME.yaml is refused with the sentence in its first
// line. No Go is needed for another one.
package charts

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	chart = "mcp-gateway"
	// The release and its namespace in the documentation and in golden files.
	release, namespace = "mcp-gateway", "mcp-system"

	envHelm = "HELM_BIN"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files anew")
	flag.Parse()
	if os.Getenv(envHelm) == "" {
		command := exec.Command("../hack/helm.sh")
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			fmt.Fprintf(os.Stderr, "hack/helm.sh, which has helm built, failed: %v\n", err)
			os.Exit(1)
		}
		_ = os.Setenv(envHelm, strings.TrimSpace(string(out)))
	}
	os.Exit(m.Run())
}

func updating() bool {
	return flag.Lookup("update").Value.String() == "true"
}

// render renders the chart, as `helm template` does with further arguments, such as "--values", file, "--set", "a=b", "--api-versions", kind.
func render(t testing.TB, release, namespace string, args ...string) string {
	t.Helper()
	out, message, ok := helm(t, append([]string{"template", release, chart, "--namespace", namespace}, args...)...)
	require.True(t, ok, "helm template %s:\n%s", strings.Join(args, " "), message)
	return out
}

// refusal is helm's error where it refuses to render the chart.
func refusal(t testing.TB, release, namespace string, args ...string) string {
	t.Helper()
	out, message, ok := helm(t, append([]string{"template", release, chart, "--namespace", namespace}, args...)...)
	require.False(t, ok, "helm template %s was to be refused, and rendered:\n%s", strings.Join(args, " "), out)
	return message
}

// helm runs helm in this folder, with no configuration, cache or cluster of the user's.
func helm(t testing.TB, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	home := t.TempDir()
	return helmIn(t, []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home, "KUBECONFIG=/dev/null"}, args...)
}

func helmIn(t testing.TB, env []string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Getenv(envHelm), args...) //nolint:gosec // the program that the tests are run with
	command.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		t.Fatalf("run helm: %v", err)
	}
	return out.String(), errs.String(), err == nil
}

// valuesFile writes values to a file for "--values".
func valuesFile(t testing.TB, values string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(path, []byte(values), 0o600))
	return path
}

// objects reads what was rendered.
func objects(t testing.TB, manifest string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+manifest, "\n---") {
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &object.Object), document)
		if object.Object == nil {
			continue
		}
		require.NotEmpty(t, object.GetKind(), "a document without a kind:\n%s", document)
		require.NotEmpty(t, object.GetName(), "an object without a name:\n%s", document)
		all = append(all, object)
	}
	return all
}

// object is one of those that were rendered.
func object(t testing.TB, manifest, kind, name string) *unstructured.Unstructured {
	t.Helper()
	var known []string
	for _, o := range objects(t, manifest) {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
		known = append(known, o.GetKind()+"/"+o.GetName())
	}
	require.Fail(t, "not rendered", "%s/%s; there are %s", kind, name, strings.Join(known, ", "))
	return nil
}

// golden compares a document with the file that it should be; with -update it becomes the file.
func golden(t testing.TB, path, got string) {
	t.Helper()
	if updating() {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "`go test ./charts -update` writes it")
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what is made now (-file +now); `go test ./charts -update` writes it anew, if that is what is meant:\n%s", path, diff)
	}
}
