package dataplane_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// direct tells whether a call came from the client through Envoy alone: the broker has a user agent of its own.
func direct(c *testbed.Call) bool { return c.UserAgent() == "testbed" }

func TestSessions(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
			{Name: "write"}, {Name: "read", Annotations: `{"readOnlyHint":true}`}, {Name: "again", Annotations: `{"idempotentHint":true}`},
		}})
		plain := testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
		g.AwaitTools(t, "u_write", "plain_tool")
		t.Run("racing first calls open one session", func(t *testing.T) { raceFirstCalls(t, g, u) })
		t.Run("two clients have two sessions", func(t *testing.T) { twoClients(t, g, u) })
		t.Run("DELETE ends everything", func(t *testing.T) { deleteSession(t, g, u) })
		t.Run("server without sessions", func(t *testing.T) { sessionless(t, g, plain) })
		t.Run("bound to the caller", func(t *testing.T) { boundToCaller(t, g) })
		t.Run("revisions", func(t *testing.T) { revisions(t, g, u) })
		// The last one: it makes the server forget everybody.
		t.Run("forgotten by the server", func(t *testing.T) { forgotten(t, g, u) })
	})
}

// raceFirstCalls: however many calls race, the server sees one initialize of this client; what follows goes past the broker.
func raceFirstCalls(t *testing.T, g *testbed.Gateway, u *testbed.Upstream) {
	c := testbed.Connect(t, g.Endpoint)
	const racing = 20
	answers := make([]*testbed.Answer, racing)
	ids := make([]int64, racing)
	errs := make([]error, racing)
	var wait sync.WaitGroup
	for i := range racing {
		body, id := c.ToolCall("u_write", "{}")
		ids[i] = id
		wait.Go(func() { answers[i], errs[i] = c.TryDo(t, http.MethodPost, strings.NewReader(body)) })
	}
	wait.Wait()
	for i, a := range answers {
		require.NoError(t, errs[i])
		assert.Contains(t, a.Message(t), fmt.Sprintf(`"id":%d,"result"`, ids[i]))
	}
	assert.Len(t, u.Calls(c.Name, testbed.RPC("initialize")), 1, "one backend session is opened")
	assert.Len(t, u.Calls(c.Name, testbed.RPC("notifications/initialized")), 1)
	assert.Len(t, u.Calls(c.Name, testbed.RPC("tools/call")), racing)

	before := len(u.Calls(c.Name, direct))
	for range 3 {
		c.Call(t, "u_write", "{}").Result(t)
	}
	assert.Len(t, u.Calls(c.Name, direct), before+3, "later calls go straight to the server")
	for _, call := range u.Calls(c.Name, testbed.RPC("tools/call")) {
		assert.Equal(t, []string{call.Header.Get("Mcp-Session-Id")}, u.Sessions(c.Name), "all in the one session, with the server's own id for it")
		assert.Equal(t, "2025-11-25", call.Header.Get("Mcp-Protocol-Version"))
	}
}

// twoClients: no client ever works in another's backend session.
func twoClients(t *testing.T, g *testbed.Gateway, u *testbed.Upstream) {
	var sessions []string
	for i := range 2 {
		c := testbed.NewClient(t, g.Endpoint)
		c.Name = fmt.Sprintf("%s %d", t.Name(), i)
		c.Initialize(t, "{}")
		for range 2 {
			a := c.Call(t, "u_write", "{}")
			a.Result(t)
			assert.Empty(t, a.Header.Values("Mcp-Session-Id"), "a server's session id is nothing for clients")
		}
		sessions = append(sessions, u.Sessions(c.Name)...)
	}
	require.Len(t, sessions, 2)
	assert.NotEqual(t, sessions[0], sessions[1])
}

// deleteSession: from a DELETE on the token is refused everywhere, and the server has been told (Invariant 11).
func deleteSession(t *testing.T, g *testbed.Gateway, u *testbed.Upstream) {
	c := testbed.Connect(t, g.Endpoint)
	c.Call(t, "u_write", "{}").Result(t)
	stream := c.Listen(t)
	require.Len(t, u.Sessions(c.Name), 1)
	id := u.Sessions(c.Name)[0]

	assert.Equal(t, http.StatusNoContent, c.Do(t, http.MethodDelete, nil).Status)
	testbed.Await(t, "the server's session to be deleted", func() bool { return len(u.Sessions(c.Name)) == 0 })
	deleted := u.Calls(c.Name, testbed.Verb(http.MethodDelete))
	require.Len(t, deleted, 1)
	assert.Equal(t, id, deleted[0].Header.Get("Mcp-Session-Id"))
	_, more := stream.TryNext(t)
	assert.False(t, more, "the client's stream ends with the session")

	body, _ := c.ToolCall("u_write", "{}")
	for _, tt := range []struct{ method, body string }{
		{http.MethodPost, body},
		{http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`},
		{http.MethodGet, ""},
		{http.MethodDelete, ""},
	} {
		var content io.Reader
		if tt.body != "" {
			content = strings.NewReader(tt.body)
		}
		a := c.Do(t, tt.method, content)
		assert.Equal(t, http.StatusNotFound, a.Status, tt.method)
		assert.Equal(t, -32600, a.Error(t).Code, tt.method)
	}
	c.Session = ""
	c.Initialize(t, "{}")
	c.Call(t, "u_write", "{}").Result(t)
}

// sessionless: a server that issues no session ids needs none opened, and gets no id that is not its own.
func sessionless(t *testing.T, g *testbed.Gateway, plain *testbed.Upstream) {
	c := testbed.Connect(t, g.Endpoint)
	before := len(plain.AllCalls())
	for range 3 {
		assert.Contains(t, c.Call(t, "plain_tool", "{}").Text(t), `"tools/call"`)
	}
	calls := plain.AllCalls()[before:]
	require.Len(t, calls, 3)
	for _, call := range calls {
		assert.Equal(t, "tools/call", call.RPC)
		assert.Empty(t, call.Header.Values("Mcp-Session-Id"))
	}
}

// jwtOf is a token of a caller. Nobody verifies it here: that is a policy's part.
func jwtOf(subject string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return "Bearer " + part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"iss":"https://issuer.example.com","sub":%q}`, subject)) + "." + part("signature")
}

// boundToCaller: a session that one caller opened does not exist for another, who may have stolen its token.
func boundToCaller(t *testing.T, g *testbed.Gateway) {
	c := testbed.NewClient(t, g.Endpoint)
	c.Initialize(t, "{}", "Authorization", jwtOf("alice"))
	body, id := c.ToolCall("u_read", "{}")
	for name, headers := range map[string][]string{
		"another caller": {"Authorization", jwtOf("mallory")},
		"nobody":         nil,
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			var sent io.Reader
			if method == http.MethodPost {
				sent = strings.NewReader(body)
			}
			a := c.Do(t, method, sent, headers...)
			assert.Equal(t, http.StatusNotFound, a.Status, "%s: %s", name, method)
			if method == http.MethodPost {
				assert.Equal(t, fmt.Sprint(id), a.Error(t).ID)
			}
		}
	}
	c.Post(t, body, "Authorization", jwtOf("alice")).Result(t)
}

// revisions: a client's revision holds at the server, and a client of a revision that the gateway does not know is told
// of one that it knows.
func revisions(t *testing.T, g *testbed.Gateway, u *testbed.Upstream) {
	for asked, want := range map[string]string{
		"2025-03-26": "2025-03-26", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25", "2024-11-05": "2025-11-25", "1999-01-01": "2025-11-25",
	} {
		c := testbed.NewClient(t, g.Endpoint)
		c.Name = t.Name() + " " + asked
		a := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":%q,"version":"1"}}}`, asked, c.Name))
		assert.Contains(t, a.Result(t), fmt.Sprintf(`"protocolVersion":%q`, want), asked)
		c.Session = a.Header.Get("Mcp-Session-Id")
		for range 2 {
			c.Call(t, "u_write", "{}", "Mcp-Protocol-Version", want).Result(t)
		}
		for _, call := range u.Calls(c.Name, testbed.RPC("tools/call")) {
			assert.Equal(t, want, call.Header.Get("Mcp-Protocol-Version"), asked)
		}
	}
}

// forgotten: a session that a server forgot is never the client's 404. A call that may be repeated is, and another fails
// once and says so.
func forgotten(t *testing.T, g *testbed.Gateway, u *testbed.Upstream) {
	inWords := func(w http.ResponseWriter, c *testbed.Call) bool {
		id := c.Header.Get("Mcp-Session-Id")
		if id == "" || strings.HasPrefix(id, "upstream-session-") && u.Knows(id) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`)
		return true
	}
	for name, before := range map[string]func(http.ResponseWriter, *testbed.Call) bool{"by status 404": nil, "by status 400 with words": inWords} {
		t.Run(name, func(t *testing.T) {
			u.Change(func(s *testbed.Script) { s.Before = before })
			c := testbed.Connect(t, g.Endpoint)
			for _, tool := range []string{"u_read", "u_again"} {
				c.Call(t, tool, "{}").Result(t)
				u.Forget()
				c.Call(t, tool, `{"replayed":true}`).Result(t)
			}
			u.Forget()
			once := "once, " + name
			body, id := c.ToolCall("u_write", fmt.Sprintf(`{"what":%q}`, once))
			a := c.Post(t, body)
			assert.Equal(t, http.StatusBadGateway, a.Status)
			e := a.Error(t)
			assert.Equal(t, -32603, e.Code)
			assert.Equal(t, fmt.Sprint(id), e.ID)
			c.Call(t, "u_write", "{}").Result(t)
			sent := 0
			for _, call := range u.AllCalls() {
				sent += strings.Count(string(call.Body), once)
			}
			assert.Equal(t, 1, sent, "what may have an effect is not sent twice")
			assert.Len(t, u.Sessions(c.Name), 1)
		})
	}
}

// TestSessionsExpire: a session ends by itself, for the client and at the servers.
func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	g := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--session-max-age", "4s"}})
	g.AwaitTools(t, "u_tool")
	c := testbed.Connect(t, g.Endpoint)
	c.Call(t, "u_tool", "{}").Result(t)
	require.Len(t, u.Sessions(c.Name), 1)
	testbed.Await(t, "the session to expire", func() bool {
		a := c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		return a.Status == http.StatusNotFound && a.Error(t).Code == -32600
	})
	testbed.Await(t, "the server's session to be closed", func() bool { return len(u.Sessions(c.Name)) == 0 })
}

// TestRestartedServers: real servers that forget everything, each in its own words. A client's session outlives them.
func TestRestartedServers(t *testing.T) {
	t.Parallel()
	servers := realServers(t)
	g := testbed.StartGateway(t, testbed.Options{Servers: specsOf(servers)})
	var tools []string
	for _, tt := range realCalls() {
		tools = append(tools, tt.tool)
	}
	g.AwaitTools(t, tools...)
	s := testbed.Connect(t, g.Endpoint)
	call := func(tt realCall) *testbed.Answer {
		args, err := json.Marshal(tt.args)
		require.NoError(t, err)
		return s.Call(t, tt.tool, string(args))
	}
	for _, tt := range realCalls() {
		assert.Contains(t, call(tt).Text(t), tt.want)
	}
	for _, server := range servers {
		server.Restart(t)
	}
	for _, tt := range realCalls() {
		a := call(tt)
		if a.Status != http.StatusOK {
			assert.Equal(t, http.StatusBadGateway, a.Status, tt.tool)
			assert.Equal(t, -32603, a.Error(t).Code, "it fails once, and says so: %s", tt.tool)
			a = call(tt)
		}
		assert.Contains(t, a.Text(t), tt.want)
	}
}

// TestMaxSessions: one session more than there may be is refused as what can be tried again, and harms none that is open.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	g := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--max-sessions=1"}})
	g.AwaitTools(t, "u_tool")
	first := testbed.Connect(t, g.Endpoint)
	a := testbed.NewClient(t, g.Endpoint).Post(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.Contains(t, a.Error(t).Message, "too many sessions are open")
	first.Call(t, "u_tool", "{}").Result(t)
	assert.Equal(t, http.StatusNoContent, first.Do(t, http.MethodDelete, nil).Status)
	testbed.Connect(t, g.Endpoint)
}
