package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// complete is a result with what a revision without sessions demands.
func complete(members string) string {
	return `{"resultType":"complete","ttlMs":60000,"cacheScope":"public",` + members + `}`
}

func discovery(capabilities string, versions ...string) string {
	list, _ := json.Marshal(versions)
	return complete(`"supportedVersions":` + string(list) + `,"capabilities":` + capabilities + `,"instructions":"Be kind.","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"script","version":"2"}}`)
}

// withoutSessions is a script that knows no session, and refuses to open one.
func withoutSessions() *script {
	s := newScript()
	s.session, s.known = "", ""
	s.lists["tools/list"] = []string{complete(`"tools":[{"name":"a"}]`)}
	s.on["server/discover"] = answers(discovery(`{"tools":{"listChanged":true}}`, "2026-07-28"))
	s.on["initialize"] = answerStatus(http.StatusBadRequest, `{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"only 2026-07-28"}}`)
	return s
}

func answers(result string) reply {
	return func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerJSON(w, m, result) }
}

// listening is a server's end of subscriptions/listen.
type listening struct {
	mu     sync.Mutex
	filter string      // agreed to; empty means what was asked for
	events chan string // methods of notifications; closed, the server ends the stream
	got    []string    // filters
}

func (l *listening) reply(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
	asked := string(m.Param("notifications").Of(m.Body))
	l.mu.Lock()
	l.got = append(l.got, asked)
	if l.filter != "" {
		asked = l.filter
	}
	l.mu.Unlock()
	send := func(method, members string) {
		answerEvents(w, `data: {"jsonrpc":"2.0","method":"`+method+`","params":{`+members+`"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}`+"\n\n")
	}
	send("notifications/tools/list_changed", "") // which counts for nothing: it may not come before the next
	send(methodAcknowledged, `"notifications":`+asked+`,`)
	for {
		select {
		case method, ok := <-l.events:
			if !ok {
				answerEvents(w, response(m, `{"resultType":"complete"}`))
				return
			}
			send(method, "")
		case <-r.Context().Done():
			return
		}
	}
}

func TestModernServer(t *testing.T) {
	inBench(t, func(o *ManagerOptions) { o.Version = "1.2.3" }, func(b *bench) {
		t := b.t
		s, l := withoutSessions(), &listening{events: make(chan string)}
		s.lists["tools/list"] = []string{
			`{"resultType":"complete","ttlMs":120000,"cacheScope":"public","tools":[{"name":"a","n":9007199254740993}],"nextCursor":"1"}`,
			`{"resultType":"complete","ttlMs":90000,"cacheScope":"private","tools":[{"name":"b"}]}`,
		}
		s.on[methodListen] = l.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		st, _ := b.board.last("weather")
		want := &catalog.Listing{
			Modern: "2026-07-28", Capabilities: raw(`{"tools":{"listChanged":true}}`), ServerInfo: raw(`{"name":"script","version":"2"}`), Instructions: "Be kind.",
			Items: [4][]rawMessage{{raw(`{"name":"a","n":9007199254740993}`), raw(`{"name":"b"}`)}},
		}
		want.Digests = catalog.DigestsOf(want.Items[catalog.Tool])
		want.Cache[catalog.Tool] = catalog.Cache{Told: true, TTL: 90 * time.Second, Private: true}
		assert.Equal(t, want, st.Listing)
		assert.Empty(t, s.requests("initialize"), "the server names no revision with sessions")
		assert.Empty(t, s.requests("DELETE"))
		assert.Equal(t, []string{`{"toolsListChanged":true}`}, l.got)
		for _, r := range s.requests("") {
			assert.Equal(t, "2026-07-28", r.Header.Get("Mcp-Protocol-Version"), r.Method)
			assert.Equal(t, r.Method, r.Header.Get("Mcp-Method"))
			assert.Empty(t, r.Session)
			assert.Contains(t, r.Body, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mcp-gateway","version":"1.2.3"},"io.modelcontextprotocol/clientCapabilities":{}}`)
		}
		assert.Contains(t, s.requests("tools/list")[1].Body, `,"cursor":"1"}`)

		before := len(s.requests("tools/list"))
		s.set(func() { s.lists["tools/list"] = []string{complete(`"tools":[{"name":"c"}]`)} })
		l.events <- "notifications/tools/list_changed"
		pass(time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"c"}, names(st, catalog.Tool))
		assert.Len(t, s.requests("tools/list"), before+1)
	})
}

// TestEndedSubscription: a server may end the stream in good order; it is asked again, and what changed meanwhile is read.
func TestEndedSubscription(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, l := withoutSessions(), &listening{events: make(chan string)}
		s.on[methodListen] = l.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		s.set(func() { s.lists["tools/list"] = []string{complete(`"tools":[{"name":"c"}]`)} })
		l.mu.Lock()
		old := l.events
		l.events = make(chan string)
		l.mu.Unlock()
		close(old)
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"c"}, names(st, catalog.Tool))
		assert.Len(t, l.got, 2)
		assert.Equal(t, []catalog.Health{catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))
	})
}

// TestServerOfBothEras: it is listed without a session, and known to speak with one; the session that showed it is ended.
func TestServerOfBothEras(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := withoutSessions()
		s.on["server/discover"] = answers(discovery(`{"tools":{}}`, "2026-07-28", "2025-11-25", "2024-11-05"))
		s.on["initialize"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			w.Header().Set("Mcp-Session-Id", "s-9")
			answerJSON(w, m, `{"protocolVersion":"2025-11-25","capabilities":{}}`)
		}
		s.on["notifications/initialized"] = answerStatus(http.StatusAccepted, "")
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"2026-07-28", "2025-11-25"}, st.Listing.Revisions())
		assert.True(t, st.Listing.Sessions)
		assert.Equal(t, "s-9", s.requests("DELETE")[0].Session)
		assert.Empty(t, s.requests("tools/list")[0].Session)
	})
}

// TestServerThatNamesSessionsAndHasNone: it is used as it is, and the contradiction is reported.
func TestServerThatNamesSessionsAndHasNone(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := withoutSessions()
		s.on["server/discover"] = answers(discovery(`{"tools":{}}`, "2026-07-28", "2025-11-25"))
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"2026-07-28"}, st.Listing.Revisions())
		require.Len(t, st.Listing.Problems, 1)
		assert.Contains(t, st.Listing.Problems[0], "names revisions with sessions and opened none")
	})
}

// TestWhatIsNoServerWithoutSessions: all that servers of the older revisions answer to the question leads to a session.
func TestWhatIsNoServerWithoutSessions(t *testing.T) {
	for name, answer := range map[string]reply{
		"method not found":     func(w http.ResponseWriter, r *http.Request, m *jsonMessage) { newScript().byDefault(w, r, m) },
		"bad request":          answerStatus(http.StatusBadRequest, `Bad Request: Server not initialized`),
		"not found":            answerStatus(http.StatusNotFound, `nope`),
		"method not allowed":   answerStatus(http.StatusMethodNotAllowed, ``),
		"internal error":       answerStatus(http.StatusInternalServerError, `oops`),
		"html":                 func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) { _, _ = io.WriteString(w, "<p>hi") },
		"accepted":             answerStatus(http.StatusAccepted, ``),
		"hangs up":             func(http.ResponseWriter, *http.Request, *jsonMessage) { panic(http.ErrAbortHandler) },
		"other revisions":      answers(discovery(`{}`, "2025-11-25", "2025-06-18")),
		"refused revision":     answerStatus(http.StatusBadRequest, `{"jsonrpc":"2.0","id":"x","error":{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]}}}`),
		"no revisions":         answers(`{"resultType":"complete"}`),
		"revisions of numbers": answers(`{"supportedVersions":[2026]}`),
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				s := newScript()
				s.on["server/discover"] = answer
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				pass(time.Second)
				st, _ := b.board.last("weather")
				assert.Equal(b.t, catalog.HealthReady, st.Health, st.LastError)
				assert.Equal(b.t, []string{"2025-11-25"}, st.Listing.Revisions())
				assert.Len(b.t, s.requests("server/discover"), 1)
			})
		})
	}
}

// TestServerThatLeavesTheQuestionUnanswered: it costs a few seconds once, and not with every session.
func TestServerThatLeavesTheQuestionUnanswered(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.on["server/discover"] = hang
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(probeTimeout + time.Second)
		st, at := b.board.last("weather")
		assert.Equal(t, catalog.HealthReady, st.Health)
		assert.Equal(t, probeTimeout, at)
		s.set(func() { s.known = "forgotten" })
		pass(time.Minute)
		assert.Len(t, s.requests("initialize"), 2)
		assert.Len(t, s.requests("server/discover"), 1)
	})
}

// TestServerThatBecomesAnother: which revisions a server speaks is asked again, whether it is replaced by a newer or an older one.
func TestServerThatBecomesAnother(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		revisions := func() []string {
			st, _ := b.board.last("weather")
			return st.Listing.Revisions()
		}
		assert.Equal(t, []string{"2025-11-25"}, revisions())
		s.set(func() {
			s.on["server/discover"] = answers(discovery(`{"tools":{}}`, "2026-07-28"))
			s.on["tools/list"] = answers(complete(`"tools":[{"name":"a"}]`))
		})
		pass(reprobe + time.Minute)
		assert.Equal(t, []string{"2026-07-28"}, revisions())
		assert.Len(t, s.requests("DELETE"), 1, "the session that is not needed any more is ended")
		s.set(func() {
			delete(s.on, "server/discover")
			s.on["tools/list"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
				if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
					answerStatus(http.StatusBadRequest, `{"jsonrpc":"2.0","id":`+string(m.ID.Of(m.Body))+`,"error":{"code":-32022,"message":"no more","data":{"supported":["2025-11-25"]}}}`)(w, r, m)
					return
				}
				s.byDefault(w, r, m)
			}
		})
		pass(2 * time.Minute)
		assert.Equal(t, []string{"2025-11-25"}, revisions())
		assert.Equal(t, []catalog.Health{catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))
	})
}

// TestBadServersWithoutSessions: what a server owes is worked around and reported, or costs it the list.
func TestBadServersWithoutSessions(t *testing.T) {
	for name, tt := range map[string]struct {
		pages    []string
		tools    []string
		problems []string
	}{
		"no result type":  {[]string{`{"ttlMs":1,"cacheScope":"public","tools":[{"name":"a"}]}`}, []string{"a"}, []string{`tools/list: the result has no "resultType"; it is taken for a complete one`}},
		"no hints, twice": {[]string{`{"resultType":"complete","tools":[{"name":"a"}],"nextCursor":"1"}`, `{"resultType":"complete","tools":[]}`}, []string{"a"}, []string{`tools/list: the result has no "ttlMs" that is 0 or more; it is taken for 0`}},
		"negative time":   {[]string{`{"resultType":"complete","ttlMs":-1,"cacheScope":"public","tools":[]}`}, nil, []string{`tools/list: the result has no "ttlMs" that is 0 or more; it is taken for 0`}},
		"asks for input":  {[]string{`{"resultType":"input_required","tools":[{"name":"a"}]}`}, nil, []string{`tools/list: the result is of the type "input_required"`}},
		"cursor loop":     {[]string{complete(`"tools":[{"name":"a"}],"nextCursor":"0"`)}, []string{"a"}, []string{`tool "a" is there twice: the first one counts`, `tools/list repeats a cursor: what may follow is left out`}},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				s := withoutSessions()
				s.lists["tools/list"] = tt.pages
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				pass(time.Second)
				st, _ := b.board.last("weather")
				assert.Equal(b.t, tt.problems, st.Listing.Problems)
				assert.Equal(b.t, tt.tools, names(st, catalog.Tool))
			})
		})
	}
}

// TestPollFollowsWhatTheServerSays: a server that does not tell of changes is read when its lists may have become old, within bounds.
func TestPollFollowsWhatTheServerSays(t *testing.T) {
	for ttl, want := range map[string]int{"0": 20, "120000": 5, "86400000": 2} {
		inBench(t, nil, func(b *bench) {
			s := withoutSessions()
			s.lists["tools/list"] = []string{strings.Replace(complete(`"tools":[]`), "60000", ttl, 1)}
			b.net.listen("weather:80", s)
			b.Apply(configOfNames("weather"))
			pass(time.Second)
			before := len(s.requests("tools/list"))
			pass(10 * time.Minute)
			assert.Equal(b.t, want, len(s.requests("tools/list"))-before, "ttlMs %s", ttl)
		})
	}
}

// TestUnchanged: that a server says that a list has changed is passed on even if it looks the same.
func TestUnchanged(t *testing.T) {
	said := make(chan []catalog.Kind, 10)
	inBench(t, func(o *ManagerOptions) { o.Unchanged = func(_ string, kinds []catalog.Kind) { said <- kinds } }, func(b *bench) {
		s, l := withoutSessions(), &listening{events: make(chan string)}
		s.on[methodListen] = l.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		assert.Empty(b.t, said)
		l.events <- "notifications/tools/list_changed"
		pass(time.Second)
		assert.Equal(b.t, []catalog.Kind{catalog.Tool}, <-said)
		s.set(func() { s.lists["tools/list"] = []string{complete(`"tools":[{"name":"c"}]`)} })
		l.events <- "notifications/tools/list_changed"
		pass(time.Second)
		assert.Empty(b.t, said, "it has changed")
	})
}

// TestServerThatAgreesToLess: what it does not tell of is asked for from time to time.
func TestServerThatAgreesToLess(t *testing.T) {
	for filter, want := range map[string]int{"": 2, `{}`: 10} {
		inBench(t, nil, func(b *bench) {
			s, l := withoutSessions(), &listening{filter: filter, events: make(chan string)}
			s.on[methodListen] = l.reply
			b.net.listen("weather:80", s)
			b.Apply(configOfNames("weather"))
			pass(time.Second)
			before := len(s.requests("tools/list"))
			pass(10*time.Minute + time.Second)
			assert.Equal(b.t, want, len(s.requests("tools/list"))-before, "filter %s", filter)
		})
	}
}

func TestSubscribe(t *testing.T) {
	s := newScript()
	s.on[methodListen] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		answerEvents(w,
			`data: {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"too-soon"}}`+"\n\n",
			`data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"resourceSubscriptions":["r:1"]}}}`+"\n\n",
			": keep-alive\n\n", "data: nonsense\n\n", `data: {"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n\n",
			`data: {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"r:1"}}`+"\n\n",
			response(m, `{"resultType":"complete"}`))
	}
	ep := serve(t, s, EndpointOptions{OnNotification: func(string, []byte) { t.Error("it is for the subscription alone") }})
	var got []string
	err := ep.Subscribe(t.Context(), Session{Revision: "2026-07-28"}, time.Second, Subscription{
		Params:       raw(`{"notifications":{"resourceSubscriptions":["r:1","r:2"]}}`),
		Acknowledged: func(filter json.RawMessage) { got = append(got, string(filter)) },
		Notified:     func(method string, params []byte) { got = append(got, method+" "+string(params)) },
	})
	require.ErrorIs(t, err, ErrEnded)
	assert.Equal(t, []string{`{"resourceSubscriptions":["r:1"]}`, `notifications/resources/updated {"uri":"r:1"}`}, got)
	require.Len(t, s.requests(""), 1, "a server's request is not answered: there is no way to")
	assert.True(t, strings.HasSuffix(s.requests("")[0].Body, `"notifications":{"resourceSubscriptions":["r:1","r:2"]}}}`), s.requests("")[0].Body)
}

func TestRefusedSubscriptions(t *testing.T) {
	for name, tt := range map[string]struct {
		answer reply
		want   string
	}{
		"unknown method": {answerStatus(http.StatusNotFound, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"no"}}`), "json-rpc error -32601: no"},
		"an error": {func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, fmt.Sprintf(`data: {"jsonrpc":"2.0","id":%s,"error":{"code":7,"message":"no"}}`+"\n\n", m.ID.Of(m.Body)))
		}, "json-rpc error 7: no"},
		"a document":      {answers(`{"resultType":"complete"}`), ErrEnded.Error()},
		"another type":    {answerStatus(http.StatusOK, "<p>"), "content type"},
		"silence":         {hang, "no answer in time"},
		"no agreement":    {newStream().reply, "no answer in time"},
		"a lost stream":   {func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) { answerEvents(w) }, io.EOF.Error()},
		"not a good time": {answerStatus(http.StatusServiceUnavailable, "later"), "HTTP 503"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on[methodListen] = tt.answer
			ep := serve(t, s, EndpointOptions{})
			err := ep.Subscribe(t.Context(), Session{Revision: "2026-07-28"}, 200*time.Millisecond, Subscription{
				Acknowledged: func(json.RawMessage) {}, Notified: func(string, []byte) {},
			})
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// TestLeavingACallWithoutASession: the end of the connection is all that a server is told.
func TestLeavingACallWithoutASession(t *testing.T) {
	s, ended := newScript(), make(chan struct{})
	s.on["tools/call"] = func(_ http.ResponseWriter, r *http.Request, _ *jsonMessage) {
		<-r.Context().Done()
		close(ended)
	}
	ep := serve(t, s, EndpointOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := ep.Call(ctx, Session{Revision: "2026-07-28"}, "tools/call", raw(`{"name":"x"}`))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	<-ended
	assert.Empty(t, s.requests("notifications/cancelled"))
}

// TestExtraHeaders: who makes a call says what its headers repeat of the body.
func TestExtraHeaders(t *testing.T) {
	s := newScript()
	s.on["tools/call"] = answers(`{}`)
	ep := serve(t, s, EndpointOptions{})
	resp, err := ep.Post(t.Context(), Session{Revision: "2026-07-28"}, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`),
		http.Header{"mcp-method": {"tools/call"}, "Mcp-Name": {"x"}, "Mcp-Param-A": {"1"}, "Mcp-Session-Id": {"no"}})
	require.NoError(t, err)
	_ = resp.Body.Close()
	h := s.requests("tools/call")[0].Header
	assert.Equal(t, []string{"tools/call", "x", "1", "", "2026-07-28"},
		[]string{h.Get("Mcp-Method"), h.Get("Mcp-Name"), h.Get("Mcp-Param-A"), h.Get("Mcp-Session-Id"), h.Get("Mcp-Protocol-Version")})
}
