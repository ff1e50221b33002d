package catalog

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLegacyTools: what only revisions without sessions have is not in what clients with sessions get, and nothing else of a definition is different.
func TestLegacyTools(t *testing.T) {
	const object = `{"name":"t","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}},"outputSchema":{"type":"object","properties":{"n":{}}}, "x": 1.10}`
	for name, tt := range map[string]struct{ def, want string }{
		"all as it was": {object, object},
		"no schemas":    {`{"name":"t"}`, `{"name":"t"}`},
		"an output that is a list": {
			`{"name":"t", "outputSchema": {"type":"array","items":true}, "x": 1.10}`,
			`{"name":"t", "x": 1.10}`,
		},
		"an output of more than one kind": {`{"name":"t","outputSchema":{"anyOf":[{"type":"object"},{"type":"null"}]}}`, `{"name":"t"}`},
		"an output that may be anything":  {`{"outputSchema":true,"name":"t"}`, `{"name":"t"}`},
		"properties that may be anything or cannot be": {
			`{"name":"t","inputSchema":{"type":"object","properties":{"a":true,"b":{"type":"string"},"c":false}},"outputSchema":{"type":"object","properties":{"d":true}}}`,
			`{"name":"t","inputSchema":{"type":"object","properties":{"a":{},"b":{"type":"string"},"c":{"not":{}}}},"outputSchema":{"type":"object","properties":{"d":{}}}}`,
		},
		"both": {
			`{"name":"t","outputSchema":{"type":"string","properties":{"d":true}},"inputSchema":{"type":"object","properties":{"a":true}}}`,
			`{"name":"t","inputSchema":{"type":"object","properties":{"a":{}}}}`,
		},
		"values that are no schemas": {
			`{"name":"t","inputSchema":{"type":"object","additionalProperties":false,"properties":{"a":{"default":true,"properties":7}}}}`,
			`{"name":"t","inputSchema":{"type":"object","additionalProperties":false,"properties":{"a":{"default":true,"properties":7}}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := one(Tool, tt.def, `{"name":"z"}`)
			in.States["a"].Listing.Modern = "2026-07-28"
			snap := Build(in)
			for era, want := range map[Era]string{Legacy: tt.want, Modern: tt.def} {
				page, last := snap.All().Page(era, Tool, "", 1)
				assert.Equal(t, want, string(page))
				assert.Equal(t, "t", last)
				page, _ = snap.All().Page(era, Tool, "", 2)
				assert.Equal(t, want+`,{"name":"z"}`, string(page))
				assert.Equal(t, want, string(snap.Find(Tool, "t").DefinitionFor(era)))
			}
		})
	}
}

// TestLegacyForms: what a server says in the client's own era is passed on as it is (Invariant 1), what is no tool has no schemas, and a tool has its
// public name in both forms.
func TestLegacyForms(t *testing.T) {
	const def = `{"name":"t","outputSchema":{"type":"array"}}`
	for name, tt := range map[string]struct {
		kind         Kind
		modern, want string
	}{
		"a server with sessions": {Tool, "", `{"name":"p_t","outputSchema":{"type":"array"}}`},
		"a prompt":               {Prompt, "2026-07-28", `{"name":"p_t","outputSchema":{"type":"array"}}`},
		"a tool":                 {Tool, "2026-07-28", `{"name":"p_t"}`},
	} {
		t.Run(name, func(t *testing.T) {
			in := one(tt.kind, def)
			in.Servers[0].ToolPrefix = "p_"
			in.States["a"].Listing.Modern = tt.modern
			page, _ := Build(in).All().Page(Legacy, tt.kind, "", 1)
			assert.Equal(t, tt.want, string(page))
		})
	}
}

// FuzzLegacyTool: whatever a server says, clients get JSON.
func FuzzLegacyTool(f *testing.F) {
	f.Add(`{"name":"t","outputSchema":true,"inputSchema":{"properties":{"a":true}}}`)
	f.Add(`{"outputSchema":{"type":"object","type":"array"},"OutputSchema":1}`)
	f.Fuzz(func(t *testing.T, def string) {
		if !json.Valid([]byte(def)) || !strings.HasPrefix(def, "{") {
			t.Skip()
		}
		if legacy := legacyTool([]byte(def)); legacy != nil {
			assert.True(t, json.Valid(legacy), "%s", legacy)
		}
	})
}
