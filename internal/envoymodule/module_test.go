package envoymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// TestLabels: a call goes on to its server with its labels, and with no byte changed that need not change (Invariant 1).
func TestLabels(t *testing.T) {
	g := start(t)
	body := callOf(hugeID, "w_write")
	want := callOf(hugeID, "write")
	cut := strings.Index(body, "w_write") + 3
	for name, pieces := range map[string][]string{
		"one piece": {body}, "an empty end": {body, ""}, "two pieces": {body[:cut], body[cut:]}, "many": strings.SplitAfter(body, ","),
	} {
		t.Run(name, func(t *testing.T) {
			e := g.post("x-mcp-servername", "forged")
			got, goesOn := e.send(pieces...)
			assert.True(t, goesOn)
			assert.Equal(t, want, got)
			header := func(name string) string { return e.request.GetOne(name).ToString() }
			assert.Equal(t, []string{"weather", "weather", "write", "weather.example", "/weather", "b1"},
				[]string{header("x-mcp-cluster"), header("x-mcp-servername"), header("x-mcp-toolname"), header(":authority"), header(":path"), header("mcp-session-id")})
			assert.Equal(t, []string{hugeID, "w_write", "1"}, []string{e.metadata["id"], e.metadata["public_name"], e.metadata["watched"]})
			assert.True(t, e.cleared, "the route is looked for anew")
			assert.NotEmpty(t, header("content-length"))
			e.end()
		})
	}
	g.hub.Sync()
	assert.Equal(t, 4, g.counted["server 0"])
}

func TestRefusals(t *testing.T) {
	g := start(t)
	for name, tc := range map[string]struct {
		e      *envoy
		pieces []string
		want   string
	}{
		"nothing there":   {g.request(":method", "GET", ":path", "/elsewhere"), nil, `404 application/json {"jsonrpc":"2.0","error":{"code":-32600`},
		"unknown tool":    {g.post(), []string{callOf("1", "w_none")}, `200 application/json {"jsonrpc":"2.0","id":1,"error":{"code":-32602`},
		"no JSON":         {g.post(), []string{"{"}, `400 application/json {"jsonrpc":"2.0","error":{"code":-32700`},
		"announced":       {g.post("content-length", "5000"), []string{"x"}, "413 application/json"},
		"grown":           {g.post(), []string{strings.Repeat(" ", 3000), strings.Repeat(" ", 3000), "x"}, "413 application/json"},
		"grown at last":   {g.post(), []string{strings.Repeat(" ", 3000), strings.Repeat(" ", 3000)}, "413 application/json"},
		"a forged token":  {g.request(":method", "GET", ":path", "/mcp", "accept", "text/event-stream", "mcp-session-id", "x"), nil, "404 application/json"},
		"DELETE with one": {g.request(":method", "DELETE", ":path", "/mcp", "mcp-session-id", g.session.Token()), []string{"x"}, "400 application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, goesOn := tc.e.send(tc.pieces...)
			assert.False(t, goesOn)
			assert.Equal(t, tc.want, tc.e.reply[:min(len(tc.want), len(tc.e.reply))])
			assert.Equal(t, "message", tc.e.metadata["reply"])
			assert.Equal(t, shared.HeadersStatusContinue, tc.e.head("200", "text/html", true), "the reply itself is not looked at")
			tc.e.end()
			assert.Equal(t, 1, tc.e.replies)
		})
	}
}

// TestWaiting: a session that is not known here yet makes its request wait, wherever the request has got to by then.
func TestWaiting(t *testing.T) {
	g := start(t)
	body := callOf("1", "w_write")
	for name, pieces := range map[string][]string{"whole": {body}, "in pieces": {body[:30], body[30:]}} {
		t.Run(name, func(t *testing.T) {
			fresh := g.open()
			g.hub.Sync()
			g.factory.(*factory).mirror.Bury(fresh.Token()) // as if it had not come
			e := g.post()
			e.request.Set("mcp-session-id", fresh.Token())
			got, goesOn := e.send(pieces...)
			assert.False(t, goesOn)
			assert.Equal(t, body, got, "Envoy keeps it")
			e.work()
			assert.Contains(t, e.reply, "404 application/json", "what has been buried does not come back")
			e.end()
		})
	}
	t.Run("found", func(t *testing.T) {
		e := g.post()
		fresh := g.open() // the push may or may not have come
		e.request.Set("mcp-session-id", fresh.Token())
		got, goesOn := e.send(body)
		if !goesOn {
			e.work()
			assert.True(t, e.resumed)
			got = string(e.buffered.Body)
		}
		assert.Equal(t, callOf("1", "write"), got)
		e.end()
	})
	t.Run("the client leaves", func(t *testing.T) {
		fresh := g.open()
		g.hub.Sync()
		g.factory.(*factory).mirror.Bury(fresh.Token())
		e := g.post()
		e.request.Set("mcp-session-id", fresh.Token())
		e.send(body)
		e.end()
		assert.Zero(t, e.replies)
	})
}

func TestTrailersEndABody(t *testing.T) {
	g := start(t)
	e := g.post()
	require.Equal(t, shared.HeadersStatusStop, e.filter.OnRequestHeaders(e.request, false))
	received := e.buffered
	received.Append([]byte(callOf("1", "w_write")))
	require.Equal(t, shared.BodyStatusStopAndBuffer, e.filter.OnRequestBody(received, false))
	assert.Equal(t, shared.TrailersStatusContinue, e.filter.OnRequestTrailers(nil))
	assert.Equal(t, callOf("1", "write"), string(e.buffered.Body))
	e.end()
}

// TestTracks: while a call is in flight its cancellation finds its server, and not afterwards.
func TestTracks(t *testing.T) {
	g := start(t)
	e := g.post()
	e.send(callOf("7", "w_write"))
	cancel := func() *envoy {
		n := g.post()
		_, goesOn := n.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
		assert.True(t, goesOn)
		n.end()
		return n
	}
	assert.Equal(t, "weather", cancel().request.GetOne("x-mcp-cluster").ToString())
	e.end()
	assert.Equal(t, "mcp_broker", cancel().request.GetOne("x-mcp-cluster").ToString())
}

// TestToolsAreCounted: each call that goes on, and for how long those go on that Envoy carries. The broker knows of those that it makes.
func TestToolsAreCounted(t *testing.T) {
	g := start(t)
	g.replay = func(*router.Call) *router.Reply { return nil }
	counts := func(server, tool string) tally.Counts {
		g.hub.Sync()
		return g.snapshot.Tool(server, tool).Calls.Counts()
	}
	e := g.post()
	e.send(callOf("1", "p_read"))
	assert.Equal(t, tally.Counts{Calls: 1, Open: 1}, counts("plain", "read"))
	e.head("200", "application/json", false)
	assert.Equal(t, tally.Counts{Calls: 1, Open: 1}, counts("plain", "read"), "until the last byte")
	e.end()
	assert.Equal(t, tally.Counts{Calls: 1}, counts("plain", "read"))

	refused := g.post()
	refused.send(callOf("2", "p_none"))
	refused.end()
	e = g.post()
	e.send(callOf("3", "w_read"))
	assert.Equal(t, tally.Counts{Calls: 1, Open: 1}, counts("weather", "read"))
	e.head("404", "text/plain", false)
	assert.Equal(t, tally.Counts{Calls: 1}, counts("weather", "read"), "the broker makes it again")
	e.work()
	e.end()
	assert.Equal(t, tally.Counts{Calls: 1}, counts("weather", "read"))
	e = g.post()
	e.send(callOf("4", "w_write"))
	assert.Equal(t, "mcp_broker", e.request.GetOne("x-mcp-cluster").ToString(), "its session is forgotten")
	assert.Equal(t, tally.Counts{Calls: 1}, counts("weather", "write"))
	e.end()
	assert.Equal(t, tally.Counts{Calls: 1}, counts("weather", "write"))
}

// TestJudge: what no client must see of a server without sessions becomes an error; a reply of Envoy's own passes.
func TestJudge(t *testing.T) {
	g := start(t)
	for _, tc := range []struct {
		status, contentType, details string
		end                          bool
		want                         string
	}{
		{"200", "application/json", "via_upstream", false, ""},
		{"200", "application/json; charset=utf-8", "via_upstream", false, ""},
		{"200", "text/event-stream", "via_upstream", false, ""},
		{"200", "text/html", "via_upstream", false, "502 application/json {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"server 'plain' answered with neither JSON nor an event stream (HTTP status 200)\"}}"},
		{"302", "", "via_upstream", true, "502"},
		{"401", "application/json", "via_upstream", false, "502"},
		{"401", "application/json", "jwt_authn_access_denied", false, ""},
		{"503", "text/plain", "upstream_reset_before_response_started", false, ""},
		{"202", "", "via_upstream", true, "502"},
	} {
		e := g.post()
		_, goesOn := e.send(callOf("1", "p_read"))
		require.True(t, goesOn)
		e.details = tc.details
		passes := e.head(tc.status, tc.contentType, tc.end) == shared.HeadersStatusContinue
		assert.Equal(t, tc.want == "", passes, tc)
		assert.Equal(t, tc.want, e.reply[:min(len(tc.want), len(e.reply))])
		e.end()
	}
}

// TestReports: the hub is told of each call once it has ended, with what became of it and how long its server took, if it was the server that answered.
func TestReports(t *testing.T) {
	g := start(t)
	read := callreport.Kind{Server: "plain", Tool: "read", PublicName: "p_read"}
	for _, tc := range []struct {
		name    string
		tool    string
		answer  func(e *envoy)
		want    callreport.Call
		answers bool // the server does
	}{
		{"answered", "p_read", func(e *envoy) {
			e.status = 200
			e.head("200", "application/json", false)
			e.body(`{"jsonrpc"`, false)
			e.body(`:"2.0","id":7,"result":{}}`, true)
		}, callreport.Call{Status: 200, Kind: read}, true},
		{"answered by Envoy", "p_read", func(e *envoy) {
			e.status, e.details = 503, "upstream_reset_before_response_started"
			e.head("503", "text/plain", true)
		}, callreport.Call{Status: 503, Kind: read}, false},
		{"left by its client", "p_read", func(*envoy) {}, callreport.Call{Kind: read}, false},
		{"refused here", "none", func(e *envoy) { e.status = 200 }, callreport.Call{Status: 200}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.True(t, g.session.SetBackend("plain", session.Backend{Revision: "2025-11-25", Fingerprint: snapshot().Server("plain").Fingerprint}))
			g.hub.Sync()
			g.ended = nil
			before := time.Now()
			e := g.post()
			e.send(callOf("7", tc.tool))
			tc.answer(e)
			e.end()
			g.hub.Sync()
			require.Len(t, g.ended, 1)
			got := g.ended[0]
			assert.False(t, got.Start.Before(before.Truncate(0)))
			assert.Positive(t, got.Duration)
			assert.LessOrEqual(t, got.Upstream, got.Duration)
			assert.Equal(t, tc.answers, got.Upstream > 0)
			tc.want.Method, tc.want.ID = "tools/call", []byte("7")
			tc.want.Start, tc.want.Duration, tc.want.Upstream = got.Start, got.Duration, got.Upstream
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestEventStream(t *testing.T) {
	g := start(t)
	e := g.post()
	e.send(callOf("1", "w_write"))
	require.Equal(t, shared.HeadersStatusContinue, e.head("200", "text/event-stream", false))
	assert.Zero(t, e.response.GetOne("content-length").Len)
	progress := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1.10}}\n\n"
	assert.Empty(t, e.body(progress[:20], false))
	assert.Equal(t, progress, e.body(progress[20:], false))
	asked := sse.Parse([]byte(e.body("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\n\n", false)))
	assert.Contains(t, string(asked.Data), `"id":"gw.r.weather.`)
	assert.Contains(t, e.body("", true), "closed the stream before it had answered")
	e.end()
}

func TestForgottenSession(t *testing.T) {
	g := start(t)
	g.replay = func(c *router.Call) *router.Reply {
		return &router.Reply{Status: http.StatusOK, Headers: []router.Header{{Name: "content-type", Value: "text/event-stream"}}, Body: append([]byte("again "), c.Body...)}
	}
	opened := 1
	again := func(tool, status string) *envoy {
		e := g.post()
		opened++
		require.True(t, g.session.SetBackend("weather", backend(fmt.Sprint("b", opened))))
		g.hub.Sync()
		_, goesOn := e.send(callOf("1", tool))
		require.True(t, goesOn)
		if e.head(status, "text/plain", false) == shared.HeadersStatusStopAllAndWatermark {
			e.work()
		}
		return e
	}
	e := again("w_read", "404")
	assert.Equal(t, "200 text/event-stream again "+callOf("1", "read"), e.reply)
	assert.Equal(t, "stream", e.metadata["reply"])
	e.end()

	e = again("w_write", "404")
	assert.Contains(t, e.reply, "has forgotten its session; call again")
	e.end()

	g.forgotten = true
	e = again("w_write", "400")
	assert.Contains(t, e.reply, "has forgotten its session; call again")
	e.end()

	g.forgotten = false
	e = again("w_write", "400")
	assert.True(t, e.answered, "the server knows it: its body is judged")
	assert.Equal(t, "application/json", e.response.GetOne("content-type").ToString())
	assert.Empty(t, e.body("No valid", false))
	assert.Contains(t, e.body(" session", true), "has forgotten its session; call again")
	e.end()
}

// TestDelete: a session is over here before its client hears so.
func TestDelete(t *testing.T) {
	g := start(t)
	for _, status := range []string{"403", "204"} {
		e := g.request(":method", "DELETE", ":path", "/mcp", "mcp-session-id", g.session.Token())
		_, goesOn := e.send()
		require.True(t, goesOn)
		e.head(status, "", true)
		e.end()
		assert.Equal(t, status == "403", g.factory.(*factory).mirror.State().Sure(g.session.Token()))
	}
}

// TestFaults: a panic fails one request, whichever callback it comes from, and nothing else.
func TestFaults(t *testing.T) {
	g := start(t)
	e := g.post()
	e.panics = "SetMetadata"
	assert.NotPanics(t, func() { e.send(callOf(hugeID, "w_write")) })
	assert.Contains(t, e.log.String(), "contained a fault in the router: on purpose")
	assert.Equal(t, shared.HeadersStatusContinue, e.head("500", "application/json", false))
	e.end()

	e = g.post()
	e.send(callOf(hugeID, "p_read"))
	e.panics = "GetAttributeString"
	assert.Equal(t, shared.HeadersStatusStop, e.head("302", "", true))
	assert.Contains(t, e.reply, `500 application/json {"jsonrpc":"2.0","id":`+hugeID+`,"error":{"code":-32603`)
	e.end()
	assert.Equal(t, 2, g.countedFaults())

	e = g.post()
	_, goesOn := e.send(callOf("1", "w_write"))
	assert.True(t, goesOn)
	e.end()
}

func TestConfiguration(t *testing.T) {
	m := New("1")
	for _, bad := range []string{"", "{", "{}", `{"socket":1}`, `{"socket":"/nowhere","version":"2"}`} {
		_, err := m.Create(&configHandle{t: t}, []byte(bad))
		require.Error(t, err, bad)
	}
	_, err := m.CreatePerRoute(nil)
	require.Error(t, err)
	one, err := m.Create(&configHandle{t: t}, []byte(`{"socket":"/nowhere"}`))
	require.NoError(t, err)
	two, err := m.Create(&configHandle{t: t}, []byte(`{"socket":"/nowhere","version":"1"}`))
	require.NoError(t, err)
	assert.Same(t, one.(*factory).mirror, two.(*factory).mirror, "a new listener goes on with what is known")
	one.OnDestroy()
	assert.NotEmpty(t, m.mirrors)
	two.OnDestroy()
	assert.Empty(t, m.mirrors)
}
