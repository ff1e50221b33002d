package catalog

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestAwaited: what nobody is known to offer may be a server's that has not been heard of yet, by its prefix; a server that is down is not waited for.
func TestAwaited(t *testing.T) {
	listing := &Listing{}
	listing.Items[Tool] = []json.RawMessage{json.RawMessage(`{"name":"t"}`)}
	servers := []config.Server{
		{Name: "new", ToolPrefix: "new_", URIPrefix: true, Enabled: true},
		{Name: "asked", ToolPrefix: "asked_", Enabled: true},
		{Name: "down", ToolPrefix: "down_", Enabled: true},
		{Name: "off", ToolPrefix: "off_"},
		{Name: "unrouted", ToolPrefix: "un_", URIPrefix: true, Enabled: true},
		{Name: "here", ToolPrefix: "here_", Enabled: true},
	}
	s := Build(Input{Servers: servers, States: map[string]State{
		"asked": {Health: HealthConnecting}, "down": {Health: HealthFailing}, "unrouted": {Health: HealthReady, Listing: listing},
		"here": {Health: HealthReady, Listing: listing},
	}, Programmed: func(cluster string) bool { return cluster != "unrouted" }})
	for _, snap := range []*Snapshot{s, s.Portable().Snapshot(Counting{})} {
		for name, want := range map[string]string{"new_x": "new", "asked_x": "asked", "down_x": "", "off_x": "", "un_t": "unrouted", "here_x": "", "x": ""} {
			got := ""
			if server := snap.Awaited(Tool, name); server != nil {
				got = server.Name
			}
			assert.Equal(t, want, got, name)
		}
		assert.Equal(t, "new", snap.Awaited(Resource, "mcp+new:file:///x").Name)
		assert.Equal(t, "asked", snap.Awaited(Resource, "file:///x").Name, "any resource may be its")
	}
}
