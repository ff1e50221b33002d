package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/relay"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// TestOpensOnce: however many first calls race, a server sees one initialize.
func TestOpensOnce(t *testing.T) {
	weather := newScript()
	f := start(t, scripted("weather", weather))
	token := f.initialize()
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			a := f.do(callOf(token, "weather", fmt.Sprint(i), "t"))
			wantBytes(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"did":"tools/call"}}`, i), a.body)
		})
	}
	wait.Wait()
	assert.Len(t, weather.requests("initialize"), 1)
	assert.Len(t, weather.requests("notifications/initialized"), 1)
	calls := weather.requests("tools/call")
	assert.Len(t, calls, 50)
	for _, call := range calls {
		assert.Equal(t, "s-1", call.session)
	}
	other := f.initialize()
	f.do(callOf(other, "weather", "1", "t"))
	assert.Len(t, weather.requests("initialize"), 2, "another client gets a session of its own")
}

// TestBytesStay: what is carried is not written anew (Invariant 1).
func TestBytesStay(t *testing.T) {
	result := ` {"jsonrpc" : "2.0","id": 9007199254740993 ,"result":{"n":1e400,"m":1.10,"s":"\u00e9"}, "x":null}`
	weather := newScript().does("tools/call", status(http.StatusOK, "application/json; charset=utf-8", result))
	f := start(t, scripted("weather", weather))
	r := callOf(f.initialize(), "weather", hugeID, "t")
	r.body = ` {"params":{"arguments":{"n":9007199254740993,"f":1.10},"name":"t"}, "method":"tools/call","id":9007199254740993,"jsonrpc":"2.0","y":[ ]} `
	r.header = http.Header{"Authorization": {"Bearer of.the.client"}, "Cookie": {"a=b"}}
	a := f.do(r)
	assert.Equal(t, http.StatusOK, a.status)
	assert.Equal(t, "application/json; charset=utf-8", a.header.Get("Content-Type"))
	assert.Equal(t, result, a.body)
	assert.Empty(t, a.header.Get("Mcp-Session-Id"), "the server's session is nobody else's business")
	call := weather.requests("tools/call")[0]
	assert.Equal(t, r.body, call.body)
	assert.Empty(t, call.header.Get("Authorization"), "a client's token is not passed on (Invariant 6)")
	assert.Empty(t, call.header.Get("Cookie"))
	assert.Equal(t, "2025-11-25", call.header.Get("Mcp-Protocol-Version"))
}

// TestServerError: an error of the server's own passes as it is, whatever its status.
func TestServerError(t *testing.T) {
	fault := `{"jsonrpc":"2.0","id":1,"error":{"code":-32099,"message":"it rains","data":{"n":1.0}}}`
	for _, code := range []int{http.StatusOK, http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError} {
		weather := newScript().does("tools/call", status(code, "application/json", fault))
		f := start(t, scripted("weather", weather))
		a := f.do(callOf(f.initialize(), "weather", "1", "t"))
		assert.Equal(t, code, a.status)
		assert.Equal(t, fault, a.body)
	}
}

// TestStreamsThrough: the first event is with the client before the last is made (Invariant 10).
func TestStreamsThrough(t *testing.T) {
	read := make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1.10}}`)
		select {
		case <-read:
		case <-r.Context().Done():
		}
		event(w, "", resultOf(m, `{"n":9007199254740993}`))
	})
	f := start(t, scripted("weather", weather))
	e := f.stream(callOf(f.initialize(), "weather", hugeID, "t"))
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1.10}}`, string(e.next().Data))
	close(read)
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"n":9007199254740993}}`, string(e.next().Data))
	e.ended()
}

// TestLargeDocumentStreams: a JSON answer beyond what is checked is not held back either (Invariant 10).
func TestLargeDocumentStreams(t *testing.T) {
	read := make(chan struct{})
	first := `{"jsonrpc":"2.0","id":1,"result":{"text":"` + strings.Repeat("x", relay.CheckLimit+1000)
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, first)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-read:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, `"}}`)
	})
	f := start(t, scripted("weather", weather))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resp, err := f.send(ctx, callOf(f.initialize(), "weather", "1", "t"))
	require.NoError(t, err)
	defer resp.Body.Close()
	got := make([]byte, len(first))
	_, err = io.ReadFull(resp.Body, got)
	require.NoError(t, err)
	assert.Equal(t, first, string(got))
	close(read)
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, `"}}`, string(rest))
}

// TestSealedIDs: what a server asks within a call comes under ids that lead back to it alone.
func TestSealedIDs(t *testing.T) {
	ask := func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		event(w, "e1", `{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"n":1.10,"_meta":{"progressToken":"p"}}}`)
		event(w, "e2", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
		event(w, "e3", resultOf(m, "{}"))
	}
	f := start(t, scripted("one", newScript().does("tools/call", ask)), scripted("two", newScript().does("tools/call", ask)))
	token := f.initialize()
	s, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, name := range []string{"one", "two"} {
		e := f.stream(callOf(token, name, "1", "t"))
		asked := e.next()
		m, fault := jsonrpc.Parse(asked.Data, jsonrpc.Limits{})
		require.Nil(t, fault)
		ids[string(m.ID.Of(m.Body))] = true
		owner, raw, ok := relay.Unseal(s, session.SealRequest, m.ID.Of(m.Body))
		assert.True(t, ok)
		assert.Equal(t, name, owner)
		assert.Equal(t, "7", string(raw))
		progress, err := m.Lookup("_meta", "progressToken")
		require.NoError(t, err)
		owner, raw, ok = relay.Unseal(s, session.SealToken, progress.Of(m.Body))
		assert.True(t, ok)
		assert.Equal(t, name, owner)
		assert.Equal(t, `"p"`, string(raw))
		assert.Contains(t, string(asked.Data), `"params":{"n":1.10,`)
		kind, owner, raw, ok := s.Unseal(asked.ID)
		assert.True(t, ok)
		assert.Equal(t, session.SealCallEvent, kind)
		assert.Equal(t, name+" e1", owner+" "+string(raw))
		cancelled, fault := jsonrpc.Parse(e.next().Data, jsonrpc.Limits{})
		require.Nil(t, fault)
		requestID := cancelled.Param("requestId")
		assert.Equal(t, string(m.ID.Of(m.Body)), string(requestID.Of(cancelled.Body)), "the cancellation names the same id")
		wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, string(e.next().Data), "a response keeps the client's id")
		e.ended()
	}
	assert.Len(t, ids, 2, "two servers with one id are not taken for each other")
}

// TestForgotten: a session that its server has forgotten is opened anew and the call made again, once.
func TestForgotten(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
	}{
		"404":              {http.StatusNotFound, "text/plain", "session not found"},
		"404 without body": {http.StatusNotFound, "", ""},
		"404 with a reason": {
			http.StatusNotFound, "application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`,
		},
		"400 with a reason": {
			http.StatusBadRequest, "application/json", `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`,
		},
		"400 in words": {http.StatusBadRequest, "text/plain; charset=utf-8", "Invalid Session"},
		"400, another": {http.StatusBadRequest, "application/json", `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Server not initialized"},"id":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			weather := newScript()
			f := start(t, scripted("weather", weather))
			token := f.initialize()
			f.do(callOf(token, "weather", "1", "t"))
			var refused atomic.Int32
			weather.does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
				if r.Header.Get("Mcp-Session-Id") == "s-1" {
					refused.Add(1)
					status(tc.status, tc.contentType, tc.body)(w, r, m)
					return
				}
				answerJSON(w, m, `{"session":"`+r.Header.Get("Mcp-Session-Id")+`"}`)
			})
			a := f.do(callOf(token, "weather", hugeID, "t"))
			wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"session":"s-2"}}`, a.body)
			assert.EqualValues(t, 1, refused.Load())

			weather.does("tools/call", status(tc.status, tc.contentType, tc.body))
			before := len(weather.requests("tools/call"))
			a = f.do(callOf(token, "weather", hugeID, "t"))
			wantError(t, a, http.StatusBadGateway, hugeID, -32603, `server "weather" does not know the session`)
			assert.Len(t, weather.requests("tools/call"), before+2, "made again once and no more")
		})
	}
}

// TestReplay: what Envoy sent and the server refused is made again in a new session.
func TestReplay(t *testing.T) {
	weather := newScript()
	listed := scripted("weather", weather)
	listed.listing.Items[catalog.Tool] = []json.RawMessage{[]byte(`{"name":"t"}`)}
	f := start(t, listed)
	token := f.initialize()
	s, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	f.do(callOf(token, "weather", "1", "t"))
	weather.restart()
	srv := f.snapshot.Load().Server("weather")
	be, ok := s.Backend("weather", srv.Fingerprint)
	require.True(t, ok)
	s.DropBackend("weather", be.ID)
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		event(w, "", resultOf(m, "{}"))
	})
	resp, err := f.broker.Replay(t.Context(), s, srv, nil, "", []byte(callOf(token, "weather", hugeID, "t").body))
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), `"id":"gw.r.weather.`)
	assert.Contains(t, string(body), `"id":`+hugeID+`,"result"`)

	_, err = f.broker.Replay(t.Context(), s, srv, nil, "", []byte(`{`)) //nolint:bodyclose // there is none
	var fault *jsonrpc.Error
	require.ErrorAs(t, err, &fault)
	f.endpoints["weather"].Close()
	weather.does("tools/call", status(http.StatusNotFound, "", ""))
	_, err = f.broker.Replay(t.Context(), s, srv, nil, "", []byte(callOf(token, "weather", hugeID, "t").body)) //nolint:bodyclose // there is none
	require.ErrorAs(t, err, &fault)
	assert.Equal(t, http.StatusBadGateway, fault.Status)
	assert.Equal(t, hugeID, string(fault.ID))
	assert.Equal(t, []string{"t"}, f.counted.tools, "those that were made again are judged with the answers that they are a part of")
}

// TestSessionlessAfterAll: a server that was seen with sessions and now gives none is served as well.
func TestSessionlessAfterAll(t *testing.T) {
	weather := newScript()
	weather.knows("")
	weather.does("initialize", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		answerJSON(w, m, `{"protocolVersion":"2025-03-26","capabilities":{},"serverInfo":{"name":"s","version":"1"}}`)
	})
	f := start(t, scripted("weather", weather))
	token := f.initialize()
	for range 2 {
		assert.Contains(t, f.do(callOf(token, "weather", "1", "t")).body, `"result"`)
	}
	assert.Len(t, weather.requests("initialize"), 1)
	assert.Equal(t, http.StatusNoContent, f.do(request{method: http.MethodDelete, session: token}).status)
	assert.Empty(t, weather.requests(http.MethodDelete), "there is nothing to end")
}

// TestClientLeaves: the connection to the server goes with the client's, and nothing of the call is left.
func TestClientLeaves(t *testing.T) {
	began, left := make(chan struct{}), make(chan struct{})
	weather := newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/message","params":{}}`)
		close(began)
		<-r.Context().Done()
		close(left)
	})
	f := start(t, scripted("weather", weather))
	token := f.initialize()
	s, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	e := f.stream(callOf(token, "weather", `"c"`, "t"))
	e.next()
	await(t, began)
	owner, ok := s.CallOwner([]byte(`"c"`))
	assert.True(t, ok, "its cancellation finds the server")
	assert.Equal(t, "weather", owner)
	e.close()
	await(t, left)
	require.Eventually(t, func() bool { _, ok := s.CallOwner([]byte(`"c"`)); return !ok }, patience, time.Millisecond)
	weather.does("tools/call", nil)
	assert.Contains(t, f.do(callOf(token, "weather", `"c"`, "t")).body, `"result"`, "the session goes on")
	assert.Len(t, weather.requests("initialize"), 1)
}

// TestLeavingWhileOpening: the opening goes on for the others that wait for it.
func TestLeavingWhileOpening(t *testing.T) {
	began, open := make(chan struct{}), make(chan struct{})
	weather := newScript()
	weather.does("initialize", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		close(began)
		<-open
		weather.does("initialize", nil)
		weather.knows("late")
		w.Header().Set("Mcp-Session-Id", "late")
		answerJSON(w, m, `{"protocolVersion":"2025-11-25"}`)
	})
	f := start(t, scripted("weather", weather))
	token := f.initialize()
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		resp, err := f.send(ctx, callOf(token, "weather", "1", "t"))
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	await(t, began)
	stays := make(chan answer)
	go func() { stays <- f.do(callOf(token, "weather", "2", "t")) }()
	leave()
	require.ErrorIs(t, await(t, gone), context.Canceled)
	close(open)
	assert.Contains(t, await(t, stays).body, `"result"`)
	assert.Len(t, weather.requests("initialize"), 1)
}
