package broker_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// hijacked takes the connection over to do with it what no server should.
func hijacked(bytes string) reply {
	return func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = buf.WriteString(bytes)
		_ = buf.Flush()
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

// TestBadAnswers: whatever a server does, a client reads a JSON-RPC error with its own id (Invariant 7).
func TestBadAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		reply  reply
		status int
		words  string
	}{
		"garbage":           {status(200, "application/json", "garbage"), 502, "no JSON-RPC message"},
		"nothing":           {status(200, "application/json", ""), 502, "application/json"},
		"half a message":    {status(200, "application/json", `{"jsonrpc":"2.0","id":1,"resu`), 502, "no JSON-RPC message"},
		"a batch":           {status(200, "application/json", `[{"jsonrpc":"2.0","id":1,"result":{}}]`), 502, "no JSON-RPC message"},
		"a request":         {status(200, "application/json", `{"jsonrpc":"2.0","id":1,"method":"ping"}`), 502, "no response"},
		"a page":            {status(200, "text/html", "<html>"), 502, `"text/html"`},
		"no type":           {status(204, "", ""), 502, "without an answer"},
		"taken for good":    {status(202, "", ""), 502, "without an answer"},
		"redirect":          {status(307, "", ""), 502, "redirect"},
		"unauthorized":      {status(401, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":401,"message":"who?"}}`), 502, "credential"},
		"forbidden":         {status(403, "text/plain", "no"), 502, "credential"},
		"wrong method":      {status(405, "text/plain", "no"), 502, "405"},
		"bad request":       {status(400, "text/plain", "no"), 502, "400"},
		"broken":            {status(500, "text/plain", "oops"), 502, "500"},
		"a stream, broken":  {status(500, "text/event-stream", "data: {}\n\n"), 502, "500"},
		"cut before status": {hijacked("HTTP/1.1 2"), 503, "could not be reached"},
		"cut document": {
			hijacked("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\""), 502, "broke off",
		},
	} {
		t.Run(name, func(t *testing.T) {
			weather := newScript().does("tools/call", tc.reply)
			f := start(t, scripted("weather", weather), scripted("clock", newScript()))
			token := f.initialize()
			a := f.do(callOf(token, "weather", hugeID, "t"))
			wantError(t, a, tc.status, hugeID, -32603, `server "weather"`)
			wantErrorBody(t, a.body, hugeID, -32603, tc.words)
			assert.Contains(t, f.do(callOf(token, "clock", "1", "t")).body, `"result"`, "the others go on (Invariant 12)")
			weather.does("tools/call", nil)
			assert.Contains(t, f.do(callOf(token, "weather", "1", "t")).body, `"result"`, "the next call works")
		})
	}
}

// TestBadStreams: a stream that ends without the answer ends with an error, unless the client can resume it.
func TestBadStreams(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5000\r\n\r\n"
	log := `{"jsonrpc":"2.0","method":"notifications/message","params":{}}`
	for name, tc := range map[string]struct {
		reply reply
		words string
	}{
		"nothing":             {status(200, "text/event-stream", ""), "closed the stream"},
		"a comment":           {status(200, "text/event-stream", ": hello\n\n"), "closed the stream"},
		"another's answer":    {status(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n"), "closed the stream"},
		"an unfinished event": {status(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":1"), "closed the stream"},
		"cut":                 {hijacked(head + "data: " + log + "\n\n"), "broke off the stream"},
		"cut in an event":     {hijacked(head + "data: " + log + "\n\ndata: {\"json"), "broke off the stream"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, scripted("weather", newScript().does("tools/call", tc.reply)))
			e := f.stream(callOf(f.initialize(), "weather", hugeID, "t"))
			var last string
			for {
				ev, err := e.read()
				if err != nil {
					require.ErrorIs(t, err, io.EOF)
					break
				}
				_, fault := jsonrpc.Parse(ev.Data, jsonrpc.Limits{})
				assert.Nil(t, fault, "each event is a message: %s", ev.Data)
				last = string(ev.Data)
			}
			wantErrorBody(t, last, hugeID, -32603, tc.words)
		})
	}
	t.Run("one that can be resumed", func(t *testing.T) {
		f := start(t, scripted("weather", newScript().does("tools/call", func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
			event(w, "e1", "")
		})))
		e := f.stream(callOf(f.initialize(), "weather", hugeID, "t"))
		assert.Empty(t, e.next().Data)
		e.ended()
	})
	t.Run("one that is cut and can be resumed", func(t *testing.T) {
		f := start(t, scripted("weather", newScript().does("tools/call", hijacked(head+"id: e1\ndata: "+log+"\n\n"))))
		e := f.stream(callOf(f.initialize(), "weather", hugeID, "t"))
		assert.Equal(t, log, string(e.next().Data))
		_, err := e.read()
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "nobody must take it for whole")
	})
	t.Run("one that is cut behind the answer", func(t *testing.T) {
		f := start(t, scripted("weather", newScript().does("tools/call", hijacked(head+"data: {\"jsonrpc\":\"2.0\",\"id\":\"a/b\",\"result\":{}}\n\n"))))
		e := f.stream(callOf(f.initialize(), "weather", `"a\/b"`, "t"))
		assert.Contains(t, string(e.next().Data), "result", "the id is the same, written otherwise")
		_, err := e.read()
		require.Error(t, err)
	})
}

// TestCutLargeDocument: an answer too large to be held is cut where the server cut it, not ended.
func TestCutLargeDocument(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000000\r\n\r\n"
	f := start(t, scripted("weather", newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, head+`{"jsonrpc":"2.0","id":1,"result":"`+strings.Repeat("x", 1<<20))
		_ = conn.Close()
	})))
	resp, err := f.send(t.Context(), callOf(f.initialize(), "weather", "1", "t"))
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// TestNoSession: a server that lets no session be opened.
func TestNoSession(t *testing.T) {
	for name, reply := range map[string]reply{
		"down":         nil,
		"garbage":      status(200, "application/json", "garbage"),
		"redirect":     status(308, "", ""),
		"unauthorized": status(401, "", ""),
		"broken":       status(500, "", ""),
		"cut":          hijacked("HTTP/1.1 200 OK\r\n"),
		"refusal":      status(200, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}`),
		"new revision": func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
			answerJSON(w, m, `{"protocolVersion":"2026-07-28"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			weather := newScript()
			if reply == nil {
				reply = hijacked("")
			}
			weather.does("initialize", reply)
			f := start(t, scripted("weather", weather))
			token := f.initialize()
			a := f.do(callOf(token, "weather", hugeID, "t"))
			wantError(t, a, http.StatusBadGateway, hugeID, -32603, `server "weather" opened no session`)
			assert.Empty(t, weather.requests("tools/call"))
			weather.does("initialize", nil)
			assert.Contains(t, f.do(callOf(token, "weather", "1", "t")).body, `"result"`, "the next call tries again")
		})
	}
}

// TestDelete: the end of a session is the end of those behind it, and of its token (Invariant 11).
func TestDelete(t *testing.T) {
	one, two, closed := newScript(), newScript(), newScript()
	two.does(http.MethodDelete, status(http.StatusMethodNotAllowed, "", ""))
	f := start(t, scripted("one", one), scripted("two", two), scripted("closed", closed))
	token, other := f.initialize(), f.initialize()
	f.do(callOf(token, "one", "1", "t"))
	f.do(callOf(token, "two", "1", "t"))
	f.do(callOf(other, "one", "1", "t"))
	stream := f.listen(token)
	a := f.do(request{method: http.MethodDelete, session: token})
	assert.Equal(t, http.StatusNoContent, a.status)
	stream.ended()
	for _, r := range []request{
		{session: token, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`},
		{method: http.MethodGet, session: token},
		{method: http.MethodDelete, session: token},
	} {
		wantError(t, f.do(r), http.StatusNotFound, "", -32600, "unknown or expired session")
	}
	wantError(t, f.do(callOf(token, "one", hugeID, "t")), http.StatusNotFound, hugeID, -32600, "unknown or expired session")
	assert.Equal(t, "s-1", one.await(t, http.MethodDelete, 1)[0].session)
	assert.Equal(t, "s-1", two.await(t, http.MethodDelete, 1)[0].session)
	assert.Empty(t, closed.got)
	assert.Contains(t, f.do(callOf(other, "one", "1", "t")).body, `"result"`, "another session lives")
	assert.Len(t, one.requests(http.MethodDelete), 1)
}

// TestDeleteWhileOpening: a session that is opened for one that has ended is closed again.
func TestDeleteWhileOpening(t *testing.T) {
	began, open := make(chan struct{}), make(chan struct{})
	weather := newScript()
	weather.does("initialize", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		close(began)
		<-open
		w.Header().Set("Mcp-Session-Id", "late")
		answerJSON(w, m, `{"protocolVersion":"2025-11-25"}`)
	}).does("notifications/initialized", status(http.StatusAccepted, "", "")).does(http.MethodDelete, status(http.StatusOK, "", ""))
	f := start(t, scripted("weather", weather))
	token := f.initialize()
	called := make(chan answer)
	go func() { called <- f.do(callOf(token, "weather", hugeID, "t")) }()
	await(t, began)
	f.do(request{method: http.MethodDelete, session: token})
	close(open)
	wantError(t, await(t, called), http.StatusNotFound, hugeID, -32600, "unknown or expired session")
	assert.Equal(t, "late", weather.await(t, http.MethodDelete, 1)[0].session)
}

// TestRaces: calls, streams and the end of their session at once leave nothing behind.
func TestRaces(t *testing.T) {
	var servers []server
	scripts := map[string]*script{"a": newScript(), "b": newScript(), "c": newScript()}
	for name, s := range scripts {
		servers = append(servers, scripted(name, s))
	}
	f := start(t, servers...)
	for range 10 {
		token := f.initialize()
		var wait sync.WaitGroup
		for name := range scripts {
			for range 4 {
				wait.Go(func() {
					a := f.do(callOf(token, name, "1", "t"))
					assert.Contains(t, []int{http.StatusOK, http.StatusNotFound}, a.status, a.body)
				})
			}
		}
		wait.Go(func() {
			if resp, err := f.send(t.Context(), request{method: http.MethodGet, session: token}); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
		wait.Go(func() { f.do(request{method: http.MethodDelete, session: token}) })
		wait.Wait()
	}
	require.Eventually(t, func() bool {
		for _, s := range scripts {
			if len(s.requests("initialize")) != len(s.requests(http.MethodDelete)) {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "every session that was opened is closed")
}
