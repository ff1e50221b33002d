package chartgen

import (
	"encoding/json"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const sample = `# Values of a chart.

# What all know.
global:
  # The name | of it.
  # @schema {minLength: 1}
  name: a
# One part.
part:
  # How many.
  # @schema {minimum: 1}
  replicas: 1
  # A list that may be given.
  # @schema {type: array, items: {type: string}}
  # rules:
  # Anything.
  # @schema {additionalProperties: true}
  labels: {}
  # What is asked for, as Kubernetes has it.
  # @schema {additionalProperties: true}
  resources: {cpu: 1}
`

func parse(t *testing.T, text string) []*Value {
	t.Helper()
	values, err := Parse([]byte(text))
	require.NoError(t, err)
	return values
}

// A comment that is missing, or a value of which nobody knows what it may hold, is an error, and all of them are told.
func TestParseTellsAllThatIsMissing(t *testing.T) {
	_, err := Parse([]byte("a: 1\n# B.\nb: {}\n# C.\nc: []\n# D.\nd: null\n# E.\n# @schema {\ne: 1\n"))
	for _, want := range []string{
		`line 1: a: no comment says what "a" is`, "line 3: b: it is empty: say what it may hold", "line 5: c: say what the list may hold",
		"line 7: d: its type cannot be seen", `line 10: e: "@schema {"`,
	} {
		require.ErrorContains(t, err, want)
	}
}

// refused tells whether the schema of the sample refuses values.
func refused(t *testing.T, schema []byte, values string) bool {
	t.Helper()
	var document, instance any
	require.NoError(t, json.Unmarshal(schema, &document))
	require.NoError(t, json.Unmarshal([]byte(values), &instance))
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("values.json", document))
	compiled, err := compiler.Compile("values.json")
	require.NoError(t, err)
	return compiled.Validate(instance) != nil
}

func TestSchema(t *testing.T) {
	embedded := Embedded{Key: "part", Property: "outer", Text: []byte(`{
		"properties": {"outer": {"type": "object", "properties": {"rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}}}, "if": {}, "then": false}},
		"$defs": {"rule": {"type": "object", "additionalProperties": false, "properties": {"pattern": {"type": "string", "pattern": "^x"}}, "oneOf": [false]}}}`)}
	schema, err := Schema("Sample", parse(t, sample), "global", []string{"part"}, embedded)
	require.NoError(t, err)
	for values, want := range map[string]bool{
		`{}`: false,
		`{"global": {"name": "b"}, "part": {"replicas": 3, "labels": {"a": 1}, "resources": {"memory": 2}, "global": {"any": "thing"}}}`: false,
		`{"globals": {}}`:                           true,
		`{"part": {"replica": 1}}`:                  true,
		`{"part": {"replicas": "1"}}`:               true,
		`{"part": {"replicas": 0}}`:                 true,
		`{"global": {"name": ""}}`:                  true,
		`{"part": {"rules": [{"pattern": "y"}]}}`:   false, // what helm could not say in words is left to templates
		`{"part": {"rules": [{"unknown": "key"}]}}`: true,
		`{"part": {"rules": [{"pattern": 1}]}}`:     true,
	} {
		assert.Equal(t, want, refused(t, schema, values), values)
	}
	_, err = Schema("Sample", parse(t, sample), "global", []string{"other"})
	require.EqualError(t, err, `the subchart "other" has no values`)
	_, err = Schema("Sample", parse(t, sample), "global", nil, Embedded{Key: "part", Property: "none", Text: []byte(`{}`)})
	require.EqualError(t, err, `"part": the value or the schema is missing`)
}

func TestTable(t *testing.T) {
	assert.Equal(t, "\n## global\n\nWhat all know.\n\n| Value | Default | Meaning |\n|---|---|---|\n| `global.name` | `a` | The name \\| of it. |\n"+
		"\n## part\n\nOne part.\n\n| Value | Default | Meaning |\n|---|---|---|\n| `part.replicas` | `1` | How many. |\n| `part.rules` | – | A list that may be given. |\n"+
		"| `part.labels` | `{}` | Anything. |\n| `part.resources` | `{\"cpu\":1}` | What is asked for, as Kubernetes has it. |\n", Table(parse(t, sample), "##"))
}

// What stands before the mark is by hand, and stays.
func TestCompose(t *testing.T) {
	out, err := Compose([]byte("# By hand.\na: 1\n\n# mark\nold: 1\n"), "# mark", []Section{{Key: "b", Comment: "The second.", Text: []byte("# C.\nc: 1\n\n# D.\nd: 2\n")}})
	require.NoError(t, err)
	assert.Equal(t, "# By hand.\na: 1\n\n# mark\n\n# The second.\nb:\n  # C.\n  c: 1\n\n  # D.\n  d: 2\n", string(out))
	_, err = Compose([]byte("a: 1\n"), "# mark", nil)
	require.EqualError(t, err, `the line "# mark" is missing`)
}
