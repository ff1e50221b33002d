package catalog

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

func toolWith(properties string) json.RawMessage {
	return json.RawMessage(`{"name":"t","inputSchema":{"type":"object","properties":` + properties + `}}`)
}

func TestParams(t *testing.T) {
	got, err := parseParams(toolWith(`{"region":{"type":"string","x-mcp-header":"Region"},
		"limit":{"type":"object","properties":{"rows":{"type":"integer","x-mcp-header":"Max-Rows"}}},
		"x-mcp-header":{"type":"boolean","x-mcp-header":"Odd","default":{"x-mcp-header":"no"}}, "plain":{"enum":[{"x-mcp-header":"no"}]}}`))
	require.NoError(t, err)
	assert.Equal(t, []Param{
		{"mcp-param-max-rows", []string{"arguments", "limit", "rows"}},
		{"mcp-param-odd", []string{"arguments", "x-mcp-header"}},
		{"mcp-param-region", []string{"arguments", "region"}},
	}, got)
	for _, def := range []string{`{"name":"t"}`, `{"name":"t","inputSchema":7,"x":"x-mcp-header"}`, `{"name":"t","description":"x-mcp-header"}`} {
		got, err := parseParams(json.RawMessage(def))
		require.NoError(t, err)
		assert.Empty(t, got)
	}
}

// TestBadParams: what the specification has clients leave a tool out for.
func TestBadParams(t *testing.T) {
	for name, tt := range map[string]struct{ properties, want string }{
		"empty":            {`{"a":{"type":"string","x-mcp-header":""}}`, `"" is not a header's name`},
		"no token":         {`{"a":{"type":"string","x-mcp-header":"a b"}}`, `"a b" is not a header's name`},
		"line feed":        {`{"a":{"type":"string","x-mcp-header":"a\n"}}`, `is not a header's name`},
		"no string":        {`{"a":{"type":"string","x-mcp-header":7}}`, `"7" is not a header's name`},
		"twice":            {`{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}`, `is there twice`},
		"number":           {`{"a":{"type":"number","x-mcp-header":"A"}}`, `neither string nor integer nor boolean`},
		"object":           {`{"a":{"type":"object","x-mcp-header":"A"}}`, `neither string nor integer nor boolean`},
		"no type":          {`{"a":{"x-mcp-header":"A"}}`, `neither string nor integer nor boolean`},
		"in items":         {`{"a":{"items":{"type":"string","x-mcp-header":"A"}}}`, `that properties alone lead to`},
		"in oneOf":         {`{"a":{"oneOf":[{"type":"string","x-mcp-header":"A"}]}}`, `that properties alone lead to`},
		"in if":            {`{"a":{"if":{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}}}`, `that properties alone lead to`},
		"in a definition":  {`{"a":{"$defs":{"d":{"type":"string","x-mcp-header":"A"}}}}`, `that properties alone lead to`},
		"in a property of": {`{"a":{"items":{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}}}`, `that properties alone lead to`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseParams(toolWith(tt.properties))
			require.ErrorContains(t, err, tt.want)
			assert.Empty(t, got)
		})
	}
	_, err := parseParams(json.RawMessage(`{"inputSchema":{"type":"string","x-mcp-header":"A"}}`))
	require.ErrorContains(t, err, "that properties alone lead to", "the arguments as a whole are none")
}

// TestToolsWithBadParams: a tool that only calls with such headers could reach is left out and reported; any other is reported.
func TestToolsWithBadParams(t *testing.T) {
	bad := toolWith(`{"a":{"type":"number","x-mcp-header":"A"}}`)
	for revision, want := range map[string]int{"": 0, "2025-11-25": 1} {
		snap := Build(Input{
			Servers: []config.Server{{Name: "s", Enabled: true}},
			States:  map[string]State{"s": {Health: HealthReady, Listing: &Listing{Revision: revision, Modern: "2026-07-28", Items: [kinds][]json.RawMessage{{bad}}}}},
		})
		assert.Len(t, snap.Items(Tool), want)
		require.Len(t, snap.Problems(), 1)
		assert.Contains(t, snap.Problems()[0].Message, "x-mcp-header")
	}
}
