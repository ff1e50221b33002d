package charts

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const stack = "mcp-gateway-stack"

// dependency is a chart that another one declares to need.
type dependency struct{ Name, Version, Repository, Condition string }

func dependencies(t *testing.T, chart string) []dependency {
	t.Helper()
	var meta struct{ Dependencies []dependency }
	require.NoError(t, yaml.Unmarshal(read(t, filepath.Join(chart, "Chart.yaml")), &meta))
	require.NotEmpty(t, meta.Dependencies)
	return meta.Dependencies
}

// A checkout of the chart itself installs without network: it declares nothing that is not in it.
func TestNothingIsFetched(t *testing.T) {
	for _, d := range dependencies(t, chart) {
		assert.Empty(t, d.Repository, d.Name)
		assert.FileExists(t, filepath.Join(chart, "charts", d.Name, "Chart.yaml"))
	}
}

// The stack's public charts have a version each, and a switch that is off.
func TestStackDeclares(t *testing.T) {
	var values map[string]struct{ Enabled bool }
	require.NoError(t, yaml.Unmarshal(read(t, filepath.Join(stack, "values.yaml")), &values))
	for _, d := range dependencies(t, stack) {
		assert.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+$`, d.Version, d.Name)
		section, key, _ := strings.Cut(d.Condition, ".")
		require.Equal(t, "enabled", key, d.Name)
		require.Contains(t, values, section)
		if local, ok := strings.CutPrefix(d.Repository, "file://"); ok {
			assert.FileExists(t, filepath.Join(stack, local, "Chart.yaml"))
			assert.True(t, values[section].Enabled)
			continue
		}
		assert.Regexp(t, "^https://", d.Repository)
		assert.False(t, values[section].Enabled, "%s is on by itself", d.Name)
	}
}

// vendored is the stack with what `helm dependency build` would put into it; public charts are stand-ins with one ConfigMap each.
func vendored(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), stack)
	require.NoError(t, os.CopyFS(folder, os.DirFS(stack)))
	for _, d := range dependencies(t, stack) {
		into := filepath.Join(folder, "charts", d.Name)
		if local, ok := strings.CutPrefix(d.Repository, "file://"); ok {
			require.NoError(t, os.CopyFS(into, os.DirFS(filepath.Join(stack, local))))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Join(into, "templates"), 0o755))
		for file, text := range map[string]string{
			"Chart.yaml":          fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", d.Name, d.Version),
			"templates/core.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stand-in-for-%s}\n", d.Name),
		} {
			require.NoError(t, os.WriteFile(filepath.Join(into, file), []byte(text), 0o600))
		}
	}
	return folder
}

// The stack is the gateway's chart, with the same values below its name, and what is switched on beside it.
func TestStack(t *testing.T) {
	folder := vendored(t)
	rendered := func(args ...string) string {
		t.Helper()
		out, message, ok := helm(t, append([]string{"template", release, folder, "--namespace", namespace}, args...)...)
		require.True(t, ok, message)
		return out
	}
	source := regexp.MustCompile(`(?m)^# Source: .*\n`)
	documents := func(manifest string) []string {
		return slices.Sorted(slices.Values(strings.Split(source.ReplaceAllString(settled(manifest), ""), "---\n")))
	}
	assert.Equal(t, documents(render(t, release, namespace)), documents(rendered()), "nothing is set")
	production := filepath.Join(chart, "values-production.yaml")
	var values map[string]any
	require.NoError(t, yaml.Unmarshal(read(t, production), &values))
	below, err := yaml.Marshal(map[string]any{chart: values})
	require.NoError(t, err)
	assert.Equal(t, documents(render(t, release, namespace, "--values", production)), documents(rendered("--values", valuesFile(t, string(below)))))

	platform := map[string]bool{}
	for _, o := range objects(t, rendered("--set", "istio.enabled=true,kuadrant.enabled=true,gateway.enabled=false")) {
		platform[o.GetName()] = true
	}
	assert.Equal(t, []string{"stand-in-for-base", "stand-in-for-istiod", "stand-in-for-kuadrant-operator"}, slices.Sorted(maps.Keys(platform)))
}
