package dataplane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const maxBody = 4 << 20

// badInput is a request that must be refused, and how.
type badInput struct {
	name, body string
	headers    []string
	status     int
	code       int
	id         string // raw; empty means that the answer has none
}

// badMessages are bodies that are wrong whoever sends them.
func badMessages() []badInput {
	const parse, invalid, params, method = -32700, -32600, -32602, -32601
	ok, bad := http.StatusOK, http.StatusBadRequest
	call := func(id, params string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":` + params + `}`
	}
	list := func(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list"}` }
	return []badInput{
		{"empty body", "", nil, bad, parse, ""},
		{"space alone", " \n", nil, bad, parse, ""},
		{"not JSON", "hello", nil, bad, parse, ""},
		{"truncated", `{"jsonrpc":"2.0","id":1,"method":"tools/li`, nil, bad, parse, ""},
		{"something behind the end", list("1") + "{}", nil, bad, parse, ""},
		{"two messages", list("1") + "\n" + list("2"), nil, bad, parse, ""},
		{"byte order mark", "\xef\xbb\xbf" + list("1"), nil, bad, parse, ""},
		{"invalid UTF-8", call("1", "{\"name\":\"u_tool\",\"arguments\":{\"a\":\"\xff\xfe\"}}"), nil, bad, parse, ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", nil, bad, parse, ""},
		{"control character in a string", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"a\":\"\x01\"}", nil, bad, parse, ""},
		{"a number that is none", call("1", `{"name":"u_tool","arguments":{"a":01}}`), nil, bad, parse, ""},
		{"NaN", call("1", `{"name":"u_tool","arguments":{"a":NaN}}`), nil, bad, parse, ""},

		{"batch", "[" + list("1") + "]", nil, bad, invalid, ""},
		{"empty batch", "[]", nil, bad, invalid, ""},
		{"string", `"tools/list"`, nil, bad, invalid, ""},
		{"null", "null", nil, bad, invalid, ""},
		{"number", "17", nil, bad, invalid, ""},
		{"empty object", "{}", nil, bad, invalid, ""},

		{"id null", list("null"), nil, bad, invalid, ""},
		{"id true", list("true"), nil, bad, invalid, ""},
		{"id object", list("{}"), nil, bad, invalid, ""},
		{"id array", list("[1]"), nil, bad, invalid, ""},
		{"id with a fraction", list("1.5"), nil, bad, invalid, ""},
		{"id with an exponent", list("1e3"), nil, bad, invalid, ""},
		{"id with half a surrogate pair", list(`"\ud800"`), nil, bad, invalid, ""},
		{"id twice", `{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}`, nil, bad, invalid, ""},
		{"id twice, once escaped", `{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"tools/list"}`, nil, bad, invalid, ""},

		{"no jsonrpc", `{"id":1,"method":"tools/list"}`, nil, bad, invalid, "1"},
		{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":1,"method":"tools/list"}`, nil, bad, invalid, "1"},
		{"jsonrpc a number", `{"jsonrpc":2.0,"id":1,"method":"tools/list"}`, nil, bad, invalid, "1"},
		{"no method", `{"jsonrpc":"2.0","id":1}`, nil, bad, invalid, "1"},
		{"method a number", `{"jsonrpc":"2.0","id":1,"method":1}`, nil, bad, invalid, "1"},
		{"request and response", `{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}`, nil, bad, invalid, "1"},
		{"params an array", call("1", `["u_tool"]`), nil, bad, invalid, "1"},
		{"params a string", call("1", `"u_tool"`), nil, bad, invalid, "1"},

		{"method twice", `{"jsonrpc":"2.0","id":"m","method":"tools/list","method":"tools/call","params":{"name":"u_tool"}}`, nil, bad, invalid, `"m"`},
		{"method in two cases", `{"jsonrpc":"2.0","id":"m","method":"tools/list","Method":"tools/call","params":{"name":"u_tool"}}`, nil, bad, invalid, `"m"`},
		{"method twice, once escaped", `{"jsonrpc":"2.0","id":"m","method":"tools/list","m\u0065thod":"tools/call"}`, nil, bad, invalid, `"m"`},
		{"params twice", `{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"u_tool"},"params":{"name":"plain_tool"}}`, nil, bad, invalid, `"p"`},
		{"name twice", call(`"n"`, `{"name":"u_tool","name":"plain_tool"}`), nil, bad, invalid, `"n"`},
		{"name in two cases", call(`"n"`, `{"name":"u_tool","Name":"plain_tool"}`), nil, bad, invalid, `"n"`},
		{"name twice, once escaped", call(`"n"`, `{"name":"u_tool","n\u0061me":"plain_tool"}`), nil, bad, invalid, `"n"`},
		{"nested 10 000 deep", call(`"d"`, `{"name":"u_tool","arguments":{"a":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`}}`), nil, bad, invalid, `"d"`},
		{"nested 10 000 deep, not closed", call(`"d"`, `{"name":"u_tool","arguments":{"a":`+strings.Repeat("[", 10_000)), nil, bad, parse, ""},

		{"unknown method", `{"jsonrpc":"2.0","id":"u","method":"tools/destroy"}`, nil, ok, method, `"u"`},
		{"method of a newer revision", `{"jsonrpc":"2.0","id":"u","method":"server/discover"}`, nil, ok, method, `"u"`},
		{"unknown tool", call("-7", `{"name":"u_nothing"}`), nil, ok, params, "-7"},
		{"tool without its prefix", call("1", `{"name":"tool"}`), nil, ok, params, "1"},
		{"tool in another case", call("1", `{"name":"U_tool"}`), nil, ok, params, "1"},
		{"tool of a disabled server", call("1", `{"name":"off_tool"}`), nil, ok, params, "1"},
		{"no tool", call("1", `{}`), nil, ok, params, "1"},
		{"tool without params", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, nil, ok, params, "1"},
		{"tool's name a number", call("1", `{"name":1}`), nil, ok, params, "1"},
		{"tool's name empty", call("1", `{"name":""}`), nil, ok, params, "1"},
		{"tool's name very long", call("1", `{"name":"`+strings.Repeat("x", 1<<20)+`"}`), nil, ok, params, "1"},
		{"a huge id", call("123456789012345678901234567890123456789012345678901234567890", `{"name":"no"}`), nil, ok, params, "123456789012345678901234567890123456789012345678901234567890"},
		{"an id in odd escapes", call(`"\u0041\/\ud83d\ude00"`, `{"name":"no"}`), nil, ok, params, `"\u0041\/\ud83d\ude00"`},
		{"an empty id", call(`""`, `{"name":"no"}`), nil, ok, params, `""`},
		{"an id with a quote and a percent sign", call(`"%REQ(:PATH)%\" %"`, `{"name":"no"}`), nil, ok, params, `"%REQ(:PATH)%\" %"`},
		{"a cursor that no list gave", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"made up"}}`, nil, ok, params, "1"},

		{"response to nothing", `{"jsonrpc":"2.0","id":1,"result":{}}`, nil, bad, invalid, ""},
		{"error to nothing", `{"jsonrpc":"2.0","id":"gw.r","error":{"code":1,"message":"no"}}`, nil, bad, invalid, ""},
	}
}

// badHeads are heads that are wrong around a good body.
func badHeads() []badInput {
	const body, id = `{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"u_tool"}}`, "9007199254740993"
	one := func(name string, status int, headers ...string) badInput {
		return badInput{name: name, body: body, headers: headers, status: status, code: -32600, id: id}
	}
	return []badInput{
		one("Content-Type of a form", http.StatusUnsupportedMediaType, "Content-Type", "application/x-www-form-urlencoded"),
		one("Content-Type of text", http.StatusUnsupportedMediaType, "Content-Type", "text/plain"),
		one("Content-Type in another charset", http.StatusUnsupportedMediaType, "Content-Type", "application/json; charset=utf-16"),
		one("no Content-Type", http.StatusUnsupportedMediaType, "Content-Type", ""),
		one("Content-Encoding", http.StatusUnsupportedMediaType, "Content-Encoding", "gzip"),
		one("Accept of documents alone", http.StatusNotAcceptable, "Accept", "application/json"),
		one("Accept of streams alone", http.StatusNotAcceptable, "Accept", "text/event-stream"),
		one("Accept of neither", http.StatusNotAcceptable, "Accept", "text/html"),
		one("foreign Origin", http.StatusForbidden, "Origin", "https://evil.example.com"),
		one("opaque Origin", http.StatusForbidden, "Origin", "null"),
		one("Origin that begins like a good one", http.StatusForbidden, "Origin", "http://localhost.evil.example.com"),
		one("no session", http.StatusBadRequest, "Mcp-Session-Id", ""),
		one("forged session", http.StatusNotFound, "Mcp-Session-Id", "forged"),
		one("forged session of the right length", http.StatusNotFound, "Mcp-Session-Id", strings.Repeat("A", 76)),
		one("session of a server", http.StatusNotFound, "Mcp-Session-Id", "upstream-session-1"),
		one("two sessions", http.StatusBadRequest, "Mcp-Session-Id", "one", "Mcp-Session-Id", "two"),
		one("two tokens", http.StatusBadRequest, "Authorization", "Bearer one", "Authorization", "Bearer two"),
		one("two origins", http.StatusForbidden, "Origin", "http://localhost", "Origin", "https://evil.example.com"),
		{name: "unsupported revision", body: body, headers: []string{"Mcp-Protocol-Version", "2024-11-05"}, status: http.StatusBadRequest, code: -32022, id: id},
	}
}

// badBed is a gateway whose servers must see nothing of what is refused.
type badBed struct {
	*testbed.Gateway

	u, plain, off *testbed.Upstream
}

func newBadBed(t *testing.T, mode testbed.Mode) *badBed {
	tool := []testbed.Tool{{Name: "tool"}}
	b := &badBed{
		u:     testbed.NewUpstream(t, testbed.Script{Tools: tool}),
		plain: testbed.NewUpstream(t, testbed.Script{Tools: tool, Sessionless: true}),
		off:   testbed.NewUpstream(t, testbed.Script{Tools: tool}),
	}
	no := false
	b.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
		spec("u", b.u.URL), spec("plain", b.plain.URL), spec("off", b.off.URL, func(s *config.ServerSpec) { s.Enabled = &no }),
	}})
	b.AwaitTools(t, "u_tool", "plain_tool")
	return b
}

// reached is how many messages of clients have come to a server.
func (b *badBed) reached() int {
	n := 0
	for _, u := range []*testbed.Upstream{b.u, b.plain, b.off} {
		for _, c := range u.AllCalls() {
			if c.RPC == "tools/call" {
				n++
			}
		}
	}
	return n
}

// TestBadInput: every mistake is answered with the right status, code and raw id (Invariant 7), no server hears of it, and
// nothing is left behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newBadBed(t, mode)
		c := testbed.Connect(t, b.Endpoint)
		c.Call(t, "u_tool", "{}").Result(t)
		before, goroutines := b.reached(), b.Metric(t, "go_goroutines")
		for protocol, client := range map[string]*testbed.Client{"HTTP1": c, "HTTP2": overH2(t, c)} {
			for _, tt := range append(badMessages(), badHeads()...) {
				t.Run(protocol+"/"+tt.name, func(t *testing.T) { refused(t, client, tt) })
			}
		}
		assert.Equal(t, before, b.reached(), "no server hears of what is refused")
		t.Run("methods", func(t *testing.T) { otherMethods(t, c) })
		t.Run("too large", func(t *testing.T) { tooLarge(t, b, c) })
		t.Run("heads that Envoy refuses", func(t *testing.T) { refusedByEnvoy(t, b, c) })
		c.Call(t, "u_tool", "{}").Result(t)
		testbed.Await(t, "the goroutines of refused requests to end", func() bool { return b.Metric(t, "go_goroutines") < goroutines+20 })
		assert.Zero(t, b.Metric(t, "mcp_gateway_router_faults_total"))
	})
}

func overH2(t *testing.T, c *testbed.Client) *testbed.Client {
	t.Helper()
	other := c.At(c.Endpoint)
	h2(t, other)
	return other
}

func refused(t *testing.T, c *testbed.Client, tt badInput) {
	a := c.Post(t, tt.body, tt.headers...)
	assert.Equal(t, tt.status, a.Status, a)
	e := a.Error(t)
	assert.Equal(t, tt.code, e.Code, e.Message)
	assert.Equal(t, tt.id, e.ID, e.Message)
	if tt.code == -32022 {
		assert.Contains(t, a.Body, `"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]`)
	}
}

func otherMethods(t *testing.T, c *testbed.Client) {
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodHead, http.MethodTrace, "PROPFIND"} {
		for name, body := range map[string]io.Reader{"without a body": nil, "with a body": strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)} {
			a := c.Do(t, method, body)
			assert.Equal(t, http.StatusMethodNotAllowed, a.Status, "%s %s", method, name)
			if method != http.MethodHead {
				assert.Equal(t, -32600, a.Error(t).Code, "%s %s", method, name)
			}
		}
	}
	a := c.Do(t, http.MethodGet, nil, "Accept", "application/json")
	assert.Equal(t, http.StatusNotAcceptable, a.Status)
	a.Error(t)
}

// tooLarge: one byte more than what is allowed, told in advance or not.
func tooLarge(t *testing.T, b *badBed, c *testbed.Client) {
	message := func(size int) string {
		const head, tail = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u_tool","arguments":{"a":"`, `"}}}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, client := range []*testbed.Client{c, overH2(t, c)} {
		before := b.reached()
		for name, body := range map[string]io.Reader{
			"told":     strings.NewReader(message(maxBody + 1)),
			"not told": io.MultiReader(strings.NewReader(message(maxBody + 1))),
			"far more": io.LimitReader(zeros{}, 64<<20),
		} {
			a, err := client.TryDo(t, http.MethodPost, body)
			if err != nil && a == nil {
				// A server may answer and close before all has come; Go's client then fails to write at times.
				assert.Contains(t, err.Error(), "connection reset", name)
				continue
			}
			assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status, "%s: %s", name, a.Body)
			assert.Equal(t, http.StatusRequestEntityTooLarge, a.Error(t).Code, name)
		}
		assert.Equal(t, before, b.reached())
		client.Post(t, message(maxBody)).Result(t)
		assert.Equal(t, before+1, b.reached(), "the largest that is allowed")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// refusedByEnvoy: what Envoy does not let through to the router is answered in the same words (Invariant 7).
func refusedByEnvoy(t *testing.T, b *badBed, c *testbed.Client) {
	a := c.Call(t, "u_tool", "{}", "X-Large", strings.Repeat("x", 128<<10))
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, a.Status)
	assert.Equal(t, -32600, a.Error(t).Code)
	a = c.At(b.Base+"/mcp%2Fother").Call(t, "u_tool", "{}")
	assert.Equal(t, http.StatusBadRequest, a.Status)
	assert.Equal(t, -32600, a.Error(t).Code)
}

// TestOddBodies: a good message may come in any manner in which HTTP lets it come.
func TestOddBodies(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newBadBed(t, mode)
		c := testbed.Connect(t, b.Endpoint)
		t.Run("chunks of one byte", func(t *testing.T) { oneByteChunks(t, b, c) })
		t.Run("slowly", func(t *testing.T) { slowBody(t, c) })
		t.Run("expecting 100", func(t *testing.T) { expectContinue(t, b, c) })
		t.Run("given up", func(t *testing.T) { givenUp(t, b, c) })
		t.Run("HTTP2", func(t *testing.T) {
			other := overH2(t, c)
			for range 3 {
				assert.Contains(t, other.Call(t, "u_tool", "{}").Text(t), "tools/call")
			}
			body, _ := c.ToolCall("u_tool", `{"pieces":true}`)
			r, w := io.Pipe()
			go func() {
				for i := range body {
					_, _ = io.WriteString(w, body[i:i+1])
				}
				_ = w.Close()
			}()
			assert.Contains(t, other.Do(t, http.MethodPost, r).Text(t), "pieces")
		})
	})
}

// head is that of a raw request of a session.
func head(b *badBed, c *testbed.Client, more ...string) string {
	return "POST /mcp HTTP/1.1\r\nHost: " + strings.TrimPrefix(b.Base, "http://") + "\r\nContent-Type: application/json\r\n" +
		"Accept: application/json, text/event-stream\r\nMcp-Session-Id: " + c.Session + "\r\n" + strings.Join(more, "\r\n") + "\r\n\r\n"
}

// dial opens a raw connection with a deadline.
func dial(t *testing.T, b *badBed) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.Base, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(testbed.Patience)))
	return conn
}

func rawAnswer(t *testing.T, conn io.Reader) *testbed.Answer {
	t.Helper()
	a, err := readAnswer(conn)
	require.NoError(t, err)
	return a
}

// readAnswer reads one answer of a raw connection.
func readAnswer(conn io.Reader) (*testbed.Answer, error) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return &testbed.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}, err
}

func oneByteChunks(t *testing.T, b *badBed, c *testbed.Client) {
	conn := dial(t, b)
	body, _ := c.ToolCall("u_tool", `{"chunks":"héllo"}`)
	_, err := io.WriteString(conn, head(b, c, "Transfer-Encoding: chunked"))
	require.NoError(t, err)
	for i := range len(body) {
		_, err = conn.Write([]byte{'1', '\r', '\n', body[i], '\r', '\n'})
		require.NoError(t, err)
	}
	_, err = io.WriteString(conn, "0\r\nX-Trailer: odd\r\n\r\n")
	require.NoError(t, err)
	assert.Contains(t, rawAnswer(t, conn).Text(t), "héllo")
}

// slowBody: a body that is still coming holds nobody up, and is answered when it is there.
func slowBody(t *testing.T, c *testbed.Client) {
	body, _ := c.ToolCall("u_tool", `{"slow":true}`)
	r, w := io.Pipe()
	answer := make(chan *testbed.Answer, 1)
	go func() {
		a, _ := c.TryDo(t, http.MethodPost, r)
		answer <- a
	}()
	for len(body) > 0 {
		n := min(len(body), 20)
		_, err := io.WriteString(w, body[:n])
		require.NoError(t, err)
		body = body[n:]
		c.Call(t, "u_tool", "{}").Result(t)
	}
	require.NoError(t, w.Close())
	a := <-answer
	require.NotNil(t, a)
	assert.Contains(t, a.Text(t), "slow")
}

func expectContinue(t *testing.T, b *badBed, c *testbed.Client) {
	conn := dial(t, b)
	body, _ := c.ToolCall("u_tool", `{"expected":true}`)
	_, err := io.WriteString(conn, head(b, c, "Content-Length: "+strconv.Itoa(len(body)), "Expect: 100-continue"))
	require.NoError(t, err)
	line, err := bufio.NewReaderSize(io.LimitReader(conn, int64(len("HTTP/1.1 100 Continue\r\n\r\n"))), 16).ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, line, "100")
	_, err = io.Copy(conn, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	assert.Contains(t, rawAnswer(t, conn).Text(t), "expected")
}

// givenUp: a client that leaves in the midst of its message has said nothing.
func givenUp(t *testing.T, b *badBed, c *testbed.Client) {
	before := b.reached()
	body, _ := c.ToolCall("u_tool", `{"given":"up"}`)
	for _, framing := range []string{"Content-Length: " + strconv.Itoa(len(body)), "Transfer-Encoding: chunked"} {
		conn := dial(t, b)
		_, err := io.WriteString(conn, head(b, c, framing))
		require.NoError(t, err)
		if strings.HasPrefix(framing, "Transfer") {
			_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(body), body)
		} else {
			_, err = io.WriteString(conn, body[:len(body)-1])
		}
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	for range 5 {
		c.Call(t, "u_tool", "{}").Result(t)
	}
	assert.Equal(t, before+5, b.reached())
}
