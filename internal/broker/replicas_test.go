package broker_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// These tests are about several replicas, each of which gets any request.

// replicas starts two with the same servers.
func replicas(t *testing.T, servers ...server) (a, b *fixture) {
	t.Helper()
	all := replicasAt(t, servers, "", "")
	return all[0], all[1]
}

// replicasAt starts some, which others find at these URLs; empty for where each of them is.
func replicasAt(t *testing.T, servers []server, homes ...string) []*fixture {
	t.Helper()
	shared, key := store.NewMemory(), session.GenerateKey()
	var all []*fixture
	for _, home := range homes {
		s := setup{key: key, session: session.Options{Store: shared}, options: func(o *broker.Options) { o.Home = cmp.Or(home, o.Home) }}
		if len(all) == 0 {
			s.servers = servers
		}
		f := s.start(t)
		if len(all) > 0 {
			f.config, f.states, f.endpoints = all[0].config, all[0].states, all[0].endpoints
			f.rebuild()
		}
		all = append(all, f)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f.sessions.Run(ctx)
		}()
		t.Cleanup(func() {
			cancel()
			<-ended
		})
	}
	return all
}

// TestSessionAtAnyReplica: a session begun at one replica is used, and ended, at another, and has one session with each server.
func TestSessionAtAnyReplica(t *testing.T) {
	weather := newScript()
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) { answerJSON(w, m, `{"content":[]}`) })
	a, b := replicas(t, scripted("weather", weather))
	token := a.initialize()
	want := `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	wantBytes(t, want, b.do(callOf(token, "weather", "1", "t")).body)
	require.Eventually(t, func() bool {
		s, err := a.sessions.Lookup(token)
		return err == nil && len(s.Backends()) == 1
	}, patience, time.Millisecond, "one tells the other")
	wantBytes(t, want, a.do(callOf(token, "weather", "1", "t")).body)
	assert.Len(t, weather.requests("initialize"), 1)
	calls := weather.requests("tools/call")
	assert.Equal(t, calls[0].session, calls[1].session)

	assert.Equal(t, http.StatusNoContent, b.do(request{method: http.MethodDelete, session: token}).status)
	require.Eventually(t, func() bool { return a.do(callOf(token, "weather", "1", "t")).status == http.StatusNotFound }, patience, time.Millisecond)
	weather.await(t, http.MethodDelete, 1)
	wantError(t, b.do(callOf(token, "weather", "1", "t")), http.StatusNotFound, "1", -32600, "unknown or expired session")
	assert.Len(t, weather.requests(http.MethodDelete), 1, "it is closed once")
}

// TestReplicaThatStops: what it did goes on at another one, and nothing is closed at servers.
func TestReplicaThatStops(t *testing.T) {
	weather := newScript()
	weather.does("tools/call", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) { answerJSON(w, m, `{"content":[]}`) })
	a, b := replicas(t, scripted("weather", weather))
	token := a.initialize()
	a.do(callOf(token, "weather", "1", "t"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a.broker.Close(ctx)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`, b.do(callOf(token, "weather", "1", "t")).body)
	assert.Len(t, weather.requests("initialize"), 1)
	assert.Empty(t, weather.requests(http.MethodDelete))
}

// fullStore takes no more.
type fullStore struct{ store.Store }

func (fullStore) Swap(context.Context, string, string, string, string) (string, error) {
	return "", errors.New("private words of the store")
}

// TestStoreTakesNoBackendSession: the call is refused as one that may be tried again, and the server's session is not left behind.
func TestStoreTakesNoBackendSession(t *testing.T) {
	weather := newScript()
	f := setup{session: session.Options{Store: fullStore{store.NewMemory()}}, servers: []server{scripted("weather", weather)}}.start(t)
	token := f.initialize()
	a := f.do(callOf(token, "weather", "1", "t"))
	wantError(t, a, http.StatusServiceUnavailable, "1", -32603, "sessions cannot be looked up now")
	assert.NotContains(t, a.body, "private")
	weather.await(t, http.MethodDelete, 1)
	assert.Empty(t, weather.requests("tools/call"))
}

// TestHeldCallAtAnotherReplica: a call that waits for input at one replica goes on by a request to another, once, and no longer when the first one is gone.
func TestHeldCallAtAnotherReplica(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":[` + strings.Join(append(ask(fmt.Sprintf(elicitForm, "1")), ask(rootsAsk)...), ",") + `]}`
	})
	all := replicasAt(t, []server{legacy("weather", q.script)}, "", "", "http://127.0.0.1:1")
	a, b, lost := all[0], all[1], all[2]
	client := modern{caller: "alice", capabilities: everyInput}
	state, _ := inputOf(t, a.do(client.request()).body)
	assert.NotContains(t, state, strings.TrimPrefix(a.url, "http://"))
	answer := retryOf(state, `"input-1":{"action":"accept"}`)
	other := modern{caller: "bob", capabilities: everyInput, params: answer}
	wantError(t, b.do(other.request()), http.StatusOK, "1", -32602, "is none that this gateway gave for this request")
	client.params = answer
	second, _ := inputOf(t, b.do(client.request()).body)
	wantError(t, b.do(client.request()), http.StatusOK, "1", -32602, "was used before")
	client.params = retryOf(second, `"input-2":{"roots":[]}`)
	assert.Contains(t, lastEvent(b.do(client.request()).body), `"heard":[{`)
	assert.Len(t, q.requests("tools/call"), 1)
	wantError(t, b.do(client.request()), http.StatusOK, "1", -32602, "is over")
	a.counted.await(t, "sessions answered")

	client.params = ""
	state, _ = inputOf(t, lost.do(client.request()).body)
	client.params = retryOf(state, `"input-1":{"action":"accept"}`)
	wantError(t, b.do(client.request()), http.StatusOK, "1", -32602, "is over")
	b.counted.await(t, "handed over true", "handed over true", "handed over true", "handed over true", "handed over false")
}

// TestAddressOfAnother: what has the address of a replica by now gets nothing of a request, even if it has a replica answer the challenge.
func TestAddressOfAnother(t *testing.T) {
	q := newInquirer(func(ask func(...string) []string, _ *http.Request) string {
		return `{"heard":[` + strings.Join(ask(fmt.Sprintf(elicitForm, "1")), ",") + `]}`
	})
	var alive string
	asked := make(chan *http.Request, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		resp, err := http.Get(alive + r.URL.RequestURI())
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = resp.Body.Close() }()
		assert.Equal(t, http.StatusOK, resp.StatusCode, "a replica answers")
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(other.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	all := replicasAt(t, []server{legacy("weather", q.script)}, other.URL, "")
	lost, b := all[0], all[1]
	alive = b.url
	client := modern{caller: "alice", capabilities: everyInput}
	state, _ := inputOf(t, lost.do(client.request()).body)
	client.params = retryOf(state, `"input-1":{"action":"accept"}`)
	wantError(t, b.do(client.request()), http.StatusOK, "1", -32602, "is over")
	r := await(t, asked)
	assert.Equal(t, http.MethodGet, r.Method)
	assert.Empty(t, r.Header.Get("Authorization"))
	assert.Empty(t, asked, "nothing else")
}

// TestLiftedCallAtAnotherReplica: the client's answer to a question, its cancellation and the resumption of the call's stream may come to any replica.
func TestLiftedCallAtAnotherReplica(t *testing.T) {
	gone := make(chan struct{}, 1)
	weather := newScript()
	weather.does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		switch {
		case strings.Contains(string(m.Body), `"wait"`):
			event(w, "", `{"jsonrpc":"2.0","method":"notifications/example"}`)
			<-r.Context().Done()
			gone <- struct{}{}
		case m.Param("inputResponses").Present():
			answerJSON(w, m, `{"resultType":"complete","heard":`+string(m.Param("inputResponses").Of(m.Body))+`}`)
		default:
			answerJSON(w, m, input(`"name":{"method":"elicitation/create","params":{"message":"Who?"}}`, "s"))
		}
	})
	a, b := replicas(t, sessionless("weather", weather))
	token := a.initializeCan(everyInput)
	e := a.stream(callOf(token, "weather", "1", "t"))
	asked := e.next()
	m, fault := jsonrpc.Parse(asked.Data, jsonrpc.Limits{})
	require.Nil(t, fault)
	e.close()
	resumed := b.listen(token, asked.ID)
	assert.Equal(t, http.StatusAccepted, b.respond(token, "weather", string(m.ID.Of(m.Body)), `"result":{"action":"accept"}`).status)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{"heard":{"name":{"action":"accept"}}}}`, string(resumed.next().Data))
	resumed.ended()

	e = a.stream(callOf(token, "weather", "7", "wait"))
	e.next()
	assert.Equal(t, http.StatusAccepted, b.do(request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`}).status)
	await(t, gone)
}

// TestStreamAtAnotherReplica: a client's stream has what concerns the session, whichever replica has learned of it.
func TestStreamAtAnotherReplica(t *testing.T) {
	quiet := newScript()
	src := newSource(quiet)
	loud := newScript()
	loud.does(http.MethodGet, func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"loud"}}`)
		<-r.Context().Done()
	})
	a, b := replicas(t, stateless("b", quiet), scripted("loud", loud))
	token := a.initialize()
	e := b.listen(token)
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`,
		a.do(request{session: token, server: "b", body: `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///b/a"}}`}).body)
	changed := func(e *events) {
		t.Helper()
		wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///b/a"}}`, string(e.next().Data))
	}
	changed(e) // it may have, until the replica watched at which the client listens
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	changed(e)
	e.close()
	require.Eventually(t, func() bool { return src.streams() == 0 }, patience, time.Millisecond, "nobody listens")
	e = a.listen(token)
	changed(e)
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	changed(e)
	a.do(callOf(token, "loud", "1", "t"))
	assert.Contains(t, string(e.next().Data), `"data":"loud"`, "it follows the session that the other one has opened")
}
