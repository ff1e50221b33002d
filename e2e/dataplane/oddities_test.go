package dataplane_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestReadyMeansWhole: whoever waits for readiness finds every tool of every server that is there.
func TestReadyMeansWhole(t *testing.T) {
	t.Parallel()
	for _, mode := range []testbed.Mode{testbed.Standalone, testbed.Fed, testbed.Static} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			upstreams, want := map[string]*testbed.Upstream{}, []string{}
			for i := range 9 {
				name := fmt.Sprintf("server-%d", i)
				upstreams[name] = testbed.NewUpstream(t, testbed.Script{Sessionless: i%2 == 0, Tools: []testbed.Tool{{Name: "tool"}}})
				want = append(want, name+"_tool")
			}
			g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(upstreams)})
			if mode == testbed.Fed {
				g.AwaitProgrammed(t)
			}
			c := testbed.Connect(t, g.Endpoint)
			assert.Equal(t, want, c.ToolNames(t))
			for _, tool := range want {
				c.Call(t, tool, "{}").Result(t)
			}
		})
	}
}

// TestPaths: the endpoint is /mcp, however the path is spelled that comes down to it, and nothing else.
func TestPaths(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newBadBed(t, mode)
		c := testbed.Connect(t, b.Endpoint)
		for path, want := range map[string]int{
			"/mcp": 200, "/mcp?a=b": 200, "/mcp?": 200, "//mcp": 200, "/x/../mcp": 200, "/%6dcp": 200,
			"/mcp/": 404, "/mcp/x": 404, "/MCP": 404, "/mcpx": 404, "/mcp;a=b": 404, "/": 404, "/mcp/..": 404, "/mcp/%2e%2e/x": 404,
			"/mcp%2f": 400, "/mcp%5c..": 400,
		} {
			body, _ := c.ToolCall("u_tool", "{}")
			conn := dial(t, b)
			_, err := io.WriteString(conn, strings.Replace(head(b, c, "Content-Length: "+fmt.Sprint(len(body))), "POST /mcp ", "POST "+path+" ", 1)+body)
			require.NoError(t, err)
			a := rawAnswer(t, conn)
			assert.Equal(t, want, a.Status, "%s: %s", path, a.Body)
			if want != http.StatusOK {
				assert.Equal(t, -32600, a.Error(t).Code, path)
			}
		}
	})
}

// TestSmuggling: a message that two readers could cut out of the stream in two ways goes nowhere.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newBadBed(t, mode)
		c := testbed.Connect(t, b.Endpoint)
		body, _ := c.ToolCall("u_tool", "{}")
		size := fmt.Sprint(len(body))
		chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		before := b.reached()
		for name, raw := range map[string]string{
			"both lengths":            head(b, c, "Content-Length: 4", "Transfer-Encoding: chunked") + chunked,
			"two lengths":             head(b, c, "Content-Length: "+size, "Content-Length: 4") + body,
			"a list of lengths":       head(b, c, "Content-Length: "+size+", 4") + body,
			"a negative length":       head(b, c, "Content-Length: -1") + body,
			"a length with a sign":    head(b, c, "Content-Length: +"+size) + body,
			"an odd encoding":         head(b, c, "Transfer-Encoding: xchunked") + chunked,
			"two encodings":           head(b, c, "Transfer-Encoding: chunked, identity") + chunked,
			"a space before a colon":  head(b, c, "Transfer-Encoding : chunked") + chunked,
			"a chunk of a wrong size": head(b, c, "Transfer-Encoding: chunked") + "zz\r\n" + body + "\r\n0\r\n\r\n",
			"a NUL in a header":       head(b, c, "X-Nul: a\x00b", "Content-Length: "+size) + body,
			"no header's name":        head(b, c, ": a", "Content-Length: "+size) + body,
		} {
			conn := dial(t, b)
			_, err := io.WriteString(conn, raw)
			require.NoError(t, err)
			a, err := readAnswer(conn)
			if errors.Is(err, io.ErrUnexpectedEOF) && name == "a chunk of a wrong size" {
				continue // the connection has been closed in the midst of the message
			}
			require.NoError(t, err, name)
			assert.GreaterOrEqual(t, a.Status, 400, name)
			assert.Less(t, a.Status, 502, name)
			want := -32600
			if a.Status == http.StatusNotImplemented {
				want = -32603
			}
			assert.Equal(t, want, a.Error(t).Code, name)
		}
		assert.Equal(t, before, b.reached())
		c.Call(t, "u_tool", "{}").Result(t)
	})
}

// TestCompression: a stream that the gateway has to look into must not come compressed, and is not taken for another if it
// does; what it need not look into may.
func TestCompression(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		compressed := func(asked bool) func(w http.ResponseWriter, c *testbed.Call) {
			return func(w http.ResponseWriter, c *testbed.Call) {
				raw := "id: 1\ndata: " + c.Result(testbed.TextResult("said")) + "\n\n"
				w.Header().Set("Content-Type", "text/event-stream")
				if asked && !strings.Contains(c.Header.Get("Accept-Encoding"), "gzip") {
					_, _ = io.WriteString(w, raw)
					return
				}
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = io.WriteString(z, raw)
				_ = z.Close()
			}
		}
		tools := []testbed.Tool{{Name: "asked", Call: compressed(true)}, {Name: "unasked", Call: compressed(false)}}
		u := testbed.NewUpstream(t, testbed.Script{Tools: tools})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u})})
		g.AwaitTools(t, "u_asked", "u_unasked")
		c := testbed.Connect(t, g.Endpoint)
		for _, way := range []string{"by the broker", "straight"} {
			a := c.Call(t, "u_asked", "{}", "Accept-Encoding", "gzip, br")
			assert.Equal(t, "said", a.Text(t), way)
			assert.NotContains(t, a.Body, "id: 1\n", "the event's id has been made the session's: %s", way)
			other := testbed.Connect(t, g.Endpoint)
			if way == "straight" {
				other.Call(t, "u_asked", "{}").Result(t)
			}
			body, id := other.ToolCall("u_unasked", "{}")
			a = other.Post(t, body, "Accept-Encoding", "gzip, br")
			assert.Equal(t, http.StatusBadGateway, a.Status, way)
			e := a.Error(t)
			assert.Equal(t, -32603, e.Code, way)
			assert.Equal(t, fmt.Sprint(id), e.ID, way)
		}
	})
}

// TestClientLeaves: a server is told by the end of the connection that nobody waits any more, as it would be without a
// gateway between, and the gateway remembers nothing of the call.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		left := make(chan string, 8)
		script := testbed.Script{Tools: []testbed.Tool{{Name: "good"}, {Name: "wait", Call: func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
			<-c.Context().Done()
			left <- string(c.ID)
		}}}}
		u := testbed.NewUpstream(t, script)
		script.Sessionless = true
		plain := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
		g.AwaitTools(t, "u_wait", "plain_wait")
		c := testbed.Connect(t, g.Endpoint)
		for _, tool := range []string{"u_wait", "u_wait", "plain_wait"} {
			body, id := c.ToolCall(tool, "{}")
			s := c.Open(t, http.MethodPost, body)
			s.Find(t, "begun")
			s.Close()
			testbed.Await(t, "the server to notice", func() bool { return len(left) > 0 })
			assert.Equal(t, fmt.Sprint(id), <-left)
		}
		c.Call(t, "u_good", "{}").Result(t)
	})
}

// TestLimits: the limits that operators set are those in force.
func TestLimits(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "a"}, {Name: "b"}, {Name: "c"}}})
	g := testbed.StartGateway(t, testbed.Options{
		Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--max-request-bytes", "1000", "--page-size", "2"},
	})
	g.AwaitTools(t, "u_a", "u_c")
	c := testbed.Connect(t, g.Endpoint)
	fill := func(n int) string { return `{"a":"` + strings.Repeat("x", n) + `"}` }
	c.Call(t, "u_a", fill(900)).Result(t)
	a := c.Call(t, "u_a", fill(1000))
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
	a.Error(t)
	list := c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).Result(t)
	assert.Contains(t, list, "nextCursor")
	assert.Equal(t, []string{"u_a", "u_b", "u_c"}, c.ToolNames(t))
}
