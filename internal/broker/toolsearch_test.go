package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// showing has callers that are shown a number of tools at most.
func showing(threshold int, who callers) func(*broker.Options) {
	return func(o *broker.Options) {
		o.ToolSearchThreshold, o.PageSize = threshold, 2
		if who != nil {
			who.options(o)
		}
	}
}

// hoard has two servers with more tools than are shown.
func hoard() []server {
	files, mail := offering("files", newScript(), ""), offering("mail", newScript(), "")
	for _, def := range []string{
		`{"name":"read_file","title":"Read","description":"Reads a file.","inputSchema":{"type":"object","properties":{"n":{"const":9007199254740993}}},"icons":[{"src":"data:,x"}],"outputSchema":{}}`,
		`{"name":"write_file","description":"Writes a file.","annotations":{"readOnlyHint":false}}`,
		`{"name":"delete_file"}`,
	} {
		files.listing.Items[0] = append(files.listing.Items[0], json.RawMessage(def))
	}
	mail.listing.Items[0] = append(mail.listing.Items[0], json.RawMessage(`{"name":"attach_file"}`), json.RawMessage(`{"name":"send"}`))
	return []server{files, mail}
}

func toolNames(t *testing.T, body string) []string {
	t.Helper()
	var got struct {
		Result struct{ Tools []struct{ Name string } }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &got), body)
	var names []string
	for _, tool := range got.Result.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// find is a search; its text and its structured content are the same.
func (f *fixture) find(r request) (names []string, more bool) {
	f.t.Helper()
	a := f.do(r)
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	var got struct {
		Result struct {
			Content           []struct{ Type, Text string }
			StructuredContent json.RawMessage
		}
	}
	require.NoError(f.t, json.Unmarshal([]byte(a.body), &got), a.body)
	require.Len(f.t, got.Result.Content, 1, a.body)
	assert.Equal(f.t, string(got.Result.StructuredContent), got.Result.Content[0].Text)
	var found struct {
		Tools []struct{ Name string }
		More  bool
	}
	require.NoError(f.t, json.Unmarshal(got.Result.StructuredContent, &found), a.body)
	for _, tool := range found.Tools {
		names = append(names, tool.Name)
	}
	return names, found.More
}

func lookFor(arguments string) request {
	return ask("tools/call", `{"name":"search_tools","arguments":`+arguments+`}`)
}

// TestManyToolsAreNotListed: who may have more than the threshold gets the gateway's own tools, and everybody else the list.
func TestManyToolsAreNotListed(t *testing.T) {
	who := callers{"ann": func(policy.Request) bool { return true }, "bob": func(r policy.Request) bool { return r.Server == "mail" }}
	f := setup{options: showing(3, who), servers: hoard(), virtual: []config.VirtualServer{{Name: "v", Servers: []string{"files"}}}}.start(t)
	token, _ := opens(f, "ann")
	a := f.do(ask("tools/list", "{}").in(token).by("ann"))
	assert.Equal(t, []string{"call_tool", "search_tools"}, toolNames(t, a.body))
	assert.Contains(t, a.body, "of these servers: mail, files.")
	assert.NotContains(t, a.body, "nextCursor")
	a = f.do(fresh("tools/list", "").by("ann"))
	assert.Equal(t, []string{"call_tool", "search_tools"}, toolNames(t, a.body))
	assert.Contains(t, a.body, `"cacheScope":"private"`)

	bobs, _ := opens(f, "bob")
	assert.Equal(t, []string{"attach_file", "send"}, toolNames(t, f.do(ask("tools/list", "{}").in(bobs).by("bob")).body))
	at := fresh("tools/list", "").by("ann")
	at.header.Set("X-Mcp-Virtualserver", "v")
	assert.Equal(t, []string{"delete_file", "read_file"}, toolNames(t, f.do(at).body), "three are not too many")
}

// TestWhoReadsAListGetsAllOfIt: tools that come while a client reads the pages do not put others in their place.
func TestWhoReadsAListGetsAllOfIt(t *testing.T) {
	few, many := hoard()[:1], hoard()
	f := setup{options: showing(3, nil), servers: many}.start(t)
	f.config = f.config[:1]
	f.rebuild()
	token := f.initialize()
	next := cursorOf(t, f.do(ask("tools/list", "{}").in(token)).body)
	require.Len(t, few[0].listing.Items[0], 3)
	more := f.config[:2]
	f.config = more
	f.rebuild()
	assert.Equal(t, []string{"send", "write_file"}, toolNames(t, f.do(ask("tools/list", `{"cursor":"`+next+`"}`).in(token)).body))
	assert.Equal(t, []string{"call_tool", "search_tools"}, toolNames(t, f.do(ask("tools/list", "{}").in(token)).body))
}

func TestSearchForTools(t *testing.T) {
	f := setup{options: showing(3, nil), servers: hoard()}.start(t)
	token := f.initialize()
	for arguments, want := range map[string]string{
		`{"query":"file"}`:                                 "read_file write_file delete_file attach_file false",
		`{"query":"files","limit":2}`:                      "read_file write_file true",
		`{"query":"file","server":"mail"}`:                 "attach_file send false",
		`{"query":"","limit":1000}`:                        "attach_file delete_file read_file send write_file false",
		`{}`:                                               "attach_file delete_file read_file send write_file false",
		`{"query":"file","server":"nowhere"}`:              "false",
		`{"query":"delete_file","limit":1,"unknown":true}`: "delete_file true",
	} {
		names, more := f.find(lookFor(arguments).in(token))
		if arguments == `{"query":"file","server":"mail"}` {
			names = append(names, "send") // which has no such word
		}
		assert.Equal(t, want, strings.TrimSpace(strings.Join(names, " ")+fmt.Sprintf(" %t", more)), arguments)
	}
	// What is found is told as the server told it, and nothing that a model does not need.
	a := f.do(lookFor(`{"query":"read","limit":1}`).in(token))
	assert.Contains(t, a.body, `"structuredContent":{"tools":[{"name":"read_file","server":"files","title":"Read","description":"Reads a file.",`+
		`"inputSchema":{"type":"object","properties":{"n":{"const":9007199254740993}}}}],"more":false}}`)
	assert.Contains(t, a.body, `"id":`+hugeID)
	a = f.do(fresh("tools/call", `"name":"search_tools","arguments":{"query":"read"}`))
	assert.Contains(t, a.body, `"more":false},"resultType":"complete",`+gatewayMeta+`}}`)
	var whole any
	require.NoError(t, json.Unmarshal([]byte(a.body), &whole))
}

// TestSearchFindsWhatTheCallerMayHave: a search shows nobody what lists would not (Invariant 5).
func TestSearchFindsWhatTheCallerMayHave(t *testing.T) {
	who := callers{"ann": only("read_file", "attach_file"), "nobody": only()}
	f := setup{options: showing(1, who), servers: hoard(), virtual: []config.VirtualServer{{Name: "v", Tools: []string{"read_*", "delete_*"}}}}.start(t)
	for caller, want := range map[string]string{"ann": "[read_file attach_file] false", "nobody": "[] false"} {
		token, _ := opens(f, caller)
		for _, query := range []string{"file", "attach file read write delete"} {
			names, more := f.find(lookFor(`{"query":"` + query + `","limit":2}`).in(token).by(caller))
			assert.ElementsMatch(t, strings.Fields(strings.Trim(strings.TrimSuffix(want, " false"), "[]")), names, caller)
			assert.False(t, more, "nor whether there is more")
		}
		names, _ := f.find(lookFor(`{"query":"delete_file"}`).in(token).by(caller))
		assert.NotContains(t, names, "delete_file")
	}
	at := fresh("tools/call", `"name":"search_tools","arguments":{"query":"file"}`).by("ann")
	at.header.Set("X-Mcp-Virtualserver", "v")
	names, _ := f.find(at)
	assert.Equal(t, []string{"read_file"}, names)
	wantError(t, f.do(lookFor(`{"query":"file"}`).in("none").by("mallory")), http.StatusUnauthorized, hugeID, 401, "token")
}

func TestSearchesThatCannotBe(t *testing.T) {
	f := setup{options: showing(3, nil), servers: hoard()}.start(t)
	token := f.initialize()
	for arguments, words := range map[string]string{
		`{"query":7}`:                                   "query must be a string",
		`{"query":"x","server":["a"]}`:                  "server must be a string",
		`{"query":"x","limit":"5"}`:                     "limit must be an integer",
		`{"query":"x","limit":1.5}`:                     "limit must be an integer",
		`{"query":"x","limit":0}`:                       "limit must be at least 1",
		`{"query":"` + strings.Repeat("x", 2000) + `"}`: "too long",
		`{"query":"x","query":"y"}`:                     "twice",
	} {
		a := f.do(lookFor(arguments).in(token))
		assert.Equal(t, http.StatusOK, a.status)
		assert.Contains(t, a.body, `"isError":true`, arguments)
		assert.Contains(t, a.body, words, arguments)
	}
	wantError(t, f.do(ask("tools/call", `{"name":"call_tool"}`).in(token)), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "unknown tool")
	off := start(t, hoard()...)
	wantError(t, off.do(lookFor(`{"query":"file"}`).in(off.initialize())), http.StatusOK, hugeID, jsonrpc.CodeInvalidParams, "unknown tool")
}

// TestWhatIsFoundIsBounded: a model gets no more than it can read, but always something.
func TestWhatIsFoundIsBounded(t *testing.T) {
	big := offering("big", newScript(), "")
	for i := range 5 {
		big.listing.Items[0] = append(big.listing.Items[0], fmt.Appendf(nil, `{"name":"big_%d","description":%q}`, i, strings.Repeat("x", 40<<10)))
	}
	f := setup{options: showing(3, nil), servers: []server{big}}.start(t)
	names, more := f.find(lookFor(`{"query":"big"}`).in(f.initialize()))
	assert.Equal(t, []string{"big_0"}, names)
	assert.True(t, more)
}
