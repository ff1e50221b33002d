package dataplane_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

const streamEvent = "event: message\ndata: %s\n\n"

// TestAnswersStream: the head of an answer reaches the client before its first event is made, and the first before the
// last (Invariant 10). The server goes on only when the test has seen what came before.
func TestAnswersStream(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		seen := make(chan struct{})
		slow := func(w http.ResponseWriter, c *testbed.Call) {
			send := testbed.SSE(w)
			for _, message := range []string{
				`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
				c.Result(testbed.TextResult("done")),
			} {
				select {
				case <-seen:
					send(fmt.Sprintf(streamEvent, message))
				case <-c.Context().Done():
				}
			}
		}
		script := testbed.Script{Tools: []testbed.Tool{{Name: "slow", Call: slow}}}
		sessions := testbed.NewUpstream(t, script)
		script.Sessionless = true
		plain := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"sessions": sessions, "plain": plain})})
		g.AwaitTools(t, "sessions_slow", "plain_slow")
		c := testbed.Connect(t, g.Endpoint)
		for _, tt := range []struct{ name, tool string }{
			{"first call of a session, by the broker", "sessions_slow"},
			{"next call, straight through Envoy", "sessions_slow"},
			{"server without sessions", "plain_slow"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				body, _ := c.ToolCall(tt.tool, "{}")
				s := c.Open(t, http.MethodPost, body)
				require.Equal(t, http.StatusOK, s.Status)
				assert.Equal(t, "text/event-stream", s.Header.Get("Content-Type"))
				for _, want := range []string{"notifications/progress", "done"} {
					select {
					case seen <- struct{}{}:
					case <-t.Context().Done():
					}
					assert.Contains(t, s.Next(t).Data, want)
				}
				_, more := s.TryNext(t)
				assert.False(t, more, "the stream ends with the answer")
			})
		}
	})
}

// TestBytesSurvive: what goes to a server and what comes from it are the client's and the server's own bytes (Invariant 1).
// Only the tool's name changes on the way.
func TestBytesSurvive(t *testing.T) {
	t.Parallel()
	arguments := map[string]string{
		"an integer beyond 2^53":  `{"n":9007199254740993}`,
		"a number beyond float64": `{"n":1e400}`,
		"trailing zeros":          `{"n":1.10,"m":-0,"o":0.10e-07,"p":1E+2}`,
		"a very long number":      `{"n":` + strings.Repeat("1234567890", 200) + `}`,
		"unknown members":         `{"x-unknown":{"$ref":"#/a","":[]},"__proto__":{"a":1}}`,
		"space":                   "{ \"a\" :\t[ 1 ,\r\n 2 ] , \"b\" : { } }",
		"escapes":                 `{"a":"\u0041\/\b\ud83d\ude00","\u0062":"\u2028"}`,
		"odd Unicode":             "{\"a\":\"\u2028\u2029\ufeff\u0000é\u202e😀 𝒳 \U0010ffff\"}",
		"keys twice":              `{"a":1,"a":2}`,
		"markup":                  `{"a":"<script>&amp;</script>"}`,
		"an order of keys":        `{"z":1,"a":2,"m":3}`,
	}
	// A NUL may only stand in JSON escaped.
	arguments["odd Unicode"] = strings.ReplaceAll(arguments["odd Unicode"], "\x00", "")
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		// Each answers with the arguments' own bytes in the result, beside members that nobody knows.
		result := func(c *testbed.Call) string {
			return c.Result(`{"content":[],"structuredContent":` + rawArguments(c) + `,"x-unknown":1.10,"_meta":{"a/b":9007199254740993}}`)
		}
		script := testbed.Script{Tools: []testbed.Tool{
			{Name: "document", Call: func(w http.ResponseWriter, c *testbed.Call) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprint(w, result(c))
			}},
			{Name: "stream", Call: func(w http.ResponseWriter, c *testbed.Call) {
				send := testbed.SSE(w)
				send("id: 1\ndata: \n\n")
				for line := range strings.SplitSeq(strings.ReplaceAll(result(c), "\r\n", "\n"), "\n") {
					send("data: " + line + "\n")
				}
				send("\n")
			}},
		}}
		u := testbed.NewUpstream(t, script)
		script.Sessionless = true
		plain := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
		g.AwaitTools(t, "u_document", "plain_document")
		for name, args := range arguments {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := testbed.Connect(t, g.Endpoint)
				for _, tool := range []string{"u_document", "u_document", "u_stream", "plain_document", "plain_stream"} {
					to := u
					if strings.HasPrefix(tool, "plain") {
						to = plain
					}
					own := tool[strings.Index(tool, "_")+1:]
					id := fmt.Sprintf(`"%s %d 9007199254740993"`, name, c.NextID())
					message := fmt.Sprintf(` {"jsonrpc" : "2.0","x-top":1.10, "id":%s,"method":"tools/call","params":{"_meta":{"x":1e400},"arguments":%s,"name":"%%s","extra":[ ]}} `, id, args)
					a := c.Post(t, fmt.Sprintf(message, tool))
					want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":%s,"x-unknown":1.10,"_meta":{"a/b":9007199254740993}}}`, id, args)
					if own == "stream" {
						want = strings.ReplaceAll(want, "\r\n", "\n")
					}
					assert.Equal(t, want, a.Message(t), tool)
					assert.Equal(t, fmt.Sprintf(message, own), received(t, to, id), tool)
				}
			})
		}
	})
}

// rawArguments cuts the arguments out of a call as they came.
func rawArguments(c *testbed.Call) string {
	_, rest, _ := strings.Cut(string(c.Body), `"arguments":`)
	args, _, _ := strings.Cut(rest, `,"name"`)
	return args
}

// received is the body of the call with an id as it came to a server.
func received(t *testing.T, u *testbed.Upstream, id string) string {
	t.Helper()
	for _, c := range u.AllCalls() {
		if string(c.ID) == id {
			return string(c.Body)
		}
	}
	t.Fatalf("no request with the id %s came", id)
	return ""
}
