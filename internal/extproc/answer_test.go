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

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

type requests = []*extprocv3.ProcessingRequest

// TestAnswers: what can be an answer passes, and the rest of it is not looked at; what is none becomes an error with the
// request's id (Invariant 7).
func TestAnswers(t *testing.T) {
	passes := []string{"answer headers"}
	bad := func(what string) []string { return []string{failure(502, hugeID, `server "weather" `+what)} }
	for name, tc := range map[string]struct {
		in   *extprocv3.ProcessingRequest
		want []string
	}{
		"a document":        {answerHeaders(false, "200", "application/json"), passes},
		"one of large type": {answerHeaders(false, "200", "Application/JSON; charset=utf-8"), passes},
		"an error":          {answerHeaders(false, "500", "application/json"), passes},
		"redirect":          {answerHeaders(true, "307", ""), bad("answered with a redirect (HTTP status 307), which is not followed; its configured url should be the final one")},
		"unauthorized":      {answerHeaders(false, "401", "application/json"), bad("did not accept the gateway's own credential (HTTP status 401)")},
		"forbidden":         {answerHeaders(true, "403", ""), bad("did not accept the gateway's own credential (HTTP status 403)")},
		"wrong method":      {answerHeaders(true, "405", ""), bad("does not take this HTTP method at its configured url (HTTP status 405)")},
		"a page":            {answerHeaders(false, "200", "text/html"), bad(`answered with HTTP status 200 and content type "text/html"`)},
		"no body":           {answerHeaders(true, "200", "application/json"), bad(`answered with HTTP status 200 and content type "application/json"`)},
		"no body, 400":      {answerHeaders(true, "400", ""), bad(`answered with HTTP status 400 and content type ""`)},
		"taken for good":    {answerHeaders(true, "202", ""), bad("took the request without an answer (HTTP status 202)")},
		"no stream":         {answerHeaders(true, "200", "text/event-stream"), bad("closed the stream before it had answered")},
		"broken":            {answerHeaders(false, "500", "text/plain"), bad(`answered with HTTP status 500 and content type "text/plain"`)},
		"no status":         {answerHeaders(false, "", "text/plain"), bad(`answered with HTTP status 0 and content type "text/plain"`)},
		"a policy's no":     {local(answerHeaders(false, "403", "application/json")), passes},
		"Envoy's own":       {local(answerHeaders(true, "503", "")), passes},
		"Envoy's own 404":   {local(answerHeaders(false, "404", "application/json")), passes},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			e := g.watched(hugeID, "write")
			require.True(t, g.inFlight(hugeID))
			e.send(tc.in)
			assert.Equal(t, tc.want, transcript(e.rest()))
			assert.False(t, g.inFlight(hugeID), "nobody looks on")
			assert.True(t, g.isOpen())
		})
	}
}

// TestUnauthorized: that a server takes no token any more is told to who has tokens, and where the token is the caller's own, to the caller.
func TestUnauthorized(t *testing.T) {
	for _, perCaller := range []bool{false, true} {
		g := start(t)
		g.snapshot.Server("weather").PerCaller = perCaller
		g.open()
		for _, status := range []string{"401", "403"} {
			e := g.watched(hugeID, "write")
			e.send(answerHeaders(false, status, "application/json"))
			want := failure(502, hugeID, `server "weather" did not accept the gateway's own credential (HTTP status `+status+`)`)
			if perCaller {
				want = `reply 403 {"jsonrpc":"2.0","id":` + hugeID + `,"error":{"code":403,"message":"server \"weather\" did not accept this caller's token for the call (HTTP status ` + status + `)"}}`
			}
			assert.Equal(t, []string{want}, transcript(e.rest()))
		}
		assert.Equal(t, "weather", <-g.unauthorized)
		assert.Empty(t, g.unauthorized, "403 is about the call, not about the token")
		e := g.watched(hugeID, "write")
		e.send(local(answerHeaders(false, "401", "application/json")))
		assert.Equal(t, []string{"answer headers"}, transcript(e.rest()))
		assert.Empty(t, g.unauthorized, "the refusal of a policy is not the server's")
	}
}

// TestRefusals: many servers say in words, with status 400, that they have forgotten a session. What they say else passes if
// it is an answer.
func TestRefusals(t *testing.T) {
	fault := ` {"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":1.10}}`
	words := `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`
	long := strings.Repeat("x", relay.CheckLimit+1)
	for name, tc := range map[string]struct {
		pieces []string
		want   string
		open   bool
	}{
		"an error":              {[]string{fault}, fault, true},
		"an error in pieces":    {[]string{fault[:20], fault[20:], ""}, fault, true},
		"a forgotten session":   {[]string{words}, internalError(hugeID, forgotten), false},
		"forgotten in pieces":   {[]string{words[:70], words[70:]}, internalError(hugeID, forgotten), false},
		"not initialized":       {[]string{"Server not initialized"}, internalError(hugeID, forgotten), false},
		"too long to be judged": {[]string{long, "session"}, long, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			e := g.watched(hugeID, "read")
			e.send(answerHeaders(false, "400", "text/plain"))
			for i, piece := range tc.pieces {
				e.send(answerBody(piece, i == len(tc.pieces)-1))
			}
			assert.Equal(t, []string{"answer headers application/json -content-length", "answer: " + tc.want}, transcript(e.rest()))
			assert.Equal(t, tc.open, g.isOpen())
			assert.False(t, g.inFlight(hugeID))
		})
	}
	t.Run("garbage", func(t *testing.T) {
		g := start(t)
		e := g.watched(hugeID, "read")
		e.send(answerHeaders(false, "400", "text/html"))
		e.send(answerBody("<html>", true))
		got := transcript(e.rest())
		require.Len(t, got, 2)
		assert.Contains(t, got[1], `answer: {"jsonrpc":"2.0","id":`+hugeID+`,"error":{"code":-32603,"message":"server \"weather\" answered with HTTP status 400 and what is no JSON-RPC message`)
		assert.True(t, g.isOpen())
	})
}

// TestEventStream: each event is passed on when it is whole, before the next is made (Invariant 10), with ids that lead
// back to its server, and with nothing else changed (Invariant 1).
func TestEventStream(t *testing.T) {
	g := start(t)
	e := g.watched(hugeID, "write")
	e.send(answerHeaders(false, "200", "text/event-stream; charset=utf-8"))
	assert.Equal(t, []string{"answer headers -content-length"}, transcript([]*extprocv3.ProcessingResponse{e.next()}))
	chunk := func(text string) string { // Envoy shows the next one when this has been answered
		e.send(answerBody(text, false))
		m := e.next().GetResponseBody().GetResponse().GetBodyMutation()
		assert.Equal(t, len(m.GetBody()) == 0, m.GetClearBody(), "else Envoy would leave the chunk as it was")
		return string(m.GetBody())
	}
	progress := "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1.10}}\r\n\r\n"
	assert.Equal(t, progress, chunk(progress))
	assert.Empty(t, chunk(progress[:30]))
	assert.Equal(t, progress, chunk(progress[30:]))
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
	assert.Equal(t, []string{"answer: " + answer}, transcript(e.rest()))
	assert.False(t, g.inFlight(hugeID))
}

// TestEverySplitOfAStream: wherever Envoy cuts a stream, what comes out is the same.
func TestEverySplitOfAStream(t *testing.T) {
	g := start(t)
	in := "id: 1\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"ping\"}\r\n\r\n: c\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"
	var want []string
	for at := range len(in) + 1 {
		e := g.watched("1", "write")
		e.send(answerHeaders(false, "200", "text/event-stream"))
		e.send(answerBody(in[:at], false))
		e.send(answerBody(in[at:], true))
		got := transcript(e.rest())
		if want == nil {
			want = got
			require.Contains(t, want[1], `"id":"gw.r.weather.`)
		}
		require.Equal(t, want, got, "cut at %d", at)
	}
}

// TestStreamEnds: a stream that ends without the answer gets an error in its place, unless it can be resumed.
func TestStreamEnds(t *testing.T) {
	lost := "event: message\n" + `data: {"jsonrpc":"2.0","id":"a\/b","error":{"code":-32603,"message":"server \"weather\" closed the stream before it had answered"}}` + "\n\n"
	log := "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n"
	answer := "data: {\"jsonrpc\":\"2.0\",\"id\":\"a/b\",\"result\":{}}\n\n"
	another := "data: {\"jsonrpc\":\"2.0\",\"id\":\"ab\",\"result\":{}}\n\n"
	for name, tc := range map[string]struct{ in, want string }{
		"nothing":             {"", lost},
		"no answer":           {log, log + lost},
		"another's answer":    {another, lost},
		"an unfinished event": {log + "data: {\"jsonrpc\":\"2.0\",\"id\"", log + lost},
		"the answer":          {answer, answer},
		"the id as it was":    {strings.Replace(answer, "/", `\/`, 1), strings.Replace(answer, "/", `\/`, 1)},
		"more behind it":      {answer + "data: x", answer + "data: x"},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t).watched(`"a\/b"`, "write")
			e.send(answerHeaders(false, "200", "text/event-stream"))
			e.send(answerBody(tc.in, false))
			e.send(answerBody("", true))
			assert.Equal(t, []string{"answer headers -content-length", "answer: " + tc.want}, transcript(e.rest()))
		})
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
	assert.NotContains(t, got[1], "error", "which call it is of is not known")
	e = resume()
	e.send(answerHeaders(true, "404", ""))
	assert.Equal(t, []string{failure(502, "", forgotten)}, transcript(e.rest()))
	assert.False(t, g.isOpen())
}

const forgotten = `server "weather" has forgotten its session; call again, and the gateway opens a new one`

func answered(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body)}
}

// TestForgotten: a session that its server has forgotten is our matter. A call that may be repeated is; another fails once.
func TestForgotten(t *testing.T) {
	for name, refusal := range map[string]*extprocv3.ProcessingRequest{
		"a body": answerHeaders(false, "404", "text/plain"), "none": answerHeaders(true, "404", ""),
	} {
		for contentType, kind := range map[string]string{"text/event-stream": "stream", "application/json": "message"} {
			t.Run(name+", "+contentType, func(t *testing.T) {
				g := start(t)
				replays := 0
				g.replay = func(_ context.Context, c *router.Call) (*http.Response, error) {
					replays++
					assert.Equal(t, callOf(hugeID, "read"), string(c.Body), "as the server knows the tool")
					assert.Equal(t, hugeID, string(c.ID))
					assert.Same(t, g.session, c.Session)
					assert.Equal(t, "weather", c.Server.Name)
					assert.True(t, g.inFlight(hugeID))
					return answered(http.StatusOK, contentType, strings.NewReader("an answer")), nil
				}
				e := g.watched(hugeID, "read")
				e.send(refusal)
				all := e.rest()
				assert.Equal(t, []string{"reply 200 an answer"}, transcript(all))
				assert.Equal(t, contentType, fields(all[0].GetImmediateResponse().GetHeaders())["content-type"])
				facts := all[0].GetDynamicMetadata().GetFields()["envoy.filters.http.mcp_gateway"].GetStructValue().AsMap()
				assert.Equal(t, kind, facts["reply"])
				assert.Equal(t, 1, replays)
				assert.False(t, g.inFlight(hugeID))
				assert.False(t, g.isOpen(), "the call opens another")

				g.open()
				e = g.watched(hugeID, "write")
				e.send(refusal)
				assert.Equal(t, []string{failure(502, hugeID, forgotten)}, transcript(e.rest()))
				assert.Equal(t, 1, replays)
				assert.False(t, g.isOpen())
			})
		}
	}
}

// endless never stops to answer.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("gone") }

// TestReplayFails: what becomes of a call that cannot be repeated after all.
func TestReplayFails(t *testing.T) {
	for name, tc := range map[string]struct {
		body io.Reader
		err  error
		want string
	}{
		"an error for clients": {nil, &jsonrpc.Error{Code: -32603, Status: 503, ID: []byte(hugeID), Message: "down"}, failure(503, hugeID, "down")},
		"another error":        {nil, errors.New("oops"), failure(502, hugeID, `server "weather" has forgotten its session, and no new one could be opened: oops`)},
		"cut": {
			io.MultiReader(strings.NewReader("half"), broken{}), nil,
			failure(502, hugeID, `server "weather" broke off the answer to the repeated call: gone`),
		},
		"too large": {
			endless{},
			nil,
			failure(502, hugeID, `server "weather" gave more than 16777216 bytes of answer to a call that had to be repeated; call again`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t)
			g.replay = func(context.Context, *router.Call) (*http.Response, error) {
				return answered(http.StatusOK, "application/json", tc.body), tc.err
			}
			e := g.watched(hugeID, "read")
			e.send(answerHeaders(false, "404", "text/plain"))
			assert.Equal(t, []string{tc.want}, transcript(e.rest()))
		})
	}
}

// closing tells when it is closed.
type closing struct {
	io.Reader
	closed chan struct{}
}

func (c closing) Close() error {
	close(c.closed)
	return nil
}

// TestReplayLeft: a call that is repeated for a client that leaves ends with it.
func TestReplayLeft(t *testing.T) {
	g := start(t)
	began, closed := make(chan struct{}), make(chan struct{})
	g.replay = func(ctx context.Context, _ *router.Call) (*http.Response, error) {
		body, _ := io.Pipe()
		context.AfterFunc(ctx, func() { _ = body.CloseWithError(ctx.Err()) }) // as a connection does
		close(began)
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: closing{body, closed}}, nil
	}
	e := g.watched("1", "read")
	e.send(answerHeaders(false, "404", ""))
	<-began
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
	for name, steps := range map[string]requests{
		"before the answer":       {},
		"in a refusal":            {answerHeaders(false, "400", "application/json"), answerBody(`{"jsonrpc"`, false)},
		"at the head of a stream": {answerHeaders(false, "200", "text/event-stream")},
		"in a stream":             {answerHeaders(false, "200", "text/event-stream"), answerBody("data: {}\n\n", false)},
		"in an event":             {answerHeaders(false, "200", "text/event-stream"), answerBody("data: {", false)},
	} {
		for how, leave := range map[string]func(*envoy){
			"half":  func(e *envoy) { require.NoError(t, e.stream.CloseSend()); e.rest() },
			"whole": func(e *envoy) { e.leave() },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				g := start(t)
				e := g.watched(hugeID, "read")
				for _, r := range steps {
					e.send(r)
					e.next()
				}
				assert.True(t, g.inFlight(hugeID))
				leave(e)
				require.Eventually(t, func() bool { return !g.inFlight(hugeID) }, patience, time.Millisecond)
				_, faults := g.observer.told()
				assert.Zero(t, faults)
			})
		}
	}
	t.Run("before the request is whole", func(t *testing.T) {
		g := start(t)
		for _, steps := range []requests{{}, {g.post()}, {g.post(), requestBody(`{"json`, false)}} {
			e := g.stream()
			for _, r := range steps {
				e.send(r)
			}
			require.NoError(t, e.stream.CloseSend())
			assert.Empty(t, e.rest())
		}
	})
}
