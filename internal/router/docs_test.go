package router

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/guidetest"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// TestMethodsAsDocumented holds the guide's table of methods and the router together.
func TestMethodsAsDocumented(t *testing.T) {
	for _, row := range guidetest.Methods(t, "../../docs/guides/protocol-versions.md") {
		assert.Equal(t, row.WithSession, outcome(t, row.Name, false), "%s with a session", row.Name)
		assert.Equal(t, row.Stateless, outcome(t, row.Name, true), "%s without one", row.Name)
	}
}

// outcome is what becomes of a method, in the guide's words.
func outcome(t *testing.T, method string, modern bool) string {
	t.Helper()
	w := newWorld(t)
	name, params := "", ""
	switch method {
	case "tools/call":
		name, params = "twin_both", `"name":"twin_both"`
	case "prompts/get":
		name, params = "era_brief", `"name":"era_brief"`
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		name, params = "era://now", `"uri":"era://now"`
	case "tasks/get", "tasks/update", "tasks/cancel":
		name = w.tasks.Seal(session.Task{Server: "twin", Tool: "twin_both", ID: "1"}, session.Subject{})
		params = `"taskId":"` + name + `"`
	case "completion/complete":
		params = `"ref":{"type":"ref/prompt","name":"era_brief"}`
	}
	req := post(w.open.Token())
	if modern {
		req = stateless(new(Request), method, name)
		if params != "" {
			params += ","
		}
		params += requestMeta
	}
	d := new(Decision)
	w.router.Route(req, []byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+params+`}}`), d)
	if d.Reply != nil {
		m, fault := jsonrpc.Parse(d.Reply.Body, jsonrpc.Limits{})
		require.Nil(t, fault)
		require.Contains(t, string(m.Error.Of(m.Body)), "-32601", method)
		assert.Equal(t, map[bool]int{false: 200, true: 404}[modern], d.Reply.Status)
		return "unknown"
	}
	if labels(d)[wire.HeaderServer] == wire.BrokerServer || method == "initialize" {
		return "answered by the gateway"
	}
	return "passed to its server"
}
