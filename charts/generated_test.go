package charts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/hack/chartgen"
)

const (
	sectionsMark = "# --- What follows is made of the subcharts' own values: change those, and run `go test ./charts -update`. ---"
	tableMark    = "<!-- What follows is made of values.yaml by `go test ./charts -update`; changes here are overwritten. -->"
)

// subchart is a dependency of the umbrella's.
type subchart struct{ Name, Alias, Version, Condition string }

func (s subchart) key() string {
	if s.Alias != "" {
		return s.Alias
	}
	return s.Name
}

func (s subchart) file(t *testing.T, elements ...string) []byte {
	t.Helper()
	return read(t, filepath.Join(append([]string{chart, "charts", s.Name}, elements...)...))
}

// subcharts are those that Chart.yaml declares, in its order.
func subcharts(t *testing.T) []subchart {
	t.Helper()
	var meta struct{ Dependencies []subchart }
	require.NoError(t, yaml.Unmarshal(read(t, filepath.Join(chart, "Chart.yaml")), &meta))
	require.NotEmpty(t, meta.Dependencies)
	return meta.Dependencies
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// TestGenerated holds what is made of the values, and the copies of what stands elsewhere, against their sources. It comes first, since all others use them.
func TestGenerated(t *testing.T) {
	copies(t)
	path := filepath.Join(chart, "values.yaml")
	text, err := chartgen.Compose(read(t, path), sectionsMark, sections(t))
	require.NoError(t, err)
	golden(t, path, string(text))

	values, err := chartgen.Parse(text)
	require.NoError(t, err)
	var keys []string
	for _, s := range subcharts(t) {
		keys = append(keys, s.key())
	}
	schema, err := chartgen.Schema("Values of the MCP Gateway's chart", values, "global", keys,
		chartgen.Embedded{Key: "policies", Text: read(t, filepath.Join("..", "policies", "policies.schema.json")), Property: "policies"})
	require.NoError(t, err)
	golden(t, filepath.Join(chart, "values.schema.json"), string(schema))

	path = filepath.Join(chart, "README.md")
	before, _, ok := strings.Cut(string(read(t, path)), tableMark)
	require.True(t, ok, "%s must have the line %s", path, tableMark)
	golden(t, path, before+tableMark+"\n"+chartgen.Table(values, "###"))
}

func sections(t *testing.T) []chartgen.Section {
	t.Helper()
	var all []chartgen.Section
	for _, s := range subcharts(t) {
		var meta struct{ Description string }
		require.NoError(t, yaml.Unmarshal(s.file(t, "Chart.yaml"), &meta))
		all = append(all, chartgen.Section{Key: s.key(), Comment: meta.Description, Text: s.file(t, "values.yaml")})
	}
	return all
}

// copies are files that a chart must have inside of it, and that another folder is the source of.
func copies(t *testing.T) {
	t.Helper()
	of := map[string]string{}
	definitions, err := filepath.Glob("../config/crd/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, definitions)
	for _, path := range definitions {
		of[filepath.Join(chart, "charts", "crds", "crds", filepath.Base(path))] = path
	}
	for _, part := range []string{"controller", "broker"} {
		of[filepath.Join(chart, "charts", part, "files", "role.yaml")] = filepath.Join("..", "config", "install", part, "role.yaml")
	}
	for _, document := range []string{"mcp-realm.json", "status-page-clients.json"} {
		of[filepath.Join(chart, "charts", "keycloak", "files", document)] = filepath.Join("..", "config", "oauth", document)
	}
	for copied, source := range of {
		golden(t, copied, string(read(t, source)))
	}
}
