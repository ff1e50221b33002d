package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestToolSearch: who is not shown its tools finds them and calls them, by their names or by the tool that calls others, and gets nothing that policies refuse.
func TestToolSearch(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newAccessBed(t, mode, "--tool-search-threshold", "2")
		t.Run("session", b.searchesInASession)
		t.Run("stateless", b.searchesWithoutASession)
		t.Run("rates", b.limitsWhatIsCalledByAnother)
	})
}

// foundIn are the names of the tools in the result of a search.
func foundIn(t *testing.T, result string) []string {
	t.Helper()
	var got struct {
		StructuredContent struct{ Tools []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal([]byte(result), &got), result)
	names := []string{}
	for _, tool := range got.StructuredContent.Tools {
		names = append(names, tool.Name)
	}
	return names
}

func (b *accessBed) searchesInASession(t *testing.T) {
	ann, root, nobody := b.as(t, "ann", reader()), b.as(t, "root", nil), b.as(t, "nobody", nil)
	assert.Equal(t, []string{"docs_look", "notes_read"}, ann.ToolNames(t), "two are not too many")
	assert.Equal(t, []string{"call_tool", "search_tools"}, root.ToolNames(t))
	assert.Equal(t, []string{"docs_change", "docs_look"}, foundIn(t, root.Call(t, "search_tools", `{"query":"docs"}`).Result(t)))
	assert.Equal(t, []string{"docs_look"}, foundIn(t, ann.Call(t, "search_tools", `{"query":"docs"}`).Result(t)))
	assert.Empty(t, foundIn(t, nobody.Call(t, "search_tools", `{"query":"docs"}`).Result(t)))
	for range 2 { // by the broker first, and straight after that
		root.Call(t, "docs_change", "{}").Result(t)
		root.Call(t, "call_tool", `{"name":"docs_change","arguments":{"n":9007199254740993}}`).Result(t)
		ann.Call(t, "call_tool", `{"name":"docs_look","arguments":{}}`).Result(t)
		b.forbidden(t, ann, "tools/call", `{"name":"call_tool","arguments":{"name":"docs_change","arguments":{}}}`)
		b.forbidden(t, ann, "tools/call", `{"name":"call_tool","arguments":{"name":"docs_chang\u0065"}}`)
		b.forbidden(t, nobody, "tools/call", `{"name":"call_tool","arguments":{"name":"notes_read"}}`)
	}
	for _, call := range b.docs.Calls(ann.Name, testbed.RPC("tools/call")) {
		assert.Equal(t, "look", call.Tool)
	}
	assert.Len(t, b.docs.Calls(root.Name, testbed.RPC("tools/call")), 4)
	assert.Equal(t, -32602, root.Call(t, "call_tool", `{"name":"call_tool","arguments":{"name":"docs_look"}}`).Error(t).Code)
}

func (b *accessBed) searchesWithoutASession(t *testing.T) {
	as := func(user string, claims map[string]any) *testbed.Stateless {
		c := testbed.NewStateless(t, b.Endpoint)
		c.Authorization = b.issuer.Token(t, user, claims)
		return c
	}
	ann, root := as("ann", reader()), as("root", nil)
	list := root.Ask(t, "tools/list", "{}").Result(t)
	assert.Contains(t, list, `"name":"search_tools"`)
	assert.Contains(t, list, `"cacheScope":"private"`)
	found := root.Ask(t, "tools/call", `{"name":"search_tools","arguments":{"query":"change"}}`).Result(t)
	assert.Equal(t, []string{"docs_change"}, foundIn(t, found))
	assert.Contains(t, found, `"resultType":"complete"`)
	root.Ask(t, "tools/call", `{"name":"call_tool","arguments":{"name":"docs_change","arguments":{}}}`).Result(t)
	a := ann.Ask(t, "tools/call", `{"name":"call_tool","arguments":{"name":"docs_change","arguments":{}}}`)
	require.Equal(t, http.StatusForbidden, a.Status, a)
	assert.Equal(t, http.StatusForbidden, a.Error(t).Code)
}

// limitsWhatIsCalledByAnother: a limit of a tool counts its calls, whatever they are called by, and no searches.
func (b *accessBed) limitsWhatIsCalledByAnother(t *testing.T) {
	will := b.as(t, "will", writer())
	for range 5 {
		will.Call(t, "search_tools", `{"query":"slow"}`).Result(t)
	}
	will.Call(t, "notes_slow", "{}").Result(t)
	will.Call(t, "call_tool", `{"name":"notes_slow","arguments":{}}`).Result(t)
	id := will.NextID()
	a := will.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"notes_slow"}}}`, id))
	require.Equal(t, http.StatusTooManyRequests, a.Status, a)
	assert.Equal(t, fmt.Sprint(id), a.Error(t).ID)
}
