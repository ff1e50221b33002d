package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// bench is a manager in a network of its own and a time of its own.
type bench struct {
	*Manager
	t     *testing.T // of the bubble
	net   *memory
	board *board
}

// inBench runs a test in a bubble. All goroutines must have ended when the manager is closed.
func inBench(t *testing.T, change func(*ManagerOptions), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, net: newMemory(t), board: newBoard()}
		opts := ManagerOptions{Logger: testLog(t), Publish: b.board.publish, Endpoint: EndpointOptions{Dial: b.net.dial}}
		if change != nil {
			change(&opts)
		}
		b.Manager = NewManager(opts)
		t.Cleanup(func() { b.Close(context.Background()) }) // the test's own context is over by then
		test(b)
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stream is the event stream of a scripted server.
type stream struct {
	events chan string // each is sent; a closed channel ends the stream
	opened atomic.Int32
}

func newStream() *stream { return &stream{events: make(chan string)} }

func (s *stream) reply(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
	s.opened.Add(1)
	answerEvents(w)
	for {
		select {
		case ev, ok := <-s.events:
			if !ok {
				return
			}
			answerEvents(w, ev)
		case <-r.Context().Done():
			return
		}
	}
}

// hang answers nothing, ever.
func hang(_ http.ResponseWriter, r *http.Request, _ *jsonMessage) { <-r.Context().Done() }

const toolsChanged = `data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` + "\n\n"

func TestWorkerPublishesWhatAServerSays(t *testing.T) {
	inBench(t, func(o *ManagerOptions) { o.Version = "1.2.3" }, func(b *bench) {
		t := b.t
		s := newScript()
		s.capabilities = `{"tools":{},"prompts":{},"resources":{"subscribe":true},"logging":{},"x":9007199254740993}`
		s.lists = map[string][]string{
			"tools/list":               {`{"tools":[{"name":"a","n":1e400}],"nextCursor":"1"}`, `{"tools":[{"name":"b"},7]}`},
			"prompts/list":             {`{"prompts":[{"name":"p"}]}`},
			"resources/list":           {`{"resources":[{"uri":"r:1"}]}`},
			"resources/templates/list": {`{"resourceTemplates":[{"uriTemplate":"r:{id}"}]}`},
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		synctest.Wait()

		st, _ := b.board.last("weather")
		assert.Equal(t, []catalog.Health{catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))
		assert.Equal(t, &catalog.Listing{
			Revision: "2025-11-25", Sessions: true, Capabilities: raw(s.capabilities), ServerInfo: raw(`{"name":"script","version":"1"}`),
			Items: [4][]rawMessage{
				{raw(`{"name":"a","n":1e400}`), raw(`{"name":"b"}`)}, {raw(`{"name":"p"}`)}, {raw(`{"uri":"r:1"}`)}, {raw(`{"uriTemplate":"r:{id}"}`)},
			},
			Digests:  catalog.DigestsOf([]rawMessage{raw(`{"name":"a","n":1e400}`), raw(`{"name":"b"}`)}),
			Problems: []string{"tool number 3 is left out: it is not an object"},
		}, st.Listing)
		assert.Contains(t, s.requests("initialize")[0].Body,
			`"params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcp-gateway","version":"1.2.3"}}`)
		for _, r := range s.requests("")[1:] {
			assert.Equal(t, "s-1", r.Session, r.Method)
			assert.Equal(t, "2025-11-25", r.Header.Get("Mcp-Protocol-Version"), r.Method)
		}
	})
}

func TestOnlyDeclaredListsAreAsked(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.capabilities = `{"completions":{}}`
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthReady, st.Health)
		assert.Empty(t, s.requests("tools/list"))
		assert.Len(t, s.requests("ping"), 3, "one at the start and each 30 s, to see whether the server lives")
	})
}

// TestServerWithoutSessions: neither a session id nor a DELETE is sent.
func TestServerWithoutSessions(t *testing.T) {
	s := newScript()
	inBench(t, nil, func(b *bench) {
		t := b.t
		s.session = ""
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		st, _ := b.board.last("weather")
		require.Equal(t, catalog.HealthReady, st.Health)
		assert.False(t, st.Listing.Sessions)
	})
	assert.Empty(t, s.requests("DELETE"))
	for _, r := range s.requests("") {
		assert.NotContains(t, r.Header, "Mcp-Session-Id")
	}
}

// TestServerThatStartsLater: it is there within 200 ms of being up, if the gateway waited for half a second, and within a
// quarter of the time that it was away, if that was longer.
func TestServerThatStartsLater(t *testing.T) {
	for _, away := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 30 * time.Second, time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				t := b.t
				b.Apply(configOfNames("weather"))
				pass(away)
				st, _ := b.board.last("weather")
				assert.Equal(t, catalog.HealthFailing, st.Health)
				assert.Equal(t, "server/discover: cannot connect to memory: connection refused", st.LastError)
				assert.Len(t, b.board.all("weather"), 2, "the same failure again is no news")
				b.net.listen("weather:80", newScript())
				late := max(min(away/4+10*time.Millisecond, 30*time.Second), 150*time.Millisecond)
				pass(late)
				st, at := b.board.last("weather")
				assert.Equal(t, catalog.HealthReady, st.Health)
				t.Log("ready after", at-away)
			})
		})
	}
}

func TestFailingServerIsNotHammered(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		b.Apply(configOfNames("weather"))
		pass(10 * time.Minute)
		before := b.net.dialled()
		assert.Less(t, before, 80)
		pass(10 * time.Minute)
		assert.InDelta(t, 22, b.net.dialled()-before, 3, "one attempt each 24 to 30 s")
	})
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: 100 * time.Millisecond, Max: 30 * time.Second}
	different := map[time.Duration]bool{}
	for range 1000 {
		wait := b.after(40 * time.Second)
		assert.GreaterOrEqual(t, wait, 8*time.Second)
		assert.LessOrEqual(t, wait, 10*time.Second)
		different[wait] = true
		assert.GreaterOrEqual(t, b.after(0), 80*time.Millisecond)
		assert.LessOrEqual(t, b.after(time.Hour), 30*time.Second)
	}
	assert.Greater(t, len(different), 900, "servers behind one that restarts are not asked at once")
}

// TestSlowServerCostsTheOthersNothing: Invariant 12.
func TestSlowServerCostsTheOthersNothing(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		slow := newScript()
		slow.on["initialize"] = hang
		b.net.listen("hang:80", slow)
		b.net.listen("good:80", newScript())
		b.Apply(configOfNames("hang", "good", "dead"))
		synctest.Wait()
		st, at := b.board.last("good")
		assert.Equal(t, catalog.HealthReady, st.Health)
		assert.Zero(t, at)
		pass(30 * time.Second)
		st, at = b.board.last("hang")
		assert.Equal(t, catalog.HealthFailing, st.Health)
		assert.Equal(t, "initialize: no answer in time", st.LastError)
		assert.Equal(t, 30*time.Second, at)
	})
}

// TestEveryStepHasATimeout: whatever a server holds back, its worker says so and goes on.
func TestEveryStepHasATimeout(t *testing.T) {
	for _, step := range []string{"initialize", "notifications/initialized", "tools/list", "GET", "DELETE"} {
		t.Run(step, func(t *testing.T) {
			var closing time.Time
			inBench(t, nil, func(b *bench) {
				t := b.t
				s := newScript()
				s.on[step] = hang
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				pass(time.Minute)
				st, _ := b.board.last("weather")
				if step == "GET" || step == "DELETE" {
					assert.Equal(t, catalog.HealthReady, st.Health)
					assert.Len(t, s.requests("tools/list"), 3, "it is asked each 30 s")
				} else {
					assert.Equal(t, catalog.HealthFailing, st.Health)
					assert.Equal(t, step+": no answer in time", st.LastError)
				}
				closing = time.Now()
				b.Close(t.Context())
				assert.LessOrEqual(t, time.Since(closing), 5*time.Second)
			})
		})
	}
}

// TestSlowDripIsBounded: a server that sends a byte now and then does not stretch the time.
func TestSlowDripIsBounded(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.on["tools/list"] = func(w http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			for r.Context().Err() == nil {
				answerEvents(w, ": still there\n")
				time.Sleep(time.Second)
			}
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(31 * time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, "tools/list: no answer in time", st.LastError)
	})
}

// TestEndlessListIsBounded: pages without end, each in time, do not keep a server from ever being judged.
func TestEndlessListIsBounded(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		var n atomic.Int32
		s.on["tools/list"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			time.Sleep(20 * time.Second)
			answerJSON(w, m, fmt.Sprintf(`{"tools":[],"nextCursor":"%d"}`, n.Add(1)))
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(5*time.Minute + time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, "tools/list: no answer in time", st.LastError)
	})
}

// TestForgottenSession: a new one is opened, and nobody hears of it.
func TestForgottenSession(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		s.set(func() { s.session, s.known = "s-2", "nobody" })
		pass(30 * time.Second)
		assert.Len(t, b.board.all("weather"), 2)
		sessions := s.requests("tools/list")
		assert.Equal(t, "s-2", sessions[len(sessions)-1].Session)
		assert.Empty(t, s.requests("DELETE"), "the server had forgotten it")
	})
}

// TestServerThatForgetsEverySession is not asked without pause.
func TestServerThatForgetsEverySession(t *testing.T) {
	for _, method := range []string{"tools/list", "GET"} {
		inBench(t, nil, func(b *bench) {
			t := b.t
			s := newScript()
			s.on[method] = func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
				s.set(func() { s.known = "nobody" })
				http.Error(w, "session not found", http.StatusNotFound)
			}
			b.net.listen("weather:80", s)
			b.Apply(configOfNames("weather"))
			pass(10 * time.Minute)
			assert.Less(t, len(s.requests("initialize")), 80)
			all := b.board.all("weather") // with the stream, the server is ready for 200 ms each time
			assert.True(t, slices.ContainsFunc(all, func(st catalog.State) bool {
				return st.Health == catalog.HealthFailing && st.LastError == "tools/list: HTTP 404: the server does not know the session"
			}))
		})
	}
}

// TestServerDiesAndComesBack: what it offered stays on show meanwhile, and its state says how it is.
func TestServerDiesAndComesBack(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(10 * time.Second)
		died := time.Now()
		b.net.stop("weather:80")
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthFailing, st.Health)
		assert.Equal(t, []string{"a"}, names(st, catalog.Tool))
		assert.WithinDuration(t, died, st.Since, time.Second, "the broken stream tells at once")
		since := st.Since

		slow := newScript()
		slow.on["initialize"] = answerStatus(503, "starting")
		b.net.listen("weather:80", slow)
		pass(10 * time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, `initialize: HTTP 503 "starting"`, st.LastError)
		assert.Equal(t, since, st.Since, "another error is the same failure")
		assert.Equal(t, []string{"a"}, names(st, catalog.Tool))
		b.net.stop("weather:80")
		s.set(func() { s.session, s.lists["tools/list"] = "s-2", []string{tools("b")} })
		b.net.listen("weather:80", s)
		pass(20 * time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, catalog.HealthReady, st.Health)
		assert.Empty(t, st.LastError)
		assert.Equal(t, []string{"b"}, names(st, catalog.Tool))
	})
}

// TestServerVanishes: a server whose machine is gone refuses no connection, and is known to be dead before it is asked for its lists again.
func TestServerVanishes(t *testing.T) {
	var vanished atomic.Bool
	inBench(t, func(o *ManagerOptions) {
		dial := o.Endpoint.Dial
		o.Endpoint.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if !vanished.Load() {
				return dial(ctx, network, address)
			}
			ctx, cancel := context.WithTimeout(ctx, defaultDialTimeout)
			defer cancel()
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
		}
	}, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(10 * time.Second)
		vanished.Store(true)
		b.net.stop("weather:80")
		pass(3*defaultDialTimeout + time.Second) // the stream, the lists, a new session
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthFailing, st.Health)
		assert.Equal(t, catalog.CauseUnreachable, st.Cause)
	})
}

// TestRestartIsNotAFailure: a server that is back before anyone asks again never failed.
func TestRestartIsNotAFailure(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		b.net.stop("weather:80")
		s.set(func() { s.session, s.known = "s-2", "" })
		b.net.listen("weather:80", s)
		pass(10 * time.Second)
		assert.Equal(t, []catalog.Health{catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))
		assert.Len(t, s.requests("initialize"), 2)
		assert.Equal(t, int32(2), events.opened.Load())
	})
}

// TestOneListFails: the others are shown, the lost one stays what it was, and both is reported.
func TestOneListFails(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.capabilities = `{"tools":{"listChanged":true},"prompts":{"listChanged":true}}`
		s.lists["prompts/list"] = []string{`{"prompts":[{"name":"p"}]}`}
		s.on["GET"] = events.reply
		broken := func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			refusal := jsonrpc.Error{Code: -32603, Message: "no database", ID: m.ID.Of(m.Body)}
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(refusal.AppendResponse(nil))
		}
		s.on["prompts/list"] = broken
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		synctest.Wait()
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthReady, st.Health)
		assert.Equal(t, []string{"a"}, names(st, catalog.Tool))
		assert.Empty(t, names(st, catalog.Prompt))
		assert.Equal(t, []string{"prompts/list failed with error -32603: no database"}, st.Listing.Problems)

		pass(10 * time.Second)
		s.set(func() { delete(s.on, "prompts/list") })
		pass(31 * time.Second) // and not 5 min
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"p"}, names(st, catalog.Prompt))
		assert.Empty(t, st.Listing.Problems)

		s.set(func() { s.on["prompts/list"] = broken })
		events.events <- `data: {"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}` + "\n\n"
		pass(time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"p"}, names(st, catalog.Prompt))
		assert.Len(t, st.Listing.Problems, 1)

		s.set(func() { s.session, s.known = "s-2", "nobody" })
		b.Poke("weather")
		pass(time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"p"}, names(st, catalog.Prompt), "a new session does not lose it either")
		assert.Len(t, s.requests("initialize"), 2)
	})
}

// TestPanicIsSurvived: in a worker and in its stream.
func TestPanicIsSurvived(t *testing.T) {
	var panics atomic.Int32
	inBench(t, func(o *ManagerOptions) {
		dial := o.Endpoint.Dial
		o.Logger = nil
		o.Endpoint.OnNotification = func(method string, _ []byte) {
			if method == "notifications/message" {
				panics.Add(1)
				panic("injected")
			}
		}
		o.Endpoint.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return dial(ctx, network, address)
		}
	}, func(b *bench) {
		t := b.t
		const message = `data: {"jsonrpc":"2.0","method":"notifications/message"}` + "\n\n"
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		s.on["tools/list"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerEvents(w, message, response(m, tools("a")))
		}
		b.net.listen("weather:80", s)
		b.net.listen("good:80", newScript())
		b.Apply(configOfNames("weather", "good"))
		synctest.Wait()
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthFailing, st.Health)
		assert.Equal(t, "an internal error of the gateway: the log has more", st.LastError)
		st, _ = b.board.last("good")
		assert.Equal(t, catalog.HealthReady, st.Health)

		s.set(func() { delete(s.on, "tools/list") })
		pass(time.Second)
		st, _ = b.board.last("weather")
		assert.Equal(t, catalog.HealthReady, st.Health)

		events.events <- message
		before := len(s.requests("tools/list"))
		pass(time.Minute)
		assert.Len(t, s.requests("tools/list"), before+2, "without its stream it is asked each 30 s")
		assert.Equal(t, int32(2), panics.Load())
	})
}
