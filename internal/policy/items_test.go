package policy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func items(t *testing.T, text string) ([]Pattern, error) {
	t.Helper()
	var value any
	require.NoError(t, json.Unmarshal([]byte(text), &value))
	return Items(value)
}

// An item means the same wherever it stands.
func TestItemsAreThoseOfRules(t *testing.T) {
	for _, allow := range []string{
		`["invoices_*"]`,
		`["*", "größe", "*_x"]`,
		`[{"server": "*"}]`,
		`[{"server": "team/weather", "tool": "get_*"}, {"server": "wiki", "prompt": "*"}, {"resource": "*.md"}]`,
		`[{"hints": {"readOnly": true, "openWorld": false}}, {"server": "crm", "tool": "x", "hints": {"destructive": false}}]`,
	} {
		want := parse(t, `{"policies": {"acl": [{"everyone": true, "allow": `+allow+`}]}}`).ACL[0].Allow
		got, err := items(t, allow)
		require.NoError(t, err, allow)
		assert.Equal(t, want, got, allow)
	}
	nothing, err := items(t, `[]`)
	require.NoError(t, err)
	assert.Empty(t, nothing, "a caller may be allowed nothing")
}

func TestItemsRefuseMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`null`:                         "must be a list of items that are allowed",
		`"*"`:                          "must be a list of items that are allowed",
		`{"server": "*"}`:              "must be a list of items that are allowed",
		`["a*b"]`:                      `allow[0]: "a*b" must have at most one "*"`,
		`["x", 7]`:                     "allow[1]: must be a glob",
		`["x", null]`:                  "allow[1]: has no value",
		`[[]]`:                         "allow[0]: must be a mapping",
		`[{}]`:                         "allow[0]: is empty",
		`[{"servers": "x"}]`:           "allow[0].servers: unknown key",
		`[{"tool": "a*b"}]`:            "allow[0].tool",
		`[{"hints": {"readOnly": 1}}]`: "allow[0].hints.readOnly: must be true or false",
	} {
		got, err := items(t, text)
		require.ErrorContains(t, err, want, text)
		assert.Nil(t, got, text)
	}
}
