package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/testkit/oddjson"
)

// oddities are what a server says, by the tool, and what it has heard.
type oddities struct {
	definitions, arguments, results []string

	mu    sync.Mutex
	heard map[string]string // raw arguments by the tool
}

func oddTool(i int) string { return fmt.Sprintf("t%03d", i) }

// newOddities generates definitions, arguments and results. Every 25th has a text of a MiB and is deeply nested.
func newOddities(w *oddjson.Writer, n int) *oddities {
	o := &oddities{heard: map[string]string{}}
	for i := range n {
		big := ""
		if i%25 == 0 {
			big = `"big":"` + strings.Repeat("é", 1<<19) + `","deep":` + strings.Repeat(`[{"d":`, 40) + w.Value(1) + strings.Repeat(`}]`, 40)
		}
		object := func(depth int, members ...string) string {
			if big != "" {
				members = append(members, big)
			}
			return w.Object(depth, members...)
		}
		o.definitions = append(o.definitions, w.Object(3, `"name":"`+oddTool(i)+`"`, `"inputSchema":`+w.Object(3, `"type":"object"`, `"$ref":"#/$defs/x"`), `"description":`+`"\u00e9 é"`))
		o.arguments = append(o.arguments, object(4))
		o.results = append(o.results, object(3, `"content":`+`[{"type":"text","text":"\u00e9","annotations":`+w.Object(2)+`}]`, `"structuredContent":`+w.Object(3), `"isError":false`))
	}
	return o
}

// answer is the result of a call, whose arguments are kept.
func (o *oddities) answer(tool string, arguments []byte) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard[tool] = string(arguments)
	var i int
	_, _ = fmt.Sscanf(tool, "t%d", &i) // the first one for a name that nobody gave
	return o.results[i]
}

func (o *oddities) upstream(t *testing.T, sessionless bool) string {
	t.Helper()
	script := testbed.Script{Sessionless: sessionless}
	for i, definition := range o.definitions {
		script.Tools = append(script.Tools, testbed.Tool{Name: oddTool(i), Definition: definition, Call: func(w http.ResponseWriter, c *testbed.Call) {
			var p struct{ Arguments json.RawMessage }
			_ = json.Unmarshal(c.Params, &p)
			c.Reply(w, o.answer(c.Tool, p.Arguments))
		}})
	}
	return testbed.NewUpstream(t, script).URL
}

func (o *oddities) modern(t *testing.T) string {
	t.Helper()
	return testbed.NewStatelessServer(t, "["+strings.Join(o.definitions, ",")+"]", func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Params struct {
				Name      string
				Arguments json.RawMessage
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&m)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete",%s}`, m.ID, o.answer(m.Params.Name, m.Params.Arguments)[1:])
	}).URL
}

// TestFidelity: generated definitions, arguments and results pass between clients and servers of all families unchanged, but for the members that a
// translation owns and the names that have prefixes (Invariant 1).
func TestFidelity(t *testing.T) {
	t.Parallel()
	const each = 100
	w := oddjson.New(7)
	servers := map[string]*oddities{"legacy": newOddities(w, each), "plain": newOddities(w, each), "modern": newOddities(w, each)}
	specs := []config.ServerSpec{
		spec("legacy", servers["legacy"].upstream(t, false)), spec("plain", servers["plain"].upstream(t, true)), spec("modern", servers["modern"].modern(t)),
	}
	g := testbed.StartGateway(t, testbed.Options{Servers: specs, Flags: []string{"--page-size", "7"}})
	last := oddTool(each - 1)
	g.AwaitTools(t, "legacy_"+last, "plain_"+last, "modern_"+last)
	session, stateless := testbed.Connect(t, g.Endpoint), testbed.NewStateless(t, g.Endpoint)
	for name, ask := range map[string]func(method, params string) *testbed.Answer{
		"2025-11-25": func(method, params string) *testbed.Answer {
			return session.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, session.NextID(), method, params))
		},
		"2026-07-28": func(method, params string) *testbed.Answer { return stateless.Ask(t, method, params) },
	} {
		t.Run("client of "+name, func(t *testing.T) {
			listed := map[string]string{}
			for cursor := "{}"; cursor != ""; {
				var page struct {
					Tools      []json.RawMessage
					NextCursor string
				}
				require.NoError(t, json.Unmarshal([]byte(ask("tools/list", cursor).Result(t)), &page))
				for _, definition := range page.Tools {
					var tool struct{ Name string }
					require.NoError(t, json.Unmarshal(definition, &tool))
					listed[tool.Name] = string(definition)
				}
				if cursor = ""; page.NextCursor != "" {
					cursor = fmt.Sprintf(`{"cursor":%q}`, page.NextCursor)
				}
			}
			for server, o := range servers {
				for i := range each {
					tool := oddTool(i)
					want := strings.Replace(o.definitions[i], `"name":"`+tool+`"`, `"name":"`+server+"_"+tool+`"`, 1)
					require.Equal(t, want, listed[server+"_"+tool], server)
					a := ask("tools/call", fmt.Sprintf(`{"name":"%s_%s","arguments":%s}`, server, tool, o.arguments[i]))
					o.mu.Lock()
					require.Equal(t, o.arguments[i], o.heard[tool], server)
					delete(o.heard, tool)
					o.mu.Unlock()
					same(t, o.results[i], a.Result(t))
				}
			}
		})
	}
}

// same checks that a result has the members of the server's as they are written, and no others but those that a translation owns.
func same(t *testing.T, want, got string) {
	t.Helper()
	var before, after map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(want), &before))
	require.NoError(t, json.Unmarshal([]byte(got), &after))
	for _, own := range []string{"resultType", "_meta", "ttlMs", "cacheScope"} {
		delete(after, own)
	}
	require.Len(t, after, len(before))
	for key, value := range before {
		assert.Equal(t, string(value), string(after[key]), key)
	}
}
