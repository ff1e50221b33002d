package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// verbatim is JSON that no round trip through Go values survives.
const verbatim = `{"big":9007199254740993,"huge":1e400,"exact":1.10,"neg":-0,"z":1,"a":{"unknown":[ 1,2 ]},"t":"\u0041\/é"}`

// TestCallReturnsTheResultVerbatim: Invariant 1.
func TestCallReturnsTheResultVerbatim(t *testing.T) {
	for name, answer := range map[string]reply{
		"json": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerJSON(w, m, verbatim) },
		"sse": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, response(m, verbatim))
		},
		"sse, id first and other events": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, ": hello\n\n", "id: 1\ndata:\n\n", "event: endpoint\ndata: /x\n\n", response(m, verbatim))
		},
		"sse, id written with escapes": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			id := strings.ReplaceAll(string(m.ID.Of(m.Body)), "/", `\/`)
			answerEvents(w, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\n\n", id, verbatim))
		},
		"sse, a batch": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, fmt.Sprintf("data: [{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}]\n\n",
				m.ID.Of(m.Body), verbatim))
		},
		"sse, more behind it": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, response(m, verbatim), "data: "+strings.Repeat("y", 100_000)+"\n\n", "data: "+strings.Repeat("z", 100_000)+"\n\n")
		},
		"sse, another's response before": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, `data: {"jsonrpc":"2.0","id":"other","result":{}}`+"\n\n", response(m, verbatim))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["tools/call"] = answer
			result, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1"}, "tools/call", raw(verbatim))
			require.NoError(t, err)
			assert.Equal(t, verbatim, string(result))
			assert.Contains(t, s.requests("tools/call")[0].Body, `"params":`+verbatim+`}`)
		})
	}
}

func TestIDsBelongToNobodyElse(t *testing.T) {
	s := newScript()
	one, two := serve(t, s, EndpointOptions{}), serve(t, s, EndpointOptions{})
	var wg sync.WaitGroup
	for _, e := range []*Endpoint{one, two} {
		for range 20 {
			wg.Go(func() {
				_, err := e.Call(t.Context(), Session{ID: ""}, "initialize", nil)
				assert.NoError(t, err)
			})
		}
	}
	wg.Wait()
	ids := map[string]bool{}
	pattern := regexp.MustCompile(`^\{"jsonrpc":"2.0","id":"mcp-gateway/[0-9a-f]{12}/[0-9]+","method":"initialize"\}$`)
	for _, r := range s.requests("initialize") {
		assert.Regexp(t, pattern, r.Body)
		ids[r.Body] = true
	}
	assert.Len(t, ids, 40)
}

func TestServerErrors(t *testing.T) {
	for name, answer := range map[string]reply{
		"json": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool: \"x\"","data":{"n":9007199254740993}}}`, m.ID.Of(m.Body))
		},
		"sse": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32602,\"message\":\"Unknown tool: \\\"x\\\"\",\"data\":{\"n\":9007199254740993}}}\n\n",
				m.ID.Of(m.Body)))
		},
		"with a status": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool: \"x\"","data":{"n":9007199254740993}}}`, m.ID.Of(m.Body))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["tools/call"] = answer
			_, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
			var as *jsonrpc.Error
			require.ErrorAs(t, err, &as)
			assert.Equal(t, -32602, as.Code)
			assert.Equal(t, `Unknown tool: "x"`, as.Message)
			assert.Equal(t, raw(`{"n":9007199254740993}`), raw(string(as.Data)))
			assert.EqualError(t, err, `server "weather": tools/call: json-rpc error -32602: Unknown tool: "x"`)
		})
	}
}

func TestWrongAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answer reply
		want   string
	}{
		"html": {func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		}, `answered with content type "text/html", not "application/json" or "text/event-stream": check that the url and path in the configuration are those of an MCP endpoint`},
		"accepted":       {answerStatus(202, ""), `took the request without an answer (HTTP 202)`},
		"garbage":        {answerDocument(`{"jsonrpc":"2.0",`), `answered with what is not a message: not JSON: the document ends too early (byte 17)`},
		"empty":          {answerDocument(``), `answered with what is not a message: not JSON: the body is empty`},
		"a request":      {answerDocument(`{"jsonrpc":"2.0","id":1,"method":"ping"}`), `answered with a message that is no response`},
		"another's":      {answerDocument(`{"jsonrpc":"2.0","id":1,"result":{}}`), `answered a request that was not made`},
		"garbage events": {answerData("data: nonsense\n\n"), `sent an event that is not a message: not JSON: expected true, false or null (byte 1)`},
		"garbage batch":  {answerData("data: [nonsense]\n\n"), `sent an event that is not a message: invalid character 'o' in literal null (expecting 'u')`},
		"no events":      {answerData(""), `ended the event stream before the answer: unexpected EOF`},
		"cut event":      {answerData("data: {}"), `the server closed the connection before the end of its answer`},
		"cut document": {func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"jsonrpc"`)
		}, `the server closed the connection before the end of its answer`},
		"hung up": {func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
		}, `the server closed the connection before the end of its answer`},
		"not http": {func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n\r\n")
			_ = conn.Close()
		}, `net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-OpenSSH"`},
		"endless headers": {
			func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
				w.Header().Set("X", strings.Repeat("x", 300<<10))
			},
			`net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 262144 bytes; aborted`,
		},
		"unavailable":  {answerStatus(503, "upstream\n\t connect error"), `HTTP 503 "upstream connect error"`},
		"unauthorized": {answerStatus(401, ""), `HTTP 401: check the server's credential in the configuration`},
		"wrong path":   {answerStatus(405, "no"), `HTTP 405 "no": check that the url and path in the configuration are those of an MCP endpoint`},
		"an error without an id": {
			answerStatus(400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: no"}}`),
			`HTTP 400 "Bad Request: no"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["tools/call"] = tc.answer
			_, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
			assert.EqualError(t, err, `server "weather": tools/call: `+tc.want)
		})
	}
}

func answerDocument(body string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

func answerData(events ...string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) { answerEvents(w, events...) }
}

func TestSessionUnknown(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		body    string
		session string
		unknown bool
	}{
		"404":                            {404, "session not found", "s-1", true},
		"404 without a session":          {404, "page not found", "", false},
		"404 for a method":               {404, `{"jsonrpc":"2.0","id":"x","error":{"code":-32601,"message":"no"}}`, "s-1", false},
		"400 about the session":          {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`, "s-1", true},
		"400 of a new instance":          {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}`, "s-1", true},
		"400 about something else":       {400, "Bad Request", "s-1", false},
		"400 about a session, with none": {400, "No session", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["tools/call"] = answerStatus(tc.status, tc.body)
			_, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: tc.session}, "tools/call", nil)
			require.Error(t, err)
			assert.Equal(t, tc.unknown, isSessionUnknown(err), "%v", err)
		})
	}
}

// TestServerAsksWhileItWorks: a ping is answered, any other request is refused, and the call goes on.
func TestServerAsksWhileItWorks(t *testing.T) {
	s := newScript()
	replies := make(chan string, 2)
	s.on[""] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
		assert.Equal(t, "s-1", r.Header.Get("Mcp-Session-Id"))
		replies <- string(m.Body)
		w.WriteHeader(http.StatusAccepted)
	}
	s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		answerEvents(w, `data: {"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`+"\n\n")
		assert.Equal(t, raw(`{"jsonrpc":"2.0","id":9007199254740993,"result":{}}`), raw(<-replies))
		answerEvents(w, `data: {"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}`+"\n\n")
		assert.Equal(t, raw(`{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"message":"the gateway offers no client features on this connection"}}`), raw(<-replies))
		answerEvents(w, response(m, `{"ok":true}`))
	}
	result, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
	require.NoError(t, err)
	assert.Equal(t, raw(`{"ok":true}`), raw(string(result)))
}

func TestNotificationsBesideAnAnswer(t *testing.T) {
	var got []string
	s := newScript()
	s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		answerEvents(w, `data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.10}}`+"\n\n", response(m, `{}`),
			`data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`+"\n\n")
	}
	e := serve(t, s, EndpointOptions{OnNotification: func(method string, params []byte) { got = append(got, method+" "+string(params)) }})
	_, err := e.Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
	require.NoError(t, err)
	assert.Equal(t, []string{`notifications/progress {"progress":1.10}`, "notifications/tools/list_changed "}, got)
}

// TestTooLargeAnswers: 50 MB are refused, and not read to the end.
func TestTooLargeAnswers(t *testing.T) {
	const size, limit = 50 << 20, 1 << 20
	chunk := strings.Repeat("x", 64<<10)
	for name, tc := range map[string]struct {
		header map[string]string
		start  string
		want   string
	}{
		"length told":     {map[string]string{"Content-Type": "application/json", "Content-Length": "52428800"}, `"`, "answered with 52428800 bytes, more than the 1048576 that are allowed"},
		"length not told": {map[string]string{"Content-Type": "application/json"}, `"`, "answered with more than the 1048576 bytes that are allowed"},
		"event":           {map[string]string{"Content-Type": "text/event-stream"}, "data: ", "sent an event of more than 1048576 bytes: event is larger than the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			wrote := make(chan int, 1)
			s := newScript()
			s.on["tools/list"] = func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
				for name, value := range tc.header {
					w.Header().Set(name, value)
				}
				total, err := io.WriteString(w, tc.start)
				for n := 0; err == nil && total < size; total += n {
					n, err = io.WriteString(w, chunk)
				}
				wrote <- total
			}
			_, err := serve(t, s, EndpointOptions{MaxMessage: limit}).Call(t.Context(), Session{ID: "s-1"}, "tools/list", nil)
			require.EqualError(t, err, `server "weather": tools/list: `+tc.want)
			assert.Less(t, <-wrote, size/2, "the answer was read on")
		})
	}
}

// TestHang: a server that does not answer costs the time of the context and no more, and learns that nobody waits.
func TestHang(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"nothing at all": func(http.ResponseWriter) {},
		"headers":        func(w http.ResponseWriter) { answerEvents(w, ": wait\n\n") },
		"half of a document": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				cancelled := make(chan string, 1)
				s.on["notifications/cancelled"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
					cancelled <- string(m.Param("requestId").Of(m.Body))
					w.WriteHeader(http.StatusAccepted)
				}
				s.on["tools/list"] = func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
					begin(w)
					<-r.Context().Done()
				}
				e, _ := serveInMemory(t, s)
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
				defer cancel()
				_, err := e.Call(ctx, Session{ID: "s-1"}, "tools/list", nil)
				assert.Equal(t, 7*time.Second, time.Since(began))
				require.EqualError(t, err, `server "weather": tools/list: no answer in time`)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Contains(t, s.requests("tools/list")[0].Body, `"id":`+<-cancelled)
			})
		})
	}
}

// TestResumptionWaits as long as the server wants, and a little if it does not say.
func TestResumptionWaits(t *testing.T) {
	for retry, want := range map[string]time.Duration{"retry: 3000\n": 3 * time.Second, "retry: 0\n": 100 * time.Millisecond, "": 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript()
			var asked *jsonMessage
			s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
				asked = m
				answerEvents(w, "id: e1\n"+retry+"data:\n\n")
			}
			s.on["GET"] = func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) { answerEvents(w, response(asked, "{}")) }
			e, _ := serveInMemory(t, s)
			began := time.Now()
			_, err := e.Call(t.Context(), Session{}, "tools/call", nil)
			require.NoError(t, err)
			assert.Equal(t, want, time.Since(began), "after %q", retry)
		})
	}
}

// TestResumedAnswer: a server may end the connection and keep the stream.
func TestResumedAnswer(t *testing.T) {
	s := newScript()
	var asked *jsonMessage
	s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
		asked = m
		answerEvents(w, "id: e1\nretry: 10\ndata:\n\n")
	}
	s.on["GET"] = func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
		if r.Header.Get("Last-Event-Id") == "e1" {
			answerEvents(w, "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n", "data: {}")
			return
		}
		answerEvents(w, "id: e3\n"+response(asked, `{"late":true}`))
	}
	result, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1", Revision: "2025-11-25"}, "tools/call", nil)
	require.NoError(t, err)
	assert.Equal(t, raw(`{"late":true}`), raw(string(result)))
	gets := s.requests("GET")
	require.Len(t, gets, 2)
	assert.Equal(t, "e2", gets[1].Header.Get("Last-Event-Id"))
	assert.Equal(t, "s-1", gets[1].Session)
}

func TestResumptionEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		get  reply
		want string
		gets int
	}{
		"refused":        {answerStatus(400, "stream replay unsupported"), `tools/call (resumed): HTTP 400 "stream replay unsupported"`, 1},
		"not a stream":   {answerDocument("{}"), `tools/call: ended the event stream before the answer and resumed it with content type "application/json"`, 1},
		"always nothing": {answerData(""), `tools/call: ended the event stream before the answer: unexpected EOF`, 5},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript()
			s.on["tools/call"] = answerData("id: e1\nretry: 1\ndata:\n\n")
			s.on["GET"] = tc.get
			_, err := serve(t, s, EndpointOptions{}).Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
			require.EqualError(t, err, `server "weather": `+tc.want)
			assert.Len(t, s.requests("GET"), tc.gets)
		})
	}
}

// TestConnectionsAreUsedAgain: the pages of a list do not open a connection each, even if they come as streams.
func TestConnectionsAreUsedAgain(t *testing.T) {
	for name, answer := range map[string]reply{
		"json": func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerJSON(w, m, "{}") },
		"sse":  func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerEvents(w, response(m, "{}")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				s.on["tools/list"] = answer
				s.known = ""
				e, n := serveInMemory(t, s)
				for range 20 {
					_, err := e.Call(t.Context(), Session{}, "tools/list", nil)
					require.NoError(t, err)
					require.NoError(t, e.Notify(t.Context(), Session{}, "notifications/x", nil))
				}
				assert.Equal(t, 1, n.dialled())
			})
		})
	}
}

// TestAnswerDoesNotWaitForTheEndOfItsStream: a server that leaves the stream open holds nobody up.
func TestAnswerDoesNotWaitForTheEndOfItsStream(t *testing.T) {
	s := newScript()
	s.on["tools/call"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
		answerEvents(w, response(m, "{}"))
		<-r.Context().Done()
	}
	synctest.Test(t, func(t *testing.T) {
		e, _ := serveInMemory(t, s)
		began := time.Now()
		_, err := e.Call(t.Context(), Session{}, "tools/call", nil)
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 50*time.Millisecond)
	})
}

// TestIdleConnections are given up before common servers close them: a call that is sent while they do could have begun or not.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) { answerJSON(w, m, "{}") }
		e, n := serveInMemory(t, s)
		for dials, rest := range []time.Duration{0, 3 * time.Second, 5 * time.Second} {
			time.Sleep(rest)
			synctest.Wait()
			_, err := e.Call(t.Context(), Session{}, "tools/call", nil)
			require.NoError(t, err)
			assert.Equal(t, []int{1, 1, 2}[dials], n.dialled(), "after %s", rest)
		}
	})
}

// serveInMemory is serve without a kernel.
func serveInMemory(t *testing.T, s *script) (*Endpoint, *memory) {
	t.Helper()
	n := newMemory(t)
	n.listen("weather:80", s)
	e, err := NewEndpoint(memoryConfig("weather"), EndpointOptions{Dial: n.dial})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e, n
}
