package catalog

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// TestCountersGoOn: a tool keeps its counter for as long as it is one server's under one name, whatever else changes, and in a copy of the snapshot it has another.
func TestCountersGoOn(t *testing.T) {
	var set tally.Set
	build := func(before *Snapshot, prefix string, tools ...string) *Snapshot {
		l := &Listing{}
		for _, tool := range tools {
			l.Items[Tool] = append(l.Items[Tool], json.RawMessage(`{"name":"`+tool+`","description":"`+prefix+`"}`))
		}
		l.Items[Prompt] = []json.RawMessage{json.RawMessage(`{"name":"p"}`)}
		return Build(Input{
			Servers: []config.Server{{Name: "first", Enabled: true, ToolPrefix: prefix}, {Name: "second", Enabled: true}},
			States:  map[string]State{"first": {Health: HealthReady, Listing: l}, "second": {Health: HealthReady, Listing: l}}, Counting: Counting{&set, before},
		})
	}
	a := build(nil, "x_", "one", "two")
	one := a.Tool("first", "one")
	require.NotNil(t, one.Calls)
	assert.Equal(t, []string{"first", "one"}, []string{one.Calls.Server, one.Calls.Tool})
	assert.NotSame(t, one.Calls, a.Tool("second", "one").Calls)
	assert.Nil(t, a.Items(Prompt)[0].Calls)

	b := build(a, "x_", "zero", "one")
	assert.Same(t, one.Calls, b.Tool("first", "one").Calls)
	assert.NotSame(t, one, b.Tool("first", "one"))
	assert.Nil(t, b.Tool("first", "two"), "and what is gone is not kept")
	assert.NotSame(t, a.Tool("first", "two").Calls, build(b, "x_", "two").Tool("first", "two").Calls)
	assert.NotSame(t, one.Calls, build(b, "y_", "one").Tool("first", "one").Calls, "another name for clients")
	c := build(b, "", "one") // now it is the first server's that the second had
	assert.Equal(t, "first", c.Find(Tool, "one").Calls.Server)

	assert.Nil(t, Build(Input{Counting: Counting{Before: b}}).Tool("first", "one"))
	other := b.Portable().Snapshot(Counting{Set: &set}).Tool("first", "one")
	assert.NotSame(t, one.Calls, other.Calls)
	assert.Nil(t, b.Portable().Snapshot(Counting{}).Tool("first", "one").Calls, "where nobody counts")
}

// TestToolOfItsServer: a name is looked for among its server's own alone.
func TestToolOfItsServer(t *testing.T) {
	l := &Listing{Items: [4][]json.RawMessage{{json.RawMessage(`{"name":"a"}`)}}}
	s := Build(Input{
		Servers: []config.Server{{Name: "first", Enabled: true, ToolPrefix: "x_"}, {Name: "second", Enabled: true, ToolPrefix: "x_"}},
		States:  map[string]State{"first": {Listing: l}, "second": {Listing: l}},
	})
	assert.Equal(t, "x_a", s.Tool("first", "a").PublicName)
	assert.Nil(t, s.Tool("second", "a"), "the first one keeps it")
	assert.Nil(t, s.Tool("first", "x_a"))
	assert.Nil(t, s.Tool("third", "a"))
}
