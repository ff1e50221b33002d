package charts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file of values may say in its first line how helm is called beside them, as in `# helm: --namespace team --set broker.replicas=2`.
const argsMark = "# helm:"

// A file of values that are refused says in its first line by which words.
const refusalMark = "# refused:"

// TestGolden renders testdata/values/NAME.yaml to testdata/golden/NAME.yaml.
func TestGolden(t *testing.T) {
	for name, path := range cases(t, "values") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, filepath.Join("testdata", "golden", name+".yaml"), settled(render(t, release, namespace, valuesArgs(t, path)...)))
		})
	}
}

// TestGoldenOrphans finds golden files that no case makes any more.
func TestGoldenOrphans(t *testing.T) {
	values := cases(t, "values")
	for name := range cases(t, "golden") {
		assert.Contains(t, values, name, "testdata/golden/%s.yaml has no values: remove it", name)
	}
}

// TestRefused gives the chart what it must not take.
func TestRefused(t *testing.T) {
	for name, path := range cases(t, "refused") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := mark(t, path, refusalMark)
			require.NotEmpty(t, want, "%s must begin with %q and the words of the error", path, refusalMark)
			assert.Contains(t, refusal(t, release, namespace, "--values", path), want)
		})
	}
}

// cases are the files of a folder in testdata, by name.
func cases(t *testing.T, folder string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	require.NoError(t, err)
	found := make(map[string]string, len(paths))
	for _, path := range paths {
		found[strings.TrimSuffix(filepath.Base(path), ".yaml")] = path
	}
	return found
}

// mark is what follows a mark in the first line of a file.
func mark(t *testing.T, path, mark string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(text), "\n")
	rest, _ := strings.CutPrefix(line, mark)
	if rest == line {
		return ""
	}
	return strings.TrimSpace(rest)
}

// valuesArgs are helm's arguments for a case: its values, and what its first line says.
func valuesArgs(t *testing.T, path string) []string {
	t.Helper()
	return append([]string{"--values", path}, strings.Fields(mark(t, path, argsMark))...)
}

// settled takes out what is random in each rendering: keys and passwords.
func settled(manifest string) string {
	manifest = regexp.MustCompile(`(?m)^(  (?:key|password|key\.pem|public\.pem): )[A-Za-z0-9+/=]{40,}$`).ReplaceAllString(manifest, "${1}RANDOM")
	return regexp.MustCompile(`(?m)^( +)-----BEGIN ([A-Z ]+)-----\n(?: +[A-Za-z0-9+/=]+\n)+`).ReplaceAllString(manifest, "${1}-----BEGIN ${2}-----\n${1}RANDOM\n")
}

// TestLint has helm look at the chart with each profile and with nothing changed.
func TestLint(t *testing.T) {
	profiles, err := filepath.Glob(filepath.Join(chart, "values-*.yaml"))
	require.NoError(t, err)
	require.Len(t, profiles, 2)
	for _, path := range append(profiles, filepath.Join(chart, "values.yaml")) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			out, message, ok := helm(t, "lint", chart, "--strict", "--values", path)
			assert.True(t, ok, "%s%s", out, message)
		})
	}
}
