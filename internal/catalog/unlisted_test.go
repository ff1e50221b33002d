package catalog

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestUnlistedResources: what no server lists goes to the one that it must be of, and to none where that cannot be told.
func TestUnlistedResources(t *testing.T) {
	listing := func(capabilities string, resources, templates []string) State {
		l := &Listing{Capabilities: json.RawMessage(capabilities)}
		for _, uri := range resources {
			l.Items[Resource] = append(l.Items[Resource], json.RawMessage(`{"uri":"`+uri+`"}`))
		}
		for _, uri := range templates {
			l.Items[Template] = append(l.Items[Template], json.RawMessage(`{"uriTemplate":"`+uri+`"}`))
		}
		return State{Health: HealthReady, Listing: l}
	}
	const has = `{"resources":{}}`
	servers := []config.Server{
		{Name: "db", Enabled: true},
		{Name: "files", Enabled: true},
		{Name: "more-files", Enabled: true},
		{Name: "own", URIPrefix: true, Enabled: true},
		{Name: "tools", Enabled: true},
	}
	states := map[string]State{
		"db":         listing(has, []string{"db://one/a", "https://docs.example/x"}, []string{"db://{name}/b", "db://two/{x}"}),
		"files":      listing(has, []string{"file:///a", "https://docs.example:8443/x"}, nil),
		"more-files": listing(`{}`, []string{"file:///b", "note:1"}, nil),
		"own":        listing(has, []string{"db://one/z"}, nil),
		"tools":      listing(`{"tools":{}}`, nil, nil),
	}
	owner := func(v *View, uri string) string {
		if it := v.FindResource(uri); it != nil {
			return it.Server.Name
		}
		return ""
	}
	s := Build(Input{Servers: servers, States: states, VirtualServers: []config.VirtualServer{{Name: "v", Resources: []string{"db://two/x*"}}}})
	for _, snap := range []*Snapshot{s, s.Portable().Snapshot(Counting{})} {
		for uri, want := range map[string]string{
			"db://one/a": "db", "db://one/unlisted": "db", "db://two/x/y": "db", "db://three/unlisted": "", "https://docs.example/other": "db",
			"https://docs.example:8443/other": "files", "https://example/": "", "file:///unlisted": "", "note:2": "more-files", "no uri": "", "": "",
			"mcp+own:db://one/unlisted": "own", "mcp+none:x": "",
		} {
			assert.Equal(t, want, owner(snap.All(), uri), uri)
		}
		assert.Equal(t, "db", owner(snap.VirtualServer("v"), "db://two/xx/y"), "as the virtual server chooses")
		assert.Empty(t, owner(snap.VirtualServer("v"), "db://two/y/z"))
		assert.Empty(t, owner(snap.VirtualServer("v"), "db://one/unlisted"))
	}
	one := Build(Input{Servers: servers, States: map[string]State{"files": states["files"], "tools": states["tools"], "own": states["own"]}})
	assert.Equal(t, "files", owner(one.All(), "any:thing"), "nobody else has resources")
}
