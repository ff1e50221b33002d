package broker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// source is a server's end of subscriptions: it agrees to what it offers, and tells of what the test says.
type source struct {
	mu      sync.Mutex
	refuses map[string]bool
	open    map[*listener]bool
	opened  int
}

type listener struct {
	uris    []string
	updates chan string
	end     chan struct{}
}

func newSource(s *script) *source {
	src := &source{refuses: map[string]bool{}, open: map[*listener]bool{}}
	s.does("subscriptions/listen", src.listen)
	return src
}

func (s *source) listen(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
	var asked struct {
		Notifications struct{ ResourceSubscriptions []string }
	}
	_ = json.Unmarshal(m.Params.Of(m.Body), &asked)
	l := &listener{updates: make(chan string), end: make(chan struct{})}
	s.mu.Lock()
	for _, uri := range asked.Notifications.ResourceSubscriptions {
		if !s.refuses[uri] {
			l.uris = append(l.uris, uri)
		}
	}
	s.open[l] = true
	s.opened++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, l)
	}()
	agreed, _ := json.Marshal(l.uris)
	event(w, "", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"resourceSubscriptions":%s}}}`, agreed))
	for {
		select {
		case uri := <-l.updates:
			event(w, "", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":%q}}`, uri))
		case <-l.end:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// one waits until the server has one stream, for these resources.
func (s *source) one(t *testing.T, uris ...string) *listener {
	t.Helper()
	var l *listener
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for l = range s.open {
			return len(s.open) == 1 && slices.Equal(l.uris, uris)
		}
		return false
	}, patience, time.Millisecond)
	return l
}

func (s *source) streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.Collect(maps.Keys(s.open)))
}

func watching(uris ...string) string {
	out, _ := json.Marshal(map[string]any{"resourceSubscriptions": uris})
	return string(out)
}

func updated(uri string) string {
	return `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{` + subscribed + `,"uri":"` + uri + `"}}`
}

// TestResourcesAreWatched: what several clients want to know of one server is asked of it in one stream, and told apart again.
func TestResourcesAreWatched(t *testing.T) {
	s := newScript()
	src := newSource(s)
	f := start(t, stateless("b", s), offering("a", newScript(), ""))
	one := listenTo(f, watching("file:///b/a", "db://b/7", "file:///none", "file:///a/a", "db://b/../x"))
	wantBytes(t, acknowledged(watching("db://b/7", "file:///b/a")), string(one.next().Data))
	two := listenTo(f, watching("file:///b/a", "file:///b/b"))
	wantBytes(t, acknowledged(watching("file:///b/a", "file:///b/b")), string(two.next().Data))

	l := src.one(t, "db://b/7", "file:///b/a", "file:///b/b")
	assert.Empty(t, s.requests("initialize"))
	l.updates <- "file:///b/b"
	wantBytes(t, updated("file:///b/b"), string(two.next().Data))
	l.updates <- "file:///b/a"
	wantBytes(t, updated("file:///b/a"), string(one.next().Data))
	wantBytes(t, updated("file:///b/a"), string(two.next().Data))
	l.updates <- "db://b/7/part"
	wantBytes(t, updated("db://b/7/part"), string(one.next().Data))

	one.close()
	l.updates <- "db://b/7"
	l.updates <- "file:///b/b"
	wantBytes(t, updated("file:///b/b"), string(two.next().Data))
	two.close()
	require.Eventually(t, func() bool { return src.streams() == 0 }, patience, time.Millisecond, "nobody wants to know any more")
}

// TestResourcesThatAServerDoesNotWatch: a client is told which of its wishes a server has not agreed to.
func TestResourcesThatAServerDoesNotWatch(t *testing.T) {
	s := newScript()
	src := newSource(s)
	src.refuses["file:///b/b"] = true
	f := start(t, stateless("b", s))
	e := listenTo(f, watching("file:///b/a", "file:///b/b"))
	wantBytes(t, acknowledged(watching("file:///b/a")), string(e.next().Data))

	s.does("subscriptions/listen", status(404, "application/json", `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`))
	other := start(t, stateless("b", s))
	none := listenTo(other, watching("file:///b/a"))
	wantBytes(t, acknowledged(`{}`), string(none.next().Data))
}

// TestALostStreamIsOpenedAgain: what may have changed meanwhile is told to have changed.
func TestALostStreamIsOpenedAgain(t *testing.T) {
	s := newScript()
	src := newSource(s)
	f := start(t, stateless("b", s))
	e := listenTo(f, watching("file:///b/a"))
	e.next()
	close(src.one(t, "file:///b/a").end)
	wantBytes(t, updated("file:///b/a"), string(e.next().Data))
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	wantBytes(t, updated("file:///b/a"), string(e.next().Data))
}

// TestWatchedServerIsGone: subscriptions at a server that is gone end, so that their clients ask anew.
func TestWatchedServerIsGone(t *testing.T) {
	s := newScript()
	src := newSource(s)
	f := start(t, stateless("b", s), offering("a", newScript(), ""))
	e := listenTo(f, watching("file:///b/a"))
	e.next()
	src.one(t, "file:///b/a")
	f.config = f.config[1:]
	f.broker.SnapshotChanged(f.rebuild())
	assert.Contains(t, string(e.next().Data), `"result":{"resultType":"complete"`)
	e.ended()
	require.Eventually(t, func() bool { return src.streams() == 0 }, patience, time.Millisecond)
}

// TestSessionsGoOnWatching: what a session has asked for, it is told of also after the server was gone or is reached in another way, with no wish of the client's.
func TestSessionsGoOnWatching(t *testing.T) {
	s := newScript()
	src := newSource(s)
	f := start(t, stateless("b", s), offering("a", newScript(), ""))
	token := f.initialize()
	e := f.listen(token)
	ask := func(method, uri string) string {
		return f.do(request{session: token, server: "b", body: `{"jsonrpc":"2.0","id":1,"method":"resources/` + method + `","params":{"uri":"` + uri + `"}}`}).body
	}
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask("subscribe", "file:///b/a"))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask("subscribe", "file:///b/b"))
	wantBytes(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, ask("unsubscribe", "file:///b/b"))
	changed := func() {
		t.Helper()
		for {
			ev := string(e.next().Data)
			if !strings.Contains(ev, "list_changed") {
				wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///b/a"}}`, ev)
				return
			}
		}
	}

	all := f.config
	f.config = all[1:]
	f.broker.SnapshotChanged(f.rebuild())
	require.Eventually(t, func() bool { return src.streams() == 0 }, patience, time.Millisecond)
	f.config = all
	f.broker.SnapshotChanged(f.rebuild())
	changed()
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	changed()

	f.config = slices.Clone(all)
	f.config[0].Headers = []config.Header{{Name: "x-other", Value: "way"}}
	f.broker.SnapshotChanged(f.rebuild())
	changed()
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	changed()

	src.mu.Lock()
	src.refuses["file:///b/a"] = true
	src.mu.Unlock()
	f.config = all
	f.broker.SnapshotChanged(f.rebuild())
	require.Eventually(t, func() bool { return strings.Contains(ask("subscribe", "file:///b/a"), "does not tell of changes") }, patience, time.Millisecond,
		"what the server has taken back is not said to be there")
}

// TestWatchingNeedsARight: a caller hears nothing of what is not allowed, and of prefixed resources under the names that it knows.
func TestWatchingNeedsARight(t *testing.T) {
	s := newScript()
	src := newSource(s)
	f := setup{servers: []server{stateless("b", s)}, options: callers{"alice": only("file:///b/a")}.options}.start(t)
	f.config[0].URIPrefix = true
	f.rebuild()
	e := f.stream(fresh("subscriptions/listen", `"notifications":`+watching("mcp+b:file:///b/a", "mcp+b:file:///b/b")).by("alice"))
	wantBytes(t, acknowledged(watching("mcp+b:file:///b/a")), string(e.next().Data))
	src.one(t, "file:///b/a").updates <- "file:///b/a"
	wantBytes(t, updated("mcp+b:file:///b/a"), string(e.next().Data))
}

// TestResourcesOfAServerWithSessionsAreWatched: in one session of the gateway's own, in which more can be asked for later.
func TestResourcesOfAServerWithSessionsAreWatched(t *testing.T) {
	s, updates := newScript(), make(chan string)
	s.does("GET", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case uri := <-updates:
				event(w, "", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":%q}}`, uri))
			case <-r.Context().Done():
				return
			}
		}
	})
	s.does("resources/subscribe", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) {
		if strings.Contains(string(m.Param("uri").Of(m.Body)), "/b") {
			status(200, "application/json", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32002,"message":"no"}}`, m.ID.Of(m.Body)))(w, nil, m)
			return
		}
		answerJSON(w, m, `{}`)
	})
	old := offering("a", s, "")
	old.listing.Capabilities = json.RawMessage(`{"resources":{"subscribe":true}}`)
	f := start(t, old)
	assert.Contains(t, f.do(fresh("server/discover", "")).body, `"resources":{"listChanged":true,"subscribe":true}`)
	one := listenTo(f, watching("file:///a/a", "file:///a/b"))
	wantBytes(t, acknowledged(watching("file:///a/a")), string(one.next().Data))
	two := listenTo(f, watching("file:///a/a", "log://a/1"))
	wantBytes(t, acknowledged(watching("file:///a/a", "log://a/1")), string(two.next().Data))
	updates <- "file:///a/a"
	wantBytes(t, updated("file:///a/a"), string(one.next().Data))
	wantBytes(t, updated("file:///a/a"), string(two.next().Data))
	updates <- "log://a/1"
	wantBytes(t, updated("log://a/1"), string(two.next().Data))
	assert.Len(t, s.requests("initialize"), 1)
	assert.Len(t, s.requests("GET"), 1)
	assert.Len(t, s.requests("resources/subscribe"), 3, "nothing is asked for twice")
	one.close()
	two.close()
	s.await(t, "DELETE", 1)
}

// TestASessionThatIsLostIsOpenedAgain: as is the watching in it.
func TestASessionThatIsLostIsOpenedAgain(t *testing.T) {
	s, end := newScript(), make(chan struct{})
	s.does("GET", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	s.does("resources/subscribe", func(w http.ResponseWriter, _ *http.Request, m *jsonrpc.Message) { answerJSON(w, m, `{}`) })
	old := offering("a", s, "")
	old.listing.Capabilities = json.RawMessage(`{"resources":{"subscribe":true}}`)
	f := start(t, old)
	e := listenTo(f, watching("file:///a/a"))
	e.next()
	end <- struct{}{}
	wantBytes(t, updated("file:///a/a"), string(e.next().Data))
	assert.Len(t, s.requests("initialize"), 2)
}
