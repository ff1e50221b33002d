package router

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func aboutTask(method, id string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"taskId":"` + id + `",` + requestMeta + `}}`)
}

// TestTasksFindTheirServers: an id leads to the server whose tool made the task, for the caller that it was given to and where the tool is.
func TestTasksFindTheirServers(t *testing.T) {
	w := newWorld(t)
	id := w.tasks.Seal(session.Task{Server: "twin", Tool: "twin_both", ID: "1"}, session.Subject{})
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		d := new(Decision)
		w.router.Route(stateless(new(Request), method, id), aboutTask(method, id), d)
		require.Nil(t, d.Reply, method)
		assert.Equal(t, []string{wire.BrokerCluster, "twin", method, id},
			[]string{labels(d)[wire.HeaderCluster], labels(d)[wire.HeaderServer], labels(d)[wire.HeaderMethod], labels(d)[wire.HeaderMCPName]})
		assert.NotContains(t, facts(d), wire.KeyTool, "no call is counted")
		assert.Nil(t, d.Body)
	}
	of := func(task session.Task) string { return w.tasks.Seal(task, session.Subject{}) }
	for name, wrong := range map[string]string{
		"of a server that is not there":   of(session.Task{Server: "gone", Tool: "twin_both", ID: "1"}),
		"of a tool that is not there":     of(session.Task{Server: "twin", Tool: "twin_gone", ID: "1"}),
		"of a server without tasks":       of(session.Task{Server: "era", Tool: "era_look", ID: "1"}),
		"of a tool that is another's now": of(session.Task{Server: "twin", Tool: "era_look", ID: "1"}),
		"of another caller":               w.tasks.Seal(session.Task{Server: "twin", Tool: "twin_both", ID: "1"}, session.SubjectFrom("i", "s")),
		"of another gateway":              session.NewTasks(session.GenerateKey()).Seal(session.Task{Server: "twin", Tool: "twin_both", ID: "1"}, session.Subject{}),
		"of the server's own":             "1",
		"that is too long":                strings.Repeat("x", 9000),
	} {
		d := new(Decision)
		w.router.Route(stateless(new(Request), "tasks/get", wrong), aboutTask("tasks/get", wrong), d)
		require.NotNil(t, d.Reply, name)
		assert.Contains(t, string(d.Reply.Body), "-32602", name)
	}
	d := new(Decision)
	w.router.Route(stateless(new(Request), "tasks/get", "other"), aboutTask("tasks/get", id), d)
	require.NotNil(t, d.Reply)
	assert.Contains(t, string(d.Reply.Body), "-32020", "Mcp-Name has to repeat the id")

	req := stateless(new(Request), "tasks/get", id)
	req.Add(wire.HeaderVirtualServer, "forecasts")
	d = new(Decision)
	w.router.Route(req, aboutTask("tasks/get", id), d)
	require.NotNil(t, d.Reply, "a virtual server has no tasks of tools that it has not (Invariant 5)")

	d = new(Decision)
	w.router.Route(post(w.open.Token()), []byte(`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"`+id+`"}}`), d)
	require.NotNil(t, d.Reply)
	assert.Contains(t, string(d.Reply.Body), "-32601", "the tasks of sessions are not these")
}

// TestCallsThatMayBecomeTasks: only where client and server have the extension does the broker look for the id of a task; all others go straight to their server.
func TestCallsThatMayBecomeTasks(t *testing.T) {
	w := newWorld(t)
	declared := strings.Replace(requestMeta, `{"elicitation":{"form":{}}}`, `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`, 1)
	require.NotEqual(t, requestMeta, declared)
	for _, c := range []struct{ tool, meta, cluster string }{
		{"twin_both", requestMeta, "twin"},
		{"twin_both", declared, wire.BrokerCluster},
		{"era_look", declared, "era"},
	} {
		d := new(Decision)
		w.router.Route(stateless(new(Request), "tools/call", c.tool), call(`{"name":"`+c.tool+`",`+c.meta+`}`), d)
		require.Nil(t, d.Reply)
		assert.Equal(t, c.cluster, labels(d)[wire.HeaderCluster], c.tool)
	}
	assert.True(t, w.snap.All().Features().Tasks)
	assert.False(t, catalog.Build(catalog.Input{}).All().Features().Tasks)
}
