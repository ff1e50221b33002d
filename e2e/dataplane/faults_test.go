package dataplane_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// fault is a tool of a bad server and what a client must read of it: never the server's own words in place of an MCP
// answer, never a hang.
type fault struct {
	name   string
	call   func(w http.ResponseWriter, c *testbed.Call)
	status []int
}

// hijacked takes the connection of an answer, to break it off wherever it likes.
func hijacked(raw string) func(http.ResponseWriter, *testbed.Call) {
	return func(w http.ResponseWriter, _ *testbed.Call) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = buf.WriteString(raw)
		_ = buf.Flush()
		_ = conn.Close()
	}
}

func answering(status int, contentType, body string, headers ...string) func(http.ResponseWriter, *testbed.Call) {
	return func(w http.ResponseWriter, _ *testbed.Call) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func faults() []fault {
	const html, json, events = "text/html", "application/json", "text/event-stream"
	return []fault{
		{"a page", answering(200, html, "<html>It works!</html>"), []int{502}},
		{"plain text", answering(200, "text/plain", "ok"), []int{502}},
		{"a page with an error", answering(500, html, "<html>Oops</html>"), []int{502}},
		{"an error without a type", answering(503, "", ""), []int{502}},
		{"nothing", answering(200, json, ""), []int{502}},
		{"accepted, no answer", answering(202, "", ""), []int{502}},
		{"no content", answering(204, "", ""), []int{502}},
		{"moved", answering(301, html, "moved", "Location", "http://127.0.0.1:1/elsewhere"), []int{502}},
		{"redirect that keeps the method", answering(307, "", "", "Location", "/elsewhere"), []int{502}},
		{"refused credential", answering(401, json, `{"error":"invalid_token"}`, "WWW-Authenticate", "Bearer realm=inner"), []int{502}},
		{"forbidden", answering(403, html, "no"), []int{502}},
		{"method not allowed", answering(405, "", ""), []int{502}},
		{"closed at once", hijacked(""), []int{502, 503}},
		{"closed in the headers", hijacked("HTTP/1.1 200 OK\r\nContent-Type: appl"), []int{502, 503}},
		{"not HTTP", hijacked("SSH-2.0-OpenSSH_9.2\r\n\r\n"), []int{502, 503}},
		{"a hang", func(_ http.ResponseWriter, c *testbed.Call) { <-c.Context().Done() }, []int{504}},
	}
}

// garbled are documents that say they are JSON and are not. Whoever carries them without reading them passes them on byte by byte
// (Invariant 1); the broker reads.
func garbled() map[string]string {
	return map[string]string{"garbage": "<html>It works!</html>", "half a document": `{"jsonrpc":"2.0","id":1,"result":{"content":`}
}

// endless are answers that begin well. The status has been sent by then: what counts is that the client is not left
// waiting and does not take what it got for a whole answer.
func endless() []fault {
	return []fault{
		{"a stream that ends without an answer", func(w http.ResponseWriter, _ *testbed.Call) {
			testbed.SSE(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
		}, nil},
		{"a stream that is cut in an event", hijacked("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"40\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/mess"), nil},
		{"a stream that hangs", func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
			<-c.Context().Done()
		}, nil},
		{"a document that is cut", hijacked("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\""), nil},
		{"a document that hangs", func(w http.ResponseWriter, c *testbed.Call) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id"`)
			_ = http.NewResponseController(w).Flush()
			<-c.Context().Done()
		}, nil},
	}
}

// callTimeout is what the configuration gives the hanging tools.
const callTimeout = config.Duration(400 * time.Millisecond)

// faultBed has every fault as a tool of a server with sessions and of one without.
type faultBed struct {
	*testbed.Gateway

	sessions, plain, dead *testbed.Upstream
}

func newFaultBed(t *testing.T, mode testbed.Mode) *faultBed {
	script := testbed.Script{Tools: []testbed.Tool{{Name: "good"}}}
	limits := map[string]config.ToolSpec{}
	timeout := callTimeout
	for name, body := range garbled() {
		script.Tools = append(script.Tools, testbed.Tool{Name: toolName(name), Call: answering(http.StatusOK, "application/json", body)})
	}
	for _, f := range append(faults(), endless()...) {
		name := toolName(f.name)
		script.Tools = append(script.Tools, testbed.Tool{Name: name, Call: f.call})
		if strings.Contains(f.name, "hang") {
			limits[name] = config.ToolSpec{Timeout: &timeout}
		}
	}
	b := &faultBed{sessions: testbed.NewUpstream(t, script), dead: testbed.NewUpstream(t, script)}
	script.Sessionless = true
	b.plain = testbed.NewUpstream(t, script)
	limited := func(s *config.ServerSpec) { s.Tools = limits }
	b.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
		spec("sessions", b.sessions.URL, limited), spec("plain", b.plain.URL, limited), spec("dead", b.dead.URL),
	}})
	b.AwaitTools(t, "sessions_good", "plain_good", "dead_good")
	return b
}

func toolName(fault string) string { return strings.NewReplacer(" ", "_", ",", "").Replace(fault) }

// TestFaultyServers: whatever a server does, its client gets a JSON-RPC error with its own id (Invariant 7), in time.
func TestFaultyServers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newFaultBed(t, mode)
		for _, way := range []struct{ name, prefix string }{{"by the broker", "sessions_"}, {"straight", "sessions_"}, {"without sessions", "plain_"}} {
			t.Run(way.name, func(t *testing.T) {
				for _, f := range faults() {
					t.Run(f.name, func(t *testing.T) {
						t.Parallel()
						c := b.client(t, way.name)
						body, id := c.ToolCall(way.prefix+toolName(f.name), "{}")
						a := c.Post(t, body)
						e := a.Error(t)
						assert.Contains(t, f.status, a.Status, e.Message)
						assert.Equal(t, -32603, e.Code)
						assert.Equal(t, fmt.Sprint(id), e.ID)
						for _, header := range []string{"Location", "Www-Authenticate", "Set-Cookie", "Mcp-Session-Id"} {
							assert.Empty(t, a.Header.Values(header))
						}
						c.Call(t, way.prefix+"good", "{}").Result(t)
					})
				}
				for name, garbage := range garbled() {
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						c := b.client(t, way.name)
						body, id := c.ToolCall(way.prefix+toolName(name), "{}")
						a := c.Post(t, body)
						if way.name != "by the broker" {
							assert.Equal(t, http.StatusOK, a.Status)
							assert.Equal(t, garbage, a.Body)
							return
						}
						assert.Equal(t, http.StatusBadGateway, a.Status)
						e := a.Error(t)
						assert.Equal(t, -32603, e.Code)
						assert.Equal(t, fmt.Sprint(id), e.ID)
					})
				}
				for _, f := range endless() {
					t.Run(f.name, func(t *testing.T) {
						t.Parallel()
						c := b.client(t, way.name)
						body, id := c.ToolCall(way.prefix+toolName(f.name), "{}")
						a, err := c.TryDo(t, http.MethodPost, strings.NewReader(body))
						if err == nil && way.prefix == "plain_" && !strings.Contains(a.Body, `"id"`) {
							return // Envoy alone carries it: the stream has ended, and the client can tell that there was no answer
						}
						if err == nil {
							e := a.Error(t)
							assert.Equal(t, -32603, e.Code)
							assert.Equal(t, fmt.Sprint(id), e.ID)
						} else {
							require.NotNil(t, a, "it is not the test's own patience that ended: %v", err)
						}
						c.Call(t, way.prefix+"good", "{}").Result(t)
					})
				}
			})
		}
		t.Run("dead", func(t *testing.T) { deadServer(t, b) })
		t.Run("hanging servers cost the others nothing", func(t *testing.T) { hanging(t, b) })
	})
}

// client is a client whose next call goes that way.
func (b *faultBed) client(t *testing.T, way string) *testbed.Client {
	t.Helper()
	c := testbed.Connect(t, b.Endpoint)
	if way == "straight" {
		c.Call(t, "sessions_good", "{}").Result(t)
	}
	return c
}

// deadServer: a server that dies is an error of its own calls alone, and is back when it is back.
func deadServer(t *testing.T, b *faultBed) {
	c := testbed.Connect(t, b.Endpoint)
	c.Call(t, "dead_good", "{}").Result(t)
	newcomer := testbed.Connect(t, b.Endpoint)
	b.dead.Down()
	for way, client := range map[string]*testbed.Client{"straight": c, "by the broker": newcomer} {
		body, id := client.ToolCall("dead_good", "{}")
		a := client.Post(t, body)
		e := a.Error(t)
		assert.Contains(t, []int{http.StatusServiceUnavailable, http.StatusBadGateway}, a.Status, way)
		assert.Equal(t, -32603, e.Code, way)
		assert.Equal(t, fmt.Sprint(id), e.ID, way)
		client.Call(t, "sessions_good", "{}").Result(t)
	}
	testbed.Await(t, "the status to tell", func() bool {
		for _, s := range b.Status(t).Servers {
			if s.Name == "dead" {
				return s.State == "failing" && s.LastError != ""
			}
		}
		return false
	})
	b.dead.Up(t)
	testbed.Await(t, "the server to be back", func() bool {
		a := newcomer.Call(t, "dead_good", "{}")
		return a.Status == http.StatusOK && strings.Contains(a.Body, "result")
	})
}

// hanging: fifty calls that wait for one server delay none at another (Invariant 12).
func hanging(t *testing.T, b *faultBed) {
	c := b.client(t, "straight")
	release := make(chan struct{})
	b.sessions.Change(func(s *testbed.Script) {
		s.Tools = append(s.Tools[:0:0], s.Tools...)
		s.Tools[0].Call = func(w http.ResponseWriter, c *testbed.Call) {
			select {
			case <-release:
				c.Text(w, "at last")
			case <-c.Context().Done():
			}
		}
	})
	const waiting = 50
	var wait sync.WaitGroup
	ended := make(chan *testbed.Answer, waiting)
	for range waiting {
		body, _ := c.ToolCall("sessions_good", `{"waits":true}`)
		wait.Go(func() {
			if a, err := c.TryDo(t, http.MethodPost, strings.NewReader(body)); err == nil {
				ended <- a
			}
		})
	}
	testbed.Await(t, "the calls to have come to the server", func() bool {
		return len(b.sessions.Calls(c.Name, func(call *testbed.Call) bool { return strings.Contains(string(call.Body), "waits") })) == waiting
	})
	for range 20 {
		c.Call(t, "plain_good", "{}").Result(t)
		c.Call(t, "dead_good", "{}").Result(t)
	}
	assert.Empty(t, ended)
	close(release)
	wait.Wait()
	require.Len(t, ended, waiting)
	for range waiting {
		assert.Equal(t, "at last", (<-ended).Text(t))
	}
}

// TestLargeAnswers: an answer may be larger than every buffer on its way, and a header of a server's that is for nobody
// does not come along.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		const size = 20 << 20
		text := strings.Repeat("0123456789abcdef", size/16)
		script := testbed.Script{Tools: []testbed.Tool{
			{Name: "document", Call: func(w http.ResponseWriter, c *testbed.Call) {
				w.Header().Set("Set-Cookie", "server=secret")
				w.Header().Set("Mcp-Session-Id", "another")
				c.Text(w, text)
			}},
			{Name: "stream", Call: func(w http.ResponseWriter, c *testbed.Call) {
				w.Header().Set("Set-Cookie", "server=secret")
				testbed.SSE(w)("data: " + c.Result(testbed.TextResult(text)) + "\n\n")
			}},
		}}
		u := testbed.NewUpstream(t, script)
		script.Sessionless = true
		plain := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
		g.AwaitTools(t, "u_document", "plain_document")
		c := testbed.Connect(t, g.Endpoint)
		for _, tool := range []string{"u_document", "u_document", "u_stream", "plain_document", "plain_stream"} {
			a := c.Call(t, tool, "{}")
			assert.Len(t, a.Text(t), size, tool)
			assert.Empty(t, a.Header.Values("Set-Cookie"), tool)
			assert.Empty(t, a.Header.Values("Mcp-Session-Id"), tool)
		}
	})
}
