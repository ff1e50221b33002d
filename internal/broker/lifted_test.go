package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// These tests are about clients with sessions and servers without.

// sessionless is a server that speaks only the revision without sessions.
func sessionless(name string, s *script) server {
	s.knows("")
	listing := catalog.Listing{Modern: "2026-07-28", Capabilities: json.RawMessage(`{"tools":{},"logging":{}}`)}
	listing.Items[catalog.Tool] = []json.RawMessage{
		json.RawMessage(`{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}`),
	}
	return server{name, s, listing}
}

// initializeWith opens a session of a client with capabilities.
func (f *fixture) initializeCan(capabilities string) string {
	f.t.Helper()
	a := f.do(request{body: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"clientInfo":{"name":"old","version":"1"}}}`})
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	return a.header.Get("Mcp-Session-Id")
}

// TestLegacyClient: a server without sessions is told with each request what a session would know, and the client sees nothing of that.
func TestLegacyClient(t *testing.T) {
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		answerJSON(w, m, `{"resultType":"complete","ttlMs":1,"content":[{"n":9007199254740993}]}`)
	})
	f := start(t, sessionless("weather", weather))
	token := f.initializeCan(everyInput)
	f.do(request{session: token, body: `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`})
	r := callOf(token, "weather", hugeID, "t")
	r.body = `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"tools/call","params":{"name":"t","arguments":{"region":"Zürich","n":1.10},"_meta":{"progressToken":7}}}`
	a := f.do(r)
	assert.Equal(t, http.StatusOK, a.status)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"content":[{"n":9007199254740993}]}}`, a.body)
	call := weather.requests("tools/call")[0]
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"method":"tools/call","params":{"name":"t","arguments":{"region":"Zürich","n":1.10},"_meta":{`+
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"old","version":"1"},`+
		`"io.modelcontextprotocol/clientCapabilities":`+everyInput+`,"io.modelcontextprotocol/logLevel":"info","progressToken":7}}}`, call.body)
	assert.Equal(t, "2026-07-28", call.header.Get("Mcp-Protocol-Version"))
	assert.Equal(t, "tools/call", call.header.Get("Mcp-Method"))
	assert.Equal(t, "t", call.header.Get("Mcp-Name"))
	assert.Equal(t, "=?base64?WsO8cmljaA==?=", call.header.Get("Mcp-Param-Region"))
	assert.Empty(t, call.header.Get("Mcp-Session-Id"))
	assert.Empty(t, weather.requests("initialize"))
	assert.Empty(t, weather.requests("logging/setLevel"))
	wantBytes(t, `{"jsonrpc":"2.0","id":2,"result":{}}`, f.do(request{session: token, body: `{"jsonrpc":"2.0","id":2,"method":"ping"}`}).body)
}

// TestLegacyClientErrors: what goes wrong comes in the words of the client's revision, with a status that a client with a session takes for no more
// than it is.
func TestLegacyClientErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		method string
		does   reply
		status int
		code   int
		words  string
	}{
		"resource not found": {"resources/read", status(200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"none"}}`), 200, -32002, "none"},
		"bad params":         {"tools/call", status(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad"}}`), 200, -32602, "bad"},
		"unknown method":     {"tools/call", status(404, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"what?"}}`), 200, -32601, "what?"},
		"no capability":      {"tools/call", status(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"cannot","data":{"requiredCapabilities":{"roots":{}}}}}`), 200, -32021, "cannot"},
		"another revision":   {"tools/call", status(400, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"which?"}}`), 200, -32022, "which?"},
		"no answer":          {"tools/call", status(202, "", ""), 502, -32603, "without an answer"},
		"a page":             {"tools/call", status(200, "text/html", "<html>"), 502, -32603, "content type"},
		"no object":          {"tools/call", status(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":[]}`), 502, -32603, "no object"},
		"another type":       {"tools/call", status(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"task"}}`), 502, -32603, `does not have: "task"`},
		"odd input":          {"tools/call", status(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}`), 502, -32603, "cannot be understood"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, sessionless("weather", newScript().does(tc.method, tc.does)))
			a := f.do(request{session: f.initializeCan(everyInput), server: "weather", body: `{"jsonrpc":"2.0","id":1,"method":"` + tc.method + `","params":{"name":"t","uri":"x:y"}}`})
			wantError(t, a, tc.status, "1", tc.code, tc.words)
		})
	}
}

// input is a result that asks for it.
func input(requests, state string) string {
	return `{"resultType":"input_required","inputRequests":{` + requests + `},"requestState":"` + state + `"}`
}

// respond sends the client's answer to a server's request, as the router labels it.
func (f *fixture) respond(token, server, id, answer string) answer {
	return f.do(request{session: token, server: server, body: `{"jsonrpc":"2.0","id":` + id + `,` + answer + `}`})
}

// TestLiftedRounds: what the server wants to know is asked on the call's stream, and the answers are the next request, as often as it takes.
func TestLiftedRounds(t *testing.T) {
	calls := 0
	weather := newScript()
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		calls++
		answers, state := m.Param("inputResponses"), m.Param("requestState")
		switch calls {
		case 1:
			assert.False(t, answers.Present() || state.Present())
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1.10}}`)
			event(w, "", resultOf(m, input(`"name":{"method":"elicitation/create","params":{"message":"Who?","x":1.10}},"r":{"method":"roots/list"}`, `s\u0074ate`)))
		case 2:
			assert.JSONEq(t, `{"name":{"action":"accept","content":{"n":9007199254740993}},"r":{"roots":[]}}`, string(answers.Of(m.Body)))
			assert.Equal(t, `"s\u0074ate"`, string(state.Of(m.Body)))
			assert.NotEqual(t, hugeID, string(m.ID.Of(m.Body)), "each request has an id of its own")
			answerJSON(w, m, input(`"url":{"method":"elicitation/create","params":{"mode":"url","url":"https://a.example","message":"m"}}`, "2"))
		case 3:
			assert.JSONEq(t, `{"url":{"action":"cancel"}}`, string(answers.Of(m.Body)))
			answerJSON(w, m, `{"resultType":"input_required","requestState":"3"}`)
		default:
			assert.False(t, answers.Present())
			answerJSON(w, m, `{"resultType":"complete","n":9007199254740993}`)
		}
	})
	f := start(t, sessionless("weather", weather))
	token := f.initializeCan(everyInput)
	e := f.stream(callOf(token, "weather", hugeID, "t"))
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1.10}}`, string(e.next().Data))
	ask := func(want string) string {
		ev := e.next()
		m, fault := jsonrpc.Parse(ev.Data, jsonrpc.Limits{})
		require.Nil(t, fault)
		id := string(m.ID.Of(ev.Data))
		wantBytes(t, `{"jsonrpc":"2.0","id":`+id+`,`+strings.ReplaceAll(want, "ID", id)+`}`, string(ev.Data))
		return id
	}
	first := ask(`"method":"elicitation/create","params":{"message":"Who?","x":1.10}`)
	second := ask(`"method":"roots/list"`)
	stranger := f.initializeCan(everyInput)
	assert.Equal(t, http.StatusBadRequest, f.respond(stranger, "weather", first, `"result":{"action":"accept"}`).status, "an answer counts in the session that was asked")
	assert.Equal(t, http.StatusAccepted, f.respond(token, "weather", second, `"result":{"roots":[]}`).status)
	assert.Equal(t, http.StatusAccepted, f.respond(token, "weather", first, `"result":{"action":"accept","content":{"n":9007199254740993}}`).status)
	third := ask(`"method":"elicitation/create","params":{"elicitationId":ID,"mode":"url","url":"https://a.example","message":"m"}`)
	assert.Equal(t, http.StatusBadRequest, f.respond(token, "weather", first, `"result":{"action":"accept"}`).status, "once")
	assert.Equal(t, http.StatusAccepted, f.respond(token, "weather", third, `"error":{"code":-1,"message":"no"}`).status)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"n":9007199254740993}}`, string(e.next().Data))
	e.ended()
	assert.Equal(t, 4, calls)
}

// TestLiftedNotDeclared: a server that asks for what the client cannot do does not get to ask.
func TestLiftedNotDeclared(t *testing.T) {
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		answerJSON(w, m, input(`"a":{"method":"sampling/createMessage","params":{}}`, "s"))
	})
	f := start(t, sessionless("weather", weather))
	wantError(t, f.do(callOf(f.initializeCan(`{"roots":{}}`), "weather", "1", "t")), http.StatusBadGateway, "1", -32603, "asked for what this client did not declare that it can do: sampling")
	assert.Len(t, weather.requests("tools/call"), 1)
}

// TestLiftedRefused: modern has no word for a client that does not answer a question with a result.
func TestLiftedRefused(t *testing.T) {
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		answerJSON(w, m, input(`"a":{"method":"sampling/createMessage","params":{}},"b":{"method":"roots/list"}`, "s"))
	})
	f := start(t, sessionless("weather", weather))
	token := f.initializeCan(everyInput)
	e := f.stream(callOf(token, "weather", "1", "t"))
	m, _ := jsonrpc.Parse(e.next().Data, jsonrpc.Limits{})
	other, _ := jsonrpc.Parse(e.next().Data, jsonrpc.Limits{})
	f.respond(token, "weather", string(m.ID.Of(m.Body)), `"error":{"code":-1,"message":"User rejected sampling"}`)
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`+string(other.ID.Of(other.Body))+`}}`, string(e.next().Data))
	wantErrorBody(t, string(e.next().Data), "1", -32603, "User rejected sampling")
	e.ended()
}

// TestLiftedTooOften: a server cannot ask for ever, be it with questions or without.
func TestLiftedTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
			answerJSON(w, m, `{"resultType":"input_required","requestState":"again"}`)
		})
		f := setup{net: newMemory(), servers: []server{sessionless("weather", weather)}}.start(t)
		token := f.initializeCan(everyInput)
		began := time.Now()
		wantError(t, f.do(callOf(token, "weather", "1", "t")), http.StatusBadGateway, "1", -32603, "too often")
		assert.Len(t, weather.requests("tools/call"), 33)
		assert.Greater(t, time.Since(began), time.Minute, "it is not asked in a hurry")
	})
}

// TestLiftedLate: a client has some minutes to answer.
func TestLiftedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
			answerJSON(w, m, input(`"b":{"method":"roots/list"}`, "s"))
		})
		f := setup{net: newMemory(), servers: []server{sessionless("weather", weather)}}.start(t)
		token := f.initializeCan(everyInput)
		e := f.stream(callOf(token, "weather", "1", "t"))
		began := time.Now()
		asked, _ := jsonrpc.Parse(e.next().Data, jsonrpc.Limits{})
		id := string(asked.ID.Of(asked.Body))
		assert.Contains(t, string(e.next().Data), `"notifications/cancelled","params":{"requestId":`+id)
		wantErrorBody(t, string(e.next().Data), "1", -32603, "did not give it in time")
		assert.Equal(t, 5*time.Minute, time.Since(began))
		e.ended()
		assert.Equal(t, http.StatusBadRequest, f.respond(token, "weather", id, `"result":{"roots":[]}`).status)
	})
}

// TestLiftedCancelled: what cancels a call is its client's word, and the end of its session.
func TestLiftedCancelled(t *testing.T) {
	for name, cancel := range map[string]func(f *fixture, token string){
		"notification": func(f *fixture, token string) {
			f.do(request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}`})
		},
		"end of the session": func(f *fixture, token string) { f.do(request{method: http.MethodDelete, session: token}) },
		"end of the gateway": func(f *fixture, _ string) { f.broker.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
				event(w, "", `{"jsonrpc":"2.0","method":"notifications/example"}`)
				<-r.Context().Done()
				close(gone)
			})
			f := start(t, sessionless("weather", weather))
			token := f.initializeCan(everyInput)
			e := f.stream(callOf(token, "weather", `"c"`, "t"))
			e.next()
			f.do(request{session: f.initializeCan(everyInput), body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}`})
			select {
			case <-gone:
				assert.Fail(t, "cancelled by another session")
			case <-time.After(20 * time.Millisecond):
			}
			cancel(f, token)
			await(t, gone)
			_, err := e.read()
			require.Error(t, err)
		})
	}
}

// TestLiftedResumed: a lost connection cancels nothing, and the client finds the rest of the stream where it left off.
func TestLiftedResumed(t *testing.T) {
	step := make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		for i := range 3 {
			event(w, "", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/example","params":{"n":%d}}`, i))
			select {
			case <-step:
			case <-r.Context().Done():
				return
			}
		}
		event(w, "", resultOf(m, `{"resultType":"complete"}`))
	})
	f := start(t, sessionless("weather", weather))
	token := f.initializeCan(everyInput)
	e := f.stream(callOf(token, "weather", "1", "t"))
	first := e.next()
	e.close()
	step <- struct{}{}
	step <- struct{}{}
	time.Sleep(20 * time.Millisecond)
	stranger := f.initializeCan(everyInput)
	s, err := f.send(t.Context(), request{method: http.MethodGet, session: stranger, header: http.Header{"Last-Event-Id": {first.ID}}}) //nolint:bodyclose // it is closed below
	require.NoError(t, err)
	got := make([]byte, 1)
	readCtx := make(chan struct{})
	go func() { _, _ = io.ReadFull(s.Body, got); close(readCtx) }()
	e = f.listen(token, first.ID)
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":1}}`, string(e.next().Data))
	second := e.next()
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/example","params":{"n":2}}`, string(second.Data))
	e.close()
	step <- struct{}{}
	time.Sleep(20 * time.Millisecond)
	e = f.listen(token, second.ID)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, string(e.next().Data))
	e.ended()
	_ = s.Body.Close()
	<-readCtx
	assert.Zero(t, got[0], "nothing of it is for another session")
}

// TestLiftedLost: what nobody comes back for ends after a while.
func TestLiftedLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan time.Time, 1)
		weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/example"}`)
			<-r.Context().Done()
			gone <- time.Now()
		})
		f := setup{net: newMemory(), servers: []server{sessionless("weather", weather)}}.start(t)
		e := f.stream(callOf(f.initializeCan(everyInput), "weather", "1", "t"))
		e.next()
		began := time.Now()
		e.close()
		assert.Equal(t, 5*time.Minute, (<-gone).Sub(began))
	})
}

// TestLiftedNoise: what a client misses is bounded, but for the answer.
func TestLiftedNoise(t *testing.T) {
	sent := make(chan struct{})
	lost := make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/example"}`)
		<-lost
		for range 400 {
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/example","params":{"x":"`+strings.Repeat("x", 10_000)+`"}}`)
		}
		event(w, "", resultOf(m, `{"resultType":"complete"}`))
		close(sent)
	})
	f := start(t, sessionless("weather", weather))
	token := f.initializeCan(everyInput)
	e := f.stream(callOf(token, "weather", "1", "t"))
	id := e.next().ID
	e.close()
	time.Sleep(20 * time.Millisecond)
	close(lost)
	await(t, sent)
	time.Sleep(500 * time.Millisecond) // until all that was sent is read
	e = f.listen(token, id)
	n := 0
	for {
		ev, err := e.read()
		require.NoError(t, err)
		if strings.Contains(string(ev.Data), `"result"`) {
			break
		}
		n++
	}
	assert.LessOrEqual(t, n, 110)
	e.ended()
}

// TestSessionsWatch: clients with sessions hear of changes of resources of servers without, each of what it asked for.
func TestSessionsWatch(t *testing.T) {
	var (
		mu      sync.Mutex
		streams = map[chan string]bool{} // while one takes the place of another, there are two
	)
	change := func(uri string) {
		mu.Lock()
		defer mu.Unlock()
		for c := range streams {
			c <- uri
		}
	}
	weather := newScript().does("subscriptions/listen", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		wanted := m.Param("notifications")
		id := string(m.ID.Of(m.Body))
		changes := make(chan string, 100)
		mu.Lock()
		streams[changes] = true
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			delete(streams, changes)
		}()
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":`+id+`},"notifications":`+
			strings.ReplaceAll(string(wanted.Of(m.Body)), `"x:never"`, `"x:other"`)+`}}`)
		for {
			select {
			case uri := <-changes:
				event(w, "", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":`+id+`},"uri":"`+uri+`"}}`)
			case <-r.Context().Done():
				return
			}
		}
	})
	srv := sessionless("weather", weather)
	srv.listing.Capabilities = json.RawMessage(`{"resources":{"subscribe":true}}`)
	f := start(t, srv)
	ask := func(token, method, uri string) string {
		return f.do(request{session: token, server: "weather", body: `{"jsonrpc":"2.0","id":1,"method":"resources/` + method + `","params":{"uri":"` + uri + `"}}`}).body
	}
	ann, bea := f.initializeCan(`{}`), f.initializeCan(`{}`)
	hers, others := f.listen(ann), f.listen(bea)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask(ann, "subscribe", "x:a"))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask(ann, "subscribe", "x:a"))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask(bea, "subscribe", "x:b"))
	wantErrorBody(t, ask(ann, "subscribe", "x:never"), "1", -32602, "does not tell of changes")
	change("x:a")
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:a"}}`, string(hers.next().Data))
	change("x:b")
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:b"}}`, string(others.next().Data))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask(ann, "unsubscribe", "x:a"))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask(ann, "subscribe", "x:c"))
	for range 3 {
		change("x:a")
	}
	change("x:c")
	got := string(hers.next().Data)
	if strings.Contains(got, `"x:a"`) { // the first change, told by two streams while one took the place of the other
		got = string(hers.next().Data)
	}
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:c"}}`, got)
	assert.Empty(t, weather.requests("resources/subscribe"))
	f.do(request{method: http.MethodDelete, session: ann})
	f.do(request{method: http.MethodDelete, session: bea})
}
