package extproc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

// TestAnswers: what is an answer passes byte for byte; what is none becomes an error with the request's id (Invariant 7).
func TestAnswers(t *testing.T) {
	good := ` {"jsonrpc":"2.0", "id":9007199254740993,"result":{"n":1.10}} `
	fault := `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}`
	bad := func(what string) []string { return []string{failure(502, hugeID, `server "weather" `+what)} }
	type in = []*extprocv3.ProcessingRequest
	for name, tc := range map[string]struct {
		in   in
		want []string
	}{
		"good":           {in{answerHeaders(false, "200", "application/json"), answerBody(good, true)}, []string{"answer headers", "answer " + good + "$"}},
		"good in pieces": {in{answerHeaders(false, "200", "Application/JSON; charset=utf-8"), answerBody(good[:9], false), answerBody(good[9:], false), answerBody("", true)}, []string{"answer headers", "answer " + good + "$"}},
		"good with trailers": {
			in{answerHeaders(false, "200", "application/json"), answerBody(good, false), answerTrailers()},
			[]string{"answer headers", "answer " + good, "answer trailers"},
		},
		"an error":     {in{answerHeaders(false, "200", "application/json"), answerBody(fault, true)}, []string{"answer headers", "answer " + fault + "$"}},
		"an error 500": {in{answerHeaders(false, "500", "application/json"), answerBody(fault, true)}, []string{"answer headers", "answer " + fault + "$"}},
		"an error 400": {in{answerHeaders(false, "400", "application/json"), answerBody(fault, true)}, []string{"answer headers", "answer " + fault + "$"}},
		"a request": {
			in{answerHeaders(false, "200", "application/json"), answerBody(`{"jsonrpc":"2.0","id":1,"method":"ping"}`, true)},
			bad("answered with HTTP status 200 and a JSON-RPC message that is no response"),
		},
		"redirect":      {in{answerHeaders(true, "307", "")}, bad("answered with a redirect (HTTP status 307), which is not followed; its configured url should be the final one")},
		"unauthorized":  {in{answerHeaders(false, "401", "application/json")}, bad("did not accept the gateway's own credential (HTTP status 401)")},
		"forbidden":     {in{answerHeaders(true, "403", "")}, bad("did not accept the gateway's own credential (HTTP status 403)")},
		"wrong method":  {in{answerHeaders(true, "405", "")}, bad("does not take this HTTP method at its configured url (HTTP status 405)")},
		"a page":        {in{answerHeaders(false, "200", "text/html")}, bad(`answered with HTTP status 200 and content type "text/html"`)},
		"no body":       {in{answerHeaders(true, "200", "application/json")}, bad(`answered with HTTP status 200 and content type "application/json"`)},
		"taken for ok":  {in{answerHeaders(true, "202", "")}, bad("took the request without an answer (HTTP status 202)")},
		"no stream":     {in{answerHeaders(true, "200", "text/event-stream")}, bad("closed the stream before it had answered")},
		"broken":        {in{answerHeaders(false, "500", "text/plain")}, bad(`answered with HTTP status 500 and content type "text/plain"`)},
		"Envoy's own":   {in{local(answerHeaders(false, "403", "application/json"), "rbac_access_denied"), answerBody("no!", true)}, []string{"answer headers", "answer no!$"}},
		"Envoy's alone": {in{local(answerHeaders(true, "503", ""), "upstream_reset")}, []string{"answer headers"}},
		"not Envoy's":   {in{local(answerHeaders(true, "403", ""), "via_upstream")}, bad("did not accept the gateway's own credential (HTTP status 403)")},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			e := g.watched(hugeID, "write")
			require.True(t, g.inFlight(hugeID))
			for _, r := range tc.in {
				e.send(r)
			}
			assert.Equal(t, tc.want, transcript(e.rest()))
			assert.False(t, g.inFlight(hugeID), "the call is over")
			assert.True(t, g.isOpen())
		})
	}
	for name, body := range map[string]string{"garbage": "<html>", "nothing": "", "half": `{"jsonrpc":"2.0","id":1,"res`, "a batch": "[" + fault + "]"} {
		for _, trailers := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				e := start(t).watched(hugeID, "write")
				e.send(answerHeaders(false, "200", "application/json"))
				e.send(answerBody(body, !trailers))
				if trailers {
					e.send(answerTrailers())
				}
				got := transcript(e.rest())
				require.Len(t, got, 1)
				assert.Contains(t, got[0], `reply 502 {"jsonrpc":"2.0","id":`+hugeID+`,"error":{"code":-32603,"message":"server \"weather\" answered with HTTP status 200 and what is no JSON-RPC message`)
			})
		}
	}
}

// TestLargeDocument: an answer beyond what is checked is not held back (Invariant 10).
func TestLargeDocument(t *testing.T) {
	e := start(t).watched("1", "read")
	e.send(answerHeaders(false, "200", "application/json"))
	text := strings.Repeat("x", 32<<10)
	sent := 0
	for ; sent <= relay.CheckLimit; sent += len(text) {
		e.send(answerBody(text, false))
	}
	got := []*extprocv3.ProcessingResponse{e.next()}
	for n := 0; n < sent; {
		r := e.next()
		part := r.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetBody()
		assert.LessOrEqual(t, len(part), 64<<10)
		n += len(part)
		got = append(got, r)
	}
	assert.Equal(t, []string{"answer headers", "answer " + strings.Repeat("x", sent)}, transcript(got))
	e.send(answerBody("y", false))
	assert.Equal(t, []string{"answer y"}, transcript([]*extprocv3.ProcessingResponse{e.next()}))
	e.send(answerBody("z", true))
	assert.Equal(t, []string{"answer z$"}, transcript(e.rest()))
}

// TestEventStream: each event is passed on when it is whole, before the next is made (Invariant 10), with ids that lead
// back to its server, and with nothing else changed (Invariant 1).
func TestEventStream(t *testing.T) {
	g := start(t)
	e := g.watched(hugeID, "write")
	e.send(answerHeaders(false, "200", "text/event-stream; charset=utf-8"))
	assert.Equal(t, []string{"answer headers -content-length"}, transcript([]*extprocv3.ProcessingResponse{e.next()}))
	chunk := func(text string) string {
		e.send(answerBody(text, false))
		return string(e.next().GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetBody())
	}
	progress := "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1.10}}\r\n\r\n"
	assert.Equal(t, progress, chunk(progress))
	assert.Equal(t, ": hello\n\n", chunk(": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,"), "what is whole is not held back")
	asked := sse.Parse([]byte(chunk("\"method\":\"ping\"}\nid: e1\n\n")))
	m, fault := jsonrpc.Parse(asked.Data, jsonrpc.Limits{})
	require.Nil(t, fault)
	owner, raw, ok := relay.Unseal(g.session, session.SealRequest, m.ID.Of(m.Body))
	assert.True(t, ok)
	assert.Equal(t, "weather 7", owner+" "+string(raw))
	kind, owner, raw, ok := g.session.Unseal(asked.ID)
	assert.True(t, ok)
	assert.Equal(t, session.SealCallEvent, kind)
	assert.Equal(t, "weather e1", owner+" "+string(raw))
	assert.True(t, g.inFlight(hugeID))
	answer := "data: {\"jsonrpc\":\"2.0\",\"id\":" + hugeID + ",\"result\":{}}\n\n"
	e.send(answerBody(answer, true))
	assert.Equal(t, []string{"answer " + answer + "$"}, transcript(e.rest()))
	assert.False(t, g.inFlight(hugeID))
}

// TestStreamEnds: a stream that ends without the answer gets an error in its place, unless it can be resumed.
func TestStreamEnds(t *testing.T) {
	lost := `data: {"jsonrpc":"2.0","id":"a/b","error":{"code":-32603,"message":"server \"weather\" closed the stream before it had answered"}}` + "\n\n"
	lost = "event: message\n" + strings.Replace(lost, `"a/b"`, `"a\/b"`, 1)
	log := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n"
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":             {"", lost},
		"no answer":           {log, log + lost},
		"another's answer":    {"data: {\"jsonrpc\":\"2.0\",\"id\":\"ab\",\"result\":{}}\n\n", "data: {\"jsonrpc\":\"2.0\",\"id\":\"ab\",\"result\":{}}\n\n" + lost},
		"an unfinished event": {log + "data: {\"jsonrpc\":\"2.0\",\"id\"", log + lost},
		"the answer":          {"data: {\"jsonrpc\":\"2.0\",\"id\":\"a/b\",\"result\":{}}\n\n", "data: {\"jsonrpc\":\"2.0\",\"id\":\"a/b\",\"result\":{}}\n\n"},
		"more behind it":      {"data: {\"jsonrpc\":\"2.0\",\"id\":\"a\\/b\",\"result\":{}}\n\ndata: x", "data: {\"jsonrpc\":\"2.0\",\"id\":\"a\\/b\",\"result\":{}}\n\ndata: x"},
	} {
		for _, trailers := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				e := start(t).watched(`"a\/b"`, "write")
				e.send(answerHeaders(false, "200", "text/event-stream"))
				e.send(answerBody(tc.in, false))
				want := []string{"answer headers -content-length", "answer " + tc.want}
				if trailers {
					e.send(answerTrailers())
					want = append(want, "answer trailers")
				} else {
					e.send(answerBody("", true))
					want[1] += "$"
				}
				assert.Equal(t, want, transcript(e.rest()))
			})
		}
	}
	t.Run("one that can be resumed", func(t *testing.T) {
		e := start(t).watched("1", "write")
		e.send(answerHeaders(false, "200", "text/event-stream"))
		e.send(answerBody("id: e1\ndata: \n\n", true))
		got := transcript(e.rest())
		require.Len(t, got, 2)
		assert.NotContains(t, got[1], "error")
	})
}

// TestResumed: a stream that a client resumes goes to its server, under the server's own event id, and is looked at as well.
func TestResumed(t *testing.T) {
	g := start(t)
	resume := func() *envoy {
		e := g.stream()
		e.send(requestHeaders(true, ":method", "GET", ":path", "/mcp", "accept", "text/event-stream", "mcp-session-id", g.session.Token(),
			"last-event-id", g.session.Seal(session.SealCallEvent, "weather", []byte("e1"))))
		set := fields(e.next().GetRequestHeaders().GetResponse().GetHeaderMutation())
		assert.Equal(t, "weather", set["x-mcp-cluster"])
		assert.Equal(t, "e1", set["last-event-id"])
		return e
	}
	e := resume()
	e.send(answerHeaders(false, "200", "text/event-stream"))
	e.send(answerBody("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\n\n", true))
	got := transcript(e.rest())
	require.Len(t, got, 2)
	assert.Contains(t, got[1], `"id":"gw.r.weather.`)
	e = resume()
	e.send(answerHeaders(true, "404", ""))
	assert.Equal(t, []string{failure(502, "", `server "weather" has forgotten its session; call again, and the gateway opens a new one`)}, transcript(e.rest()))
	assert.False(t, g.isOpen())
}

const forgotten = `server "weather" has forgotten its session; call again, and the gateway opens a new one`

func answered(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body)}
}

// TestForgotten: a session that its server has forgotten is our matter. A call that may be repeated is; another fails once.
func TestForgotten(t *testing.T) {
	type in = []*extprocv3.ProcessingRequest
	words := `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`
	for name, refusal := range map[string]in{
		"404":                {answerHeaders(false, "404", "text/plain"), answerBody("no such session", true)},
		"400":                {answerHeaders(false, "400", "application/json"), answerBody(words, true)},
		"400, plain":         {answerHeaders(false, "400", "text/plain"), answerBody("Invalid ", false), answerBody("session", true)},
		"400, with trailers": {answerHeaders(false, "400", "application/json"), answerBody(words, false), answerTrailers()},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			replays := 0
			g.replay = func(_ context.Context, c *router.Call) (*http.Response, error) {
				replays++
				assert.Equal(t, callOf(hugeID, "read"), string(c.Body), "as the server knows the tool")
				assert.Equal(t, hugeID, string(c.ID))
				assert.Same(t, g.session, c.Session)
				assert.Equal(t, "weather", c.Server.Name)
				assert.True(t, g.inFlight(hugeID))
				return answered(http.StatusOK, "text/event-stream", io.MultiReader(strings.NewReader("data: 1\n\n"), strings.NewReader("data: 2\n\n"))), nil
			}
			e := g.watched(hugeID, "read")
			for _, r := range refusal {
				e.send(r)
			}
			assert.Equal(t, []string{"answer headers 200 text/event-stream -content-length", "answer data: 1\n\ndata: 2\n\n$"}, transcript(e.rest()))
			assert.Equal(t, 1, replays)
			assert.False(t, g.inFlight(hugeID))
			assert.False(t, g.isOpen(), "the call opens another")

			g.open()
			e = g.watched(hugeID, "write")
			for _, r := range refusal {
				e.send(r)
			}
			assert.Equal(t, []string{failure(502, hugeID, forgotten)}, transcript(e.rest()))
			assert.Equal(t, 1, replays)
			assert.False(t, g.isOpen())
		})
	}
}

// TestReplayFails: what becomes of a call that cannot be repeated after all.
func TestReplayFails(t *testing.T) {
	g := start(t)
	refuse := func() *envoy {
		g.open()
		e := g.watched(hugeID, "read")
		e.send(answerHeaders(false, "404", "text/plain"))
		return e
	}
	g.replay = func(context.Context, *router.Call) (*http.Response, error) {
		return nil, &jsonrpc.Error{Code: -32603, Status: http.StatusServiceUnavailable, ID: []byte(hugeID), Message: "down"}
	}
	assert.Equal(t, []string{failure(503, hugeID, "down")}, transcript(refuse().rest()))
	g.replay = func(context.Context, *router.Call) (*http.Response, error) { return nil, errors.New("oops") }
	assert.Equal(t, []string{failure(502, hugeID, `server "weather" has forgotten its session, and no new one could be opened: oops`)}, transcript(refuse().rest()))

	g.replay = func(context.Context, *router.Call) (*http.Response, error) {
		return answered(http.StatusOK, "application/json", io.MultiReader(strings.NewReader("half"), brokenReader{})), nil
	}
	e := refuse()
	assert.Equal(t, []string{"answer headers 200 application/json -content-length", "answer half"}, transcript([]*extprocv3.ProcessingResponse{e.next(), e.next()}))
	_, err := e.stream.Recv()
	assert.Equal(t, codes.Unknown, status.Code(err), "nobody must take it for whole")

	e = func() *envoy { // nothing can be put in place of a body that there is not
		g.open()
		e := g.watched(hugeID, "read")
		e.send(answerHeaders(true, "404", ""))
		return e
	}()
	assert.Equal(t, []string{failure(502, hugeID, forgotten)}, transcript(e.rest()))
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken off") }

// closing tells when it is closed.
type closing struct {
	io.Reader
	closed chan struct{}
}

func (c closing) Close() error {
	close(c.closed)
	return nil
}

// TestReplayStreams: what the repeated call says is passed on as it comes (Invariant 10), and ends when the client leaves.
func TestReplayStreams(t *testing.T) {
	g := start(t)
	body, feed := io.Pipe()
	closed := make(chan struct{})
	g.replay = func(ctx context.Context, _ *router.Call) (*http.Response, error) {
		context.AfterFunc(ctx, func() { _ = body.CloseWithError(ctx.Err()) }) // as a connection does
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: closing{body, closed}}, nil
	}
	e := g.watched("1", "read")
	e.send(answerHeaders(false, "404", ""))
	e.next()
	for _, text := range []string{"one", "two"} {
		_, err := io.WriteString(feed, text)
		require.NoError(t, err)
		assert.Equal(t, []string{"answer " + text}, transcript([]*extprocv3.ProcessingResponse{e.next()}))
	}
	e.leave()
	select {
	case <-closed:
	case <-time.After(patience):
		require.FailNow(t, "the repeated call goes on")
	}
	require.Eventually(t, func() bool { return !g.inFlight("1") }, patience, time.Millisecond)
}

// TestLeaving: wherever Envoy ends a stream, the call is no longer in flight, and nothing is left of it.
func TestLeaving(t *testing.T) {
	for name, steps := range map[string][]*extprocv3.ProcessingRequest{
		"before the answer":           {},
		"in the answer's headers":     {answerHeaders(false, "200", "application/json")},
		"in a document":               {answerHeaders(false, "200", "application/json"), answerBody(`{"jsonrpc"`, false)},
		"at the head of a stream":     {answerHeaders(false, "200", "text/event-stream")},
		"in a stream":                 {answerHeaders(false, "200", "text/event-stream"), answerBody("data: {}\n\n", false)},
		"in an event":                 {answerHeaders(false, "200", "text/event-stream"), answerBody("data: {", false)},
		"in what is taken as it is":   {local(answerHeaders(false, "503", ""), "x"), answerBody("a", false)},
		"behind a document too large": {answerHeaders(false, "200", "application/json"), answerBody(strings.Repeat("x", relay.CheckLimit+1), false)},
	} {
		for _, half := range []bool{false, true} { // Envoy closes its side, or resets the stream
			t.Run(name, func(t *testing.T) {
				g := start(t)
				e := g.watched(hugeID, "read")
				for _, r := range steps {
					e.send(r)
				}
				assert.True(t, g.inFlight(hugeID))
				if half {
					require.NoError(t, e.stream.CloseSend())
					e.rest()
				} else {
					e.leave()
				}
				require.Eventually(t, func() bool { return !g.inFlight(hugeID) }, patience, time.Millisecond)
				_, faults := g.observer.told()
				assert.Zero(t, faults)
			})
		}
	}
	t.Run("before the request is whole", func(t *testing.T) {
		g := start(t)
		for _, steps := range [][]*extprocv3.ProcessingRequest{{}, {g.post()}, {g.post(), requestBody(`{"json`, false)}} {
			e := g.stream()
			for _, r := range steps {
				e.send(r)
			}
			require.NoError(t, e.stream.CloseSend())
			assert.Empty(t, e.rest())
		}
	})
}
