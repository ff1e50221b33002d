package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// notifier is a scripted server whose event streams the test feeds.
type notifier struct {
	*script
	feed   chan [2]string // id and data
	opened chan string    // the Last-Event-ID of each stream
	closed chan struct{}
}

// hangUp ends the stream from the server's side.
var hangUp = [2]string{"", "hang up"}

func newNotifier() *notifier {
	n := &notifier{newScript(), make(chan [2]string), make(chan string, 100), make(chan struct{}, 100)}
	n.does(http.MethodGet, func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		n.opened <- r.Header.Get("Last-Event-ID")
		for {
			select {
			case ev := <-n.feed:
				if ev == hangUp {
					return
				}
				event(w, ev[0], ev[1])
			case <-r.Context().Done():
				n.closed <- struct{}{}
				return
			}
		}
	})
	return n
}

func note(method string) string { return `{"jsonrpc":"2.0","method":"` + method + `"}` }

// TestListChanged: clients with a stream are told which lists are different, whatever it is in them that is.
func TestListChanged(t *testing.T) {
	f := start(t, scripted("weather", newScript()))
	one, two := f.listen(f.initialize()), f.listen(f.initialize())
	publish := func(change func(*catalog.Listing)) {
		st := f.states["weather"]
		listing := *st.Listing
		change(&listing)
		st.Listing = &listing
		f.states["weather"] = st
		f.broker.SnapshotChanged(f.rebuild())
	}
	publish(func(l *catalog.Listing) {
		l.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"a","description":"x"}`)}
	})
	publish(func(*catalog.Listing) {})
	publish(func(l *catalog.Listing) {
		l.Items[catalog.Tool] = []json.RawMessage{json.RawMessage(`{"name":"a","description":"y"}`)}
		l.Items[catalog.Prompt] = []json.RawMessage{json.RawMessage(`{"name":"p"}`)}
	})
	publish(func(l *catalog.Listing) {
		l.Items[catalog.Resource] = []json.RawMessage{json.RawMessage(`{"name":"r","uri":"r:1"}`)}
		l.Items[catalog.Template] = []json.RawMessage{json.RawMessage(`{"name":"r","uriTemplate":"r:{id}"}`)}
	})
	f.broker.SnapshotChanged(nil, f.snapshot.Load())
	for _, e := range []*events{one, two} {
		for _, list := range []string{"tools", "tools", "prompts", "resources"} {
			assert.Equal(t, note("notifications/"+list+"/list_changed"), string(e.next().Data))
		}
	}
}

// TestMerged: what servers send beside their answers comes in the client's one stream, with ids that lead back.
func TestMerged(t *testing.T) {
	one, two := newNotifier(), newNotifier()
	f := start(t, scripted("one", one.script), scripted("two", two.script))
	token := f.initialize()
	f.do(callOf(token, "one", "1", "t"))
	e := f.listen(token)
	assert.Empty(t, await(t, one.opened), "a session that was open")
	f.do(callOf(token, "two", "1", "t"))
	await(t, two.opened)

	s, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	for name, n := range map[string]*notifier{"one": one, "two": two} {
		n.feed <- [2]string{"e7", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":9007199254740993}}`}
		got := e.next()
		wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":9007199254740993}}`, string(got.Data))
		kind, owner, raw, ok := s.Unseal(got.ID)
		assert.True(t, ok)
		assert.Equal(t, session.SealStreamEvent, kind)
		assert.Equal(t, name+" e7", owner+" "+string(raw))
		n.feed <- [2]string{"", `{"jsonrpc":"2.0","id":1,"method":"ping"}`}
		assert.Contains(t, string(e.next().Data), `"id":"gw.r.`+name+`.`)
	}
	for _, list := range []string{"tools", "prompts", "resources"} {
		one.feed <- [2]string{"", note("notifications/" + list + "/list_changed")}
		assert.Equal(t, "one", await(t, f.poked), "the gateway reads the lists before it tells of them")
	}
	one.feed <- [2]string{"", note("notifications/resources/updated")}
	assert.Equal(t, note("notifications/resources/updated"), string(e.next().Data), "nothing came between")
	e.close()
	await(t, one.closed)
	await(t, two.closed)
}

// TestResume: a client that comes back goes on where it lost the stream, at the server whose event it names.
func TestResume(t *testing.T) {
	one, two := newNotifier(), newNotifier()
	f := start(t, scripted("one", one.script), scripted("two", two.script))
	token, other := f.initialize(), f.initialize()
	f.do(callOf(token, "one", "1", "t"))
	f.do(callOf(token, "two", "1", "t"))
	f.do(callOf(other, "one", "1", "t"))
	e := f.listen(token)
	await(t, one.opened)
	await(t, two.opened)
	one.feed <- [2]string{"e 7", note("notifications/message")}
	id := e.next().ID
	e.close()
	await(t, one.closed)
	await(t, two.closed)

	e = f.listen(token, id)
	assert.Equal(t, "e 7", await(t, one.opened))
	assert.Empty(t, await(t, two.opened))
	e.close()
	await(t, one.closed)
	await(t, two.closed)

	for _, foreign := range []string{"e 7", id + "x", ""} {
		e = f.listen(token, foreign)
		assert.Empty(t, await(t, one.opened))
		await(t, two.opened)
		e.close()
		await(t, one.closed)
		await(t, two.closed)
	}
	e = f.listen(other, id)
	assert.Empty(t, await(t, one.opened), "what was given to one session is nothing to another")
	e.close()
	await(t, one.closed)
}

// TestReconnects: a server's stream that ends is opened again behind its last event.
func TestReconnects(t *testing.T) {
	weather := newNotifier()
	f := start(t, scripted("weather", weather.script))
	token := f.initialize()
	f.do(callOf(token, "weather", "1", "t"))
	e := f.listen(token)
	await(t, weather.opened)
	weather.feed <- [2]string{"e1", note("notifications/message")}
	e.next()
	weather.feed <- hangUp
	assert.Equal(t, "e1", await(t, weather.opened))
	weather.feed <- [2]string{"", note("notifications/message")}
	e.next()
}

// TestNoStream: a server without a stream is asked once, keeps its session, and takes nothing from the others.
func TestNoStream(t *testing.T) {
	for _, code := range []int{http.StatusMethodNotAllowed, http.StatusNotFound, http.StatusUnauthorized, http.StatusOK} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			silent, weather := newScript().does(http.MethodGet, status(code, "text/html", "")), newNotifier()
			f := start(t, scripted("silent", silent), scripted("weather", weather.script))
			token := f.initialize()
			f.do(callOf(token, "silent", "1", "t"))
			f.do(callOf(token, "weather", "1", "t"))
			e := f.listen(token)
			await(t, weather.opened)
			silent.await(t, http.MethodGet, 1)
			weather.feed <- [2]string{"", note("notifications/message")}
			e.next()
			f.do(callOf(token, "silent", "1", "t"))
			assert.Len(t, silent.requests("initialize"), 1, "a refused stream does not end the session")
			assert.Len(t, silent.requests(http.MethodGet), 1)
		})
	}
}

// TestTwoStreams: of two streams of one session, each message goes to one, and the other takes over.
func TestTwoStreams(t *testing.T) {
	weather := newNotifier()
	f := start(t, scripted("weather", weather.script))
	token := f.initialize()
	f.do(callOf(token, "weather", "1", "t"))
	one := f.listen(token)
	await(t, weather.opened)
	two := f.listen(token)
	got := make(chan string)
	var readers sync.WaitGroup
	for _, e := range []*events{one, two} {
		readers.Go(func() {
			for {
				ev, err := e.read()
				if err != nil {
					return
				}
				got <- string(ev.Data)
			}
		})
	}
	var want []string
	for i := range 20 {
		want = append(want, note(fmt.Sprintf("notifications/n%d", i)))
		weather.feed <- [2]string{"", want[i]}
		assert.Equal(t, want[i], await(t, got))
	}
	two.close()
	f.waitForStreams(1)
	weather.feed <- [2]string{"", note("notifications/last")}
	assert.Equal(t, note("notifications/last"), await(t, got), "and nothing a second time")
	one.close()
	await(t, weather.closed)
	readers.Wait()
	select {
	case more := <-got:
		assert.Empty(t, more)
	default:
	}
	assert.Len(t, slices.DeleteFunc(weather.requests(http.MethodGet), func(r seen) bool { return r.session != "s-1" }), 1, "the server has one stream")
}

// waitForStreams waits until the broker serves no more than n event streams: one that a client left is noticed soon.
func (f *fixture) waitForStreams(n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		return strings.Count(string(buf), "broker.(*Broker).listen(") <= n
	}, patience, time.Millisecond)
}

// TestStreamsLeaveNothing: what follows the servers ends with the client's last stream.
func TestStreamsLeaveNothing(t *testing.T) {
	weather := newNotifier()
	f := start(t, scripted("weather", weather.script))
	token := f.initialize()
	f.do(callOf(token, "weather", "1", "t"))
	f.client.CloseIdleConnections()
	for range 20 {
		e := f.listen(token)
		await(t, weather.opened)
		e.close()
		await(t, weather.closed)
	}
	require.Eventually(t, func() bool {
		buf := make([]byte, 1<<20)
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "followBackend")
	}, patience, time.Millisecond)
}

// TestCloseEndsStreams: the broker's end is the end of all of them, and of the sessions behind.
func TestCloseEndsStreams(t *testing.T) {
	weather := newNotifier()
	f := start(t, scripted("weather", weather.script))
	token := f.initialize()
	f.do(callOf(token, "weather", "1", "t"))
	e := f.listen(token)
	await(t, weather.opened)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f.broker.Close(ctx)
	require.NoError(t, ctx.Err())
	e.ended()
	await(t, weather.closed)
	assert.Len(t, weather.requests(http.MethodDelete), 1)
}

// TestSlowReader: a client that does not read is cut off, and hears of it when it reads.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newNotifier()
		f := setup{net: newMemory(), servers: []server{scripted("weather", weather.script)}}.start(t)
		token := f.initialize()
		f.do(callOf(token, "weather", "1", "t"))
		e := f.listen(token)
		<-weather.opened
		// The client's own buffers take some.
		text := `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"` + strings.Repeat("x", 4000) + `"}}`
		for range 1000 {
			select {
			case weather.feed <- [2]string{"", text}:
			case <-weather.closed: // the last stream is gone, and with it what fed it
			}
		}
		n := 0
		for {
			ev, err := e.read()
			if err != nil {
				require.NotErrorIs(t, err, context.Canceled)
				break
			}
			assert.Equal(t, text, string(ev.Data), "whole or not at all")
			n++
		}
		assert.Less(t, n, 1000)
	})
}

// TestStuckReader: a client whose connection takes nothing more does not hold the stream for ever.
func TestStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newNotifier()
		f := setup{net: newMemory(), servers: []server{scripted("weather", weather.script)}}.start(t)
		token := f.initialize()
		f.do(callOf(token, "weather", "1", "t"))
		f.listen(token)
		<-weather.opened
		weather.feed <- [2]string{"", `{"jsonrpc":"2.0","method":"m","params":{"data":"` + strings.Repeat("x", 100_000) + `"}}`}
		began := time.Now()
		<-weather.closed
		assert.LessOrEqual(t, time.Since(began), 30*time.Second)
	})
}

// TestKeepAlive: an idle stream stays open, a comment tells that it lives, and it keeps its session.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := setup{net: newMemory()}.start(t)
		token := f.initialize()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.sessions.Run(ctx)
		e := f.listen(token)
		began := time.Now()
		line, err := e.in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, ": keep-alive\n", line)
		assert.Equal(t, 25*time.Second, time.Since(began))
		go func() { _, _ = io.Copy(io.Discard, e.in) }()
		time.Sleep(3 * session.DefaultMaxIdle)
		_, err = f.sessions.Lookup(token)
		require.NoError(t, err)
		e.close()
		cancel()
	})
}
