package policy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile("../../policies/policies.schema.json")
	require.NoError(t, err)
	return compiled
}

// accepts tells whether the schema takes the document.
func accepts(t *testing.T, s *jsonschema.Schema, data []byte) bool {
	t.Helper()
	var document any
	require.NoError(t, yaml.Unmarshal(data, &document))
	text, err := json.Marshal(document)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &document))
	return s.Validate(document) == nil
}

func TestSchemaTakesWhatIsRight(t *testing.T) {
	s := schema(t)
	good, err := filepath.Glob("testdata/[^b]*.in.yaml")
	require.NoError(t, err)
	examples, err := filepath.Glob("../../policies/examples/*.yaml")
	require.NoError(t, err)
	require.Len(t, examples, 3)
	for _, file := range append(good, examples...) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = Parse(file, data)
		require.NoError(t, err)
		assert.True(t, accepts(t, s, data), file)
	}
}

func TestSchemaRefusesWhatIsWrong(t *testing.T) {
	s := schema(t)
	bad, err := filepath.Glob("testdata/bad-*.in.yaml")
	require.NoError(t, err)
	for _, file := range bad {
		switch filepath.Base(file) {
		case "bad-yaml.in.yaml", "bad-utf8.in.yaml", "bad-control-character.in.yaml", "bad-documents.in.yaml", "bad-keys.in.yaml", "bad-aliases.in.yaml":
			continue // what is no YAML document, or none that JSON could be made of, no schema sees
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.False(t, accepts(t, s, data), file)
	}
}

// Of the files that list many mistakes, each one alone must be refused by schema and parser alike. What only the parser can see is listed.
func TestSchemaAgreesItemByItem(t *testing.T) {
	s := schema(t)
	tests := map[string]struct {
		list       string
		parserOnly []int
	}{
		"bad-rules":           {list: "acl"},
		"bad-rules-anonymous": {list: "acl"},
		"bad-rate-limits":     {list: "rateLimits", parserOnly: []int{10, 11}},                                                                        // the range of durations
		"bad-conditions":      {list: "acl", parserOnly: []int{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26}}, // CEL
	}
	for name, tt := range tests {
		data, err := os.ReadFile(filepath.Join("testdata", name+".in.yaml"))
		require.NoError(t, err)
		var document struct{ Policies map[string]any }
		require.NoError(t, yaml.Unmarshal(data, &document))
		agree(t, s, name, document.Policies["authentication"], tt.list, document.Policies[tt.list].([]any), tt.parserOnly)
	}
	data, err := os.ReadFile("testdata/bad-patterns.in.yaml")
	require.NoError(t, err)
	var document struct{ Policies map[string]any }
	require.NoError(t, yaml.Unmarshal(data, &document))
	var rules []any
	for _, pattern := range document.Policies["acl"].([]any)[0].(map[string]any)["allow"].([]any) {
		rules = append(rules, map[string]any{"groups": []string{"x"}, "allow": []any{pattern}})
	}
	agree(t, s, "bad-patterns", document.Policies["authentication"], "acl", rules, nil)
}

func agree(t *testing.T, s *jsonschema.Schema, name string, authentication any, list string, items []any, parserOnly []int) {
	t.Helper()
	for i, item := range items {
		policies := map[string]any{list: []any{item}}
		if authentication != nil {
			policies["authentication"] = authentication
		}
		text, err := yaml.Marshal(map[string]any{"policies": policies})
		require.NoError(t, err)
		_, err = Parse("p.yaml", text)
		seen := accepts(t, s, text)
		for _, only := range parserOnly {
			if only == i {
				require.Error(t, err, name+strconv.Itoa(i))
				assert.True(t, seen, "%s %d: the schema sees this now", name, i)
				seen = false
			}
		}
		assert.Equal(t, err == nil, seen, "%s %d: %v", name, i, err)
	}
}
