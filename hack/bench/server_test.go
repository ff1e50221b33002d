package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewServer(t *testing.T) {
	for path, want := range map[string]struct {
		kind
		pages int
	}{
		pathSessionless:        {kind{legacy: true}, 1},
		pathSessionful:         {kind{legacy: true, sessions: true}, 1},
		pathModern:             {kind{modern: true}, 1},
		"/both/1000/mcp":       {kind{legacy: true, modern: true}, 1},
		"/both/10000/s007/mcp": {kind{legacy: true, modern: true}, 10},
	} {
		s, err := newServer(path)
		require.NoError(t, err, path)
		assert.Equal(t, want.kind, s.kind, path)
		assert.Len(t, s.pages, want.pages, path)
		assert.Equal(t, want.modern, s.discovered != "", path)
	}
	for _, path := range []string{"", "/", "/mcp", "/other/mcp", "/both", "/both/x/mcp", "/both/1/mcp", "/both/999999999/mcp", "/both/10/s/mcp/more", "/both/10/s/x"} {
		_, err := newServer(path)
		assert.ErrorIs(t, err, errNoServer, "%q", path)
	}
}

func TestPagesHoldEachToolOnce(t *testing.T) {
	for _, tools := range []int{2, 10, 1000, 1001, 10_000} {
		s := &mcpServer{pages: pages(tools, true)}
		seen := map[string]bool{}
		var cursor []byte
		for more := true; more; more = len(cursor) > 0 {
			text, ok := s.page(cursor)
			require.True(t, ok)
			var page struct {
				Tools      []struct{ Name string }
				NextCursor json.RawMessage
				ResultType string
			}
			require.NoError(t, json.Unmarshal([]byte(text), &page))
			require.Equal(t, "complete", page.ResultType)
			require.LessOrEqual(t, len(page.Tools), pageSize)
			for _, tool := range page.Tools {
				require.False(t, seen[tool.Name], tool.Name)
				seen[tool.Name] = true
			}
			cursor = page.NextCursor
		}
		assert.Len(t, seen, tools)
		assert.True(t, seen[toolName])
	}
	_, ok := (&mcpServer{pages: pages(10, false)}).page([]byte(`"1"`))
	assert.False(t, ok, "there is no such page")
}

func TestCatalog(t *testing.T) {
	assert.Equal(t, 10_000, manyServers().all())
	assert.Zero(t, catalog{}.all())
	config := string(manyServers().config("http://upstream"))
	assert.Contains(t, config, `{name: s999, url: http://upstream/both/10/s999/mcp, toolPrefix: "s999_"}`)
	assert.Contains(t, string(catalog{}.config("http://upstream")), "{name: bare, url: http://upstream/modern/mcp}")
	one := catalog{servers: 1, tools: 10}
	assert.Contains(t, string(one.config("http://upstream")), `toolPrefix: ""`, "its list is the upstream's, byte for byte")
	names := map[string]bool{}
	for _, c := range []catalog{{}, one, manyServers()} {
		for _, g := range []gatewaySpec{{}, {tcp: true}, {guarded: true}, {module: true}, {module: true, guarded: true}} {
			g.catalog = c
			assert.False(t, names[g.name()], g.name())
			names[g.name()] = true
		}
	}
}
