package broker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// everyInput are the capabilities of a client that can be asked for anything.
const everyInput = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}`

// modern is a request of a modern client.
type modern struct {
	server, id, method, params string // params are the members
	capabilities               string
	meta                       string // further members of _meta, each with a comma before it
	caller                     string // subject of the token; empty: none
	virtual                    string
}

func (m modern) request() request {
	if m.server == "" {
		m.server = "weather"
	}
	if m.id == "" {
		m.id = "1"
	}
	if m.method == "" {
		m.method, m.params = "tools/call", `"name":"t","arguments":{"n":9007199254740993}`+m.params
	}
	if m.capabilities == "" {
		m.capabilities = "{}"
	}
	h := http.Header{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {m.method}}
	if m.caller != "" {
		h.Set("Authorization", tokenOf(m.caller))
	}
	if m.virtual != "" {
		h.Set("X-Mcp-Virtualserver", m.virtual)
	}
	return request{server: m.server, header: h, body: `{"jsonrpc":"2.0","id":` + m.id + `,"method":"` + m.method + `","params":{` + m.params +
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"new","version":"1"},` +
		`"io.modelcontextprotocol/clientCapabilities":` + m.capabilities + m.meta + `}}}`}
}

func tokenOf(subject string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return "Bearer " + part(`{"alg":"none"}`) + "." + part(`{"iss":"https://issuer.example","sub":"`+subject+`"}`) + ".c2ln"
}

// legacy is a scripted server with sessions that says who it is.
func legacy(name string, s *script) server {
	srv := scripted(name, s)
	srv.listing.ServerInfo = json.RawMessage(`{"name":"script","version":"1"}`)
	return srv
}

const (
	complete   = `"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"script","version":"1"}}`
	elicitForm = `{"jsonrpc":"2.0","id":%s,"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","x":1.10}}}`
)

// TestModernClient: a server with sessions sees a session, and the client sees none.
func TestModernClient(t *testing.T) {
	weather := newScript()
	f := start(t, legacy("weather", weather))
	a := f.do(modern{id: hugeID, capabilities: everyInput}.request())
	assert.Equal(t, http.StatusOK, a.status)
	assert.Empty(t, a.header.Get("Mcp-Session-Id"))
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{`+complete+`,"did":"tools/call"}}`, a.body)
	opened := weather.requests("initialize")[0]
	assert.Contains(t, opened.body, `"params":{"protocolVersion":"2025-11-25","capabilities":`+everyInput+`,"clientInfo":{"name":"new","version":"1"}}`)
	call := weather.requests("tools/call")[0]
	assert.Equal(t, "s-1", call.session)
	assert.Equal(t, "2025-11-25", call.header.Get("Mcp-Protocol-Version"))
	assert.Empty(t, call.header.Get("Mcp-Method"))
	m, fault := jsonrpc.Parse([]byte(call.body), jsonrpc.Limits{})
	require.Nil(t, fault)
	wantBytes(t, `{"name":"t","arguments":{"n":9007199254740993},"_meta":{}}`, string(m.Params.Of(m.Body)))
	assert.NotEqual(t, hugeID, string(m.ID.Of(m.Body)), "ids of many clients meet in one session")

	f.broker.Close(t.Context())
	weather.await(t, http.MethodDelete, 1)
}

// TestPooledSessions: who shares a session is one caller with one kind of client.
func TestPooledSessions(t *testing.T) {
	weather := newScript()
	f := start(t, legacy("weather", weather))
	for _, tc := range []struct {
		m    modern
		want string
	}{
		{modern{caller: "alice"}, "s-1"},
		{modern{caller: "bob"}, "s-2"},
		{modern{caller: "alice"}, "s-1"},
		{modern{caller: "alice", capabilities: everyInput}, "s-3"},
		{modern{}, "s-4"},
		{modern{caller: "bob"}, "s-2"},
	} {
		f.do(tc.m.request())
		calls := weather.requests("tools/call")
		assert.Equal(t, tc.want, calls[len(calls)-1].session, "%+v", tc.m)
	}
	// A token that names nobody is told apart by itself.
	for i, token := range []string{"Bearer one", "Bearer two", "Bearer one"} {
		r := modern{}.request()
		r.header.Set("Authorization", token)
		f.do(r)
		calls := weather.requests("tools/call")
		assert.Equal(t, []string{"s-5", "s-6", "s-5"}[i], calls[len(calls)-1].session)
	}
}

// TestNoSessions: a server without sessions is called without any.
func TestNoSessions(t *testing.T) {
	weather := newScript()
	weather.knows("")
	srv := legacy("weather", weather)
	srv.listing.Sessions = false
	f := start(t, srv)
	a := f.do(modern{method: "resources/read", params: `"uri":"x:y"`}.request())
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private",`+
		`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"script","version":"1"}},"did":"resources/read"}}`, a.body)
	assert.Empty(t, weather.requests("initialize"))
	assert.Equal(t, "2025-11-25", weather.requests("resources/read")[0].header.Get("Mcp-Protocol-Version"))
}

// TestModernStream: what belongs to the call comes while it runs (Invariant 10), under the client's names, and nothing else does.
func TestModernStream(t *testing.T) {
	read := make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		token, err := m.Lookup("_meta", "progressToken")
		require.NoError(t, err)
		event(w, "e1", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(token.Of(m.Body))+`,"progress":1.10}}`)
		event(w, "e2", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"another","progress":1}}`)
		event(w, "e3", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"debug","data":1}}`)
		event(w, "e4", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1.10}}`)
		event(w, "e5", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		event(w, "e6", `[{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}, {"jsonrpc":"2.0","method":"notifications/example","params":{"n":1.10}}]`)
		select {
		case <-read:
		case <-r.Context().Done():
		}
		event(w, "e7", resultOf(m, `{"n":9007199254740993}`))
	})
	f := start(t, legacy("weather", weather))
	e := f.stream(modern{id: `"a"`, meta: `,"progressToken":7,"io.modelcontextprotocol/logLevel":"info"`}.request())
	for _, want := range []string{
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1.10}}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1.10}}`,
		`{"jsonrpc":"2.0","method":"notifications/example","params":{"n":1.10}}`,
	} {
		ev := e.next()
		wantBytes(t, want, string(ev.Data))
		assert.False(t, ev.HasID, "streams of this revision are not resumed")
	}
	assert.Equal(t, "no", e.resp.Header.Get("X-Accel-Buffering"))
	close(read)
	wantBytes(t, `{"jsonrpc":"2.0","id":"a","result":{`+complete+`,"n":9007199254740993}}`, string(e.next().Data))
	e.ended()
	assert.Equal(t, "weather", await(t, f.poked))
	level := weather.requests("logging/setLevel")
	if assert.Len(t, level, 1) {
		assert.Contains(t, level[0].body, `{"level":"info"}`)
	}
	f.do(modern{meta: `,"io.modelcontextprotocol/logLevel":"error"`}.request())
	assert.Len(t, weather.requests("logging/setLevel"), 1, "who wants less gets less here, not there")
	a := f.do(modern{meta: `,"io.modelcontextprotocol/logLevel":"loud"`}.request())
	wantErrorBody(t, a.body, "1", -32602, "must be one of debug")
}

// TestEqualIDs: calls of one session are told apart, however alike their ids and tokens are.
func TestEqualIDs(t *testing.T) {
	var wait sync.WaitGroup
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		token, _ := m.Lookup("_meta", "progressToken")
		n, _ := m.Lookup("arguments", "n")
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(token.Of(m.Body))+`,"progress":`+string(n.Of(m.Body))+`}}`)
		event(w, "", resultOf(m, `{"n":`+string(n.Of(m.Body))+`}`))
	})
	f := start(t, legacy("weather", weather))
	for i := range 30 {
		wait.Go(func() {
			r := modern{method: "tools/call", params: fmt.Sprintf(`"name":"t","arguments":{"n":%d}`, i), meta: `,"progressToken":"p"`}.request()
			a := f.do(r)
			assert.Equal(t, fmt.Sprintf("event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"p\",\"progress\":%d}}\n\n"+
				"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{%s,\"n\":%d}}\n\n", i, complete, i), a.body)
		})
	}
	wait.Wait()
	assert.Len(t, weather.requests("initialize"), 1)
}

// TestModernErrors: what goes wrong comes in the words of the client's revision.
func TestModernErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		does   reply
		status int
		code   int
		words  string
	}{
		"resource not found": {status(200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32002,"message":"none"}}`), 200, -32602, "none"},
		"unknown method":     {status(200, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"what?"}}`), 404, -32601, "what?"},
		"of its own":         {status(500, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32099,"message":"it rains"}}`), 500, -32099, "it rains"},
		"no answer":          {status(202, "", ""), 502, -32603, `server "weather" took the request without an answer`},
		"a page":             {status(200, "text/html", "<html>"), 502, -32603, "content type"},
		"no message":         {status(200, "application/json", "{"), 502, -32603, "no JSON-RPC message"},
		"no object":          {status(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":[]}`), 502, -32603, "no object"},
		"refused":            {status(401, "", ""), 502, -32603, "did not accept the gateway's own credential"},
		"stream broken off": {func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
			event(w, "", `{"jsonrpc":"2.0","method":"x"}`)
		}, 0, -32603, "closed the stream before it had answered"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, legacy("weather", newScript().does("tools/call", tc.does)))
			a := f.do(modern{id: hugeID}.request())
			if tc.status == 0 {
				blocks := strings.Split(strings.TrimSpace(a.body), "\n\n")
				a.body = strings.TrimPrefix(blocks[len(blocks)-1], "event: message\ndata: ")
			} else {
				assert.Equal(t, tc.status, a.status)
			}
			wantErrorBody(t, a.body, hugeID, tc.code, tc.words)
		})
	}
}

// TestForgottenPooled: a session that its server has forgotten is replaced, and the call is made again, once.
func TestForgottenPooled(t *testing.T) {
	weather := newScript()
	f := start(t, legacy("weather", weather))
	f.do(modern{}.request())
	weather.restart()
	a := f.do(modern{}.request())
	assert.Contains(t, a.body, `"did":"tools/call"`)
	assert.Len(t, weather.requests("initialize"), 2)
	weather.does("tools/call", status(http.StatusNotFound, "", ""))
	wantErrorBody(t, f.do(modern{}.request()).body, "1", -32603, "does not know the session that it has just opened")
	assert.Len(t, weather.requests("tools/call"), 5)
}

// TestResumesItself: the client's stream cannot be resumed, so that the gateway resumes the server's.
func TestResumesItself(t *testing.T) {
	weather := newScript()
	var call *jsonrpc.Message
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		call = m
		event(w, "e1", `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":1}}`)
	})
	weather.does(http.MethodGet, func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		switch r.Header.Get("Last-Event-ID") {
		case "e1":
			event(w, "e2", `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":2}}`)
		case "e2":
			event(w, "e3", resultOf(call, `{}`))
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
	f := start(t, legacy("weather", weather))
	e := f.stream(modern{}.request())
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":1}}`, string(e.next().Data))
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":2}}`, string(e.next().Data))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`}}`, string(e.next().Data))
	e.ended()
}

// TestClosingCancels: closing the stream cancels the call at a server that wants to be told (Invariant 11).
func TestClosingCancels(t *testing.T) {
	begun := make(chan string, 1)
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/example"}`)
		begun <- string(m.ID.Of(m.Body))
		<-r.Context().Done()
	})
	f := start(t, legacy("weather", weather))
	e := f.stream(modern{}.request())
	e.next()
	id := await(t, begun)
	e.close()
	told := weather.await(t, "notifications/cancelled", 1)[0]
	assert.Contains(t, told.body, `"requestId":`+id)
	assert.Equal(t, "s-1", told.session)
}

// TestOwnStream: some servers ask on the session's own stream what belongs to a call.
func TestOwnStream(t *testing.T) {
	asks := make(chan string, 1)
	answered := make(chan string, 1)
	weather := newScript()
	weather.does(http.MethodGet, func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case ask := <-asks:
				event(w, "", ask)
			case <-r.Context().Done():
				return
			}
		}
	})
	weather.does(http.MethodPost, func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		w.WriteHeader(http.StatusAccepted)
		answered <- string(m.Body)
	})
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		asks <- fmt.Sprintf(elicitForm, "7")
		answerJSON(w, m, `{"heard":`+<-answered+`}`)
	})
	f := start(t, legacy("weather", weather))
	asked := f.do(modern{capabilities: everyInput}.request())
	state, _ := inputOf(t, asked.body)
	a := f.do(modern{id: "2", capabilities: everyInput, params: retryOf(state, `"input-1":{"action":"accept"}`)}.request())
	wantBytes(t, `{"jsonrpc":"2.0","id":2,"result":{`+complete+`,"heard":{"jsonrpc":"2.0","id":7,"result":{"action":"accept"}}}}`, a.body)
}

// TestEarlyQuestion: what a server wants to know while no call is in flight, such as the roots of a client that it has just met, is asked at the
// beginning of the next call.
func TestEarlyQuestion(t *testing.T) {
	asks, answered := make(chan string, 1), make(chan string, 1)
	weather := newScript()
	weather.does(http.MethodGet, func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case ask := <-asks:
				event(w, "", ask)
			case <-r.Context().Done():
				return
			}
		}
	})
	weather.does(http.MethodPost, func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		w.WriteHeader(http.StatusAccepted)
		answered <- string(m.Body)
	})
	f := start(t, legacy("weather", weather))
	client := modern{capabilities: everyInput}
	f.do(client.request())
	asks <- rootsAsk
	asks <- `{"jsonrpc":"2.0","id":"old","method":"roots/list"}`
	asks <- `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"old"}}`
	asks <- `{"jsonrpc":"2.0","id":"heard","method":"ping"}`
	wantBytes(t, `{"jsonrpc":"2.0","id":"heard","result":{}}`, await(t, answered))
	f.do(modern{capabilities: everyInput, method: "completion/complete", params: `"ref":{}`}.request())
	state, wanted := inputOf(t, f.do(client.request()).body)
	assert.Equal(t, map[string]string{"input-1": `{"method":"roots/list","params":{}}`}, wanted)
	assert.Len(t, weather.requests("tools/call"), 1, "the call waits")
	client.params = retryOf(state, `"input-1":{"roots":[]}`)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{`+complete+`,"did":"tools/call"}}`, f.do(client.request()).body)
	wantBytes(t, `{"jsonrpc":"2.0","id":3,"result":{"roots":[]}}`, await(t, answered))

	asks <- fmt.Sprintf(elicitForm, "9")
	assert.NotContains(t, f.do(modern{caller: "alice", capabilities: everyInput}.request()).body, "input_required", "it is another session's")
}

// TestManySessions: one caller's kinds of clients make room for each other, and not for those of others.
func TestManySessions(t *testing.T) {
	weather := newScript()
	f := start(t, legacy("weather", weather))
	f.do(modern{caller: "bob"}.request())
	for i := range 130 {
		f.do(modern{caller: "alice", capabilities: fmt.Sprintf(`{"x":%d}`, i)}.request())
	}
	closed := weather.await(t, http.MethodDelete, 2)
	for _, one := range closed {
		n, err := strconv.Atoi(strings.TrimPrefix(one.session, "s-"))
		require.NoError(t, err)
		assert.Greater(t, n, 1, "the other caller's")
		assert.Less(t, n, 20, "one of those that have rested longest: a session rests a moment after its client has the answer")
	}
	f.do(modern{caller: "bob"}.request())
	f.do(modern{caller: "alice", capabilities: `{"x":129}`}.request())
	assert.Len(t, weather.requests("initialize"), 131)
}

// TestCredentialChangedPooled: what was opened with a credential that is another now is not used any more.
func TestCredentialChangedPooled(t *testing.T) {
	acme := newScript()
	f, k := asking(t, acme)
	as := func() request {
		r := modern{server: "acme"}.request()
		r.header.Set("Authorization", "Bearer "+ann)
		return r
	}
	k.give(ann, "key 1")
	f.do(as())
	f.do(as())
	assert.Len(t, acme.requests("initialize"), 1)
	k.give(ann, "key 2")
	f.broker.CredentialChanged(session.SubjectOf("Bearer "+ann), "acme")
	f.do(as())
	calls := acme.requests("tools/call")
	assert.Equal(t, []string{"s-1", "s-1", "s-2"}, []string{calls[0].session, calls[1].session, calls[2].session})
	assert.Empty(t, acme.requests(http.MethodDelete), "nothing is sent with the old one")
}

// TestSlowLevel: a server that does not take a log level costs the call not more than a moment.
func TestSlowLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript().does("logging/setLevel", hang)
		f := setup{net: newMemory(), servers: []server{legacy("weather", weather)}}.start(t)
		began := time.Now()
		assert.Contains(t, f.do(modern{meta: `,"io.modelcontextprotocol/logLevel":"info"`}.request()).body, `"did":"tools/call"`)
		assert.LessOrEqual(t, time.Since(began), 2*time.Second)
	})
}

// TestSlowOpening: a client that leaves while its session is opened leaves nothing behind but the session.
func TestSlowOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := newScript().does("initialize", hang)
		f := setup{net: newMemory(), servers: []server{legacy("weather", stuck)}}.start(t)
		began := time.Now()
		wantError(t, f.do(modern{id: hugeID}.request()), http.StatusBadGateway, hugeID, -32603, "no answer in time")
		assert.Equal(t, 30*time.Second, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := f.send(ctx, modern{}.request()) //nolint:bodyclose // there is no response
		require.Error(t, err)
		assert.Nil(t, resp)
		synctest.Wait()
		assert.Empty(t, stuck.requests("tools/call"))
	})
}
