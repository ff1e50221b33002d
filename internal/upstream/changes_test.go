package upstream

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// TestListChanged: what a server announces is there at once, wherever it says so.
func TestListChanged(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(10 * time.Second)
		published := len(b.board.all("weather"))

		s.set(func() { s.lists["tools/list"] = []string{`{"tools":[{"name":"a","description":"another"}]}`} })
		events.events <- toolsChanged
		synctest.Wait()
		st, at := b.board.last("weather")
		assert.Equal(t, raw(`{"name":"a","description":"another"}`), st.Listing.Items[catalog.Tool][0], "the content changed, not the name")
		assert.Equal(t, 10*time.Second, at)
		assert.Len(t, b.board.all("weather"), published+1)

		pass(10 * time.Second)
		s.set(func() {
			s.lists["tools/list"] = []string{tools("c")}
			s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
				answerEvents(w, toolsChanged, response(m, "{}"))
			}
		})
		_, err := b.Endpoint("weather").Call(t.Context(), Session{ID: "s-1"}, "tools/call", nil)
		require.NoError(t, err)
		synctest.Wait()
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"c"}, names(st, catalog.Tool))
	})
}

// TestOnlyTheChangedListIsRead, and nothing is published if it is what it was.
func TestOnlyTheChangedListIsRead(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.capabilities = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}`
		s.lists["prompts/list"] = []string{`{"prompts":[{"name":"p"}]}`}
		s.lists["resources/list"] = []string{`{"resources":[]}`}
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(10 * time.Second)
		published := len(b.board.all("weather"))
		count := func() [4]int {
			return [4]int{
				len(s.requests("tools/list")), len(s.requests("prompts/list")), len(s.requests("resources/list")), len(s.requests("resources/templates/list")),
			}
		}
		before := count()
		events.events <- `data: {"jsonrpc":"2.0","method":"notifications/resources/list_changed"}` + "\n\n"
		synctest.Wait()
		after := count()
		assert.Equal(t, [4]int{before[0], before[1], before[2] + 1, before[3] + 1}, after)
		assert.Len(t, b.board.all("weather"), published)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"p"}, names(st, catalog.Prompt))

		events.events <- `data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}` + "\n\n"
		events.events <- "data: nonsense\n\n"
		pass(time.Second)
		assert.Equal(t, after, count(), "it was nothing about lists")
	})
}

// TestStorm: a server that cries change all the time is read now and then, and the last change is not lost.
func TestStorm(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		before := len(s.requests("tools/list"))
		for range 10_000 {
			events.events <- toolsChanged
			time.Sleep(time.Millisecond)
		}
		s.set(func() { s.lists["tools/list"] = []string{tools("last")} })
		events.events <- toolsChanged
		assert.LessOrEqual(t, len(s.requests("tools/list"))-before, 10)
		pass(maxRest)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"last"}, names(st, catalog.Tool))
	})
}

// TestSlowListsRest: a server whose lists take long is not read without pause.
func TestSlowListsRest(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		var n atomic.Int32
		s.on["tools/list"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			time.Sleep(5 * time.Second)
			answerEvents(w, toolsChanged, response(m, tools(fmt.Sprintf("t%d", n.Add(1)))))
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(200 * time.Second)
		assert.InDelta(t, 10, n.Load(), 1, "5 s of listing and 15 s of rest")
	})
}

// TestRefresh: a server that announces its changes is asked each 5 min, any other each 30 s.
func TestRefresh(t *testing.T) {
	listening := func() reply { return newStream().reply }
	for name, tc := range map[string]struct {
		capabilities string
		get          func() reply // made in the test's bubble
		want         int
	}{
		"announces":              {`{"tools":{"listChanged":true}}`, listening, 2},
		"announces not all":      {`{"tools":{"listChanged":true},"prompts":{}}`, listening, 20},
		"says it does not":       {`{"tools":{"listChanged":false}}`, listening, 20},
		"announces nothing":      {`{"tools":{}}`, listening, 20},
		"405":                    {`{"tools":{"listChanged":true}}`, nil, 20},
		"404":                    {`{"tools":{"listChanged":true}}`, func() reply { return answerStatus(404, "") }, 20},
		"not a stream":           {`{"tools":{"listChanged":true}}`, func() reply { return answerDocument("{}") }, 20},
		"501":                    {`{"tools":{"listChanged":true}}`, func() reply { return answerStatus(501, "") }, 20},
		"a stream never answers": {`{"tools":{"listChanged":true}}`, func() reply { return hang }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				t := b.t
				s := newScript()
				s.capabilities = tc.capabilities
				s.lists["prompts/list"] = []string{`{"prompts":[]}`}
				if tc.get != nil {
					s.on["GET"] = tc.get()
				}
				b.net.listen("weather:80", s)
				b.Apply(configOfNames("weather"))
				pass(time.Minute - time.Second)
				before := len(s.requests("tools/list"))
				pass(10 * time.Minute)
				assert.Equal(t, tc.want, len(s.requests("tools/list"))-before)
				assert.Len(t, s.requests("GET"), 1)
				assert.Len(t, s.requests("initialize"), 1)
				assert.Len(t, b.board.all("weather"), 2, "nothing changed, nothing is published")
			})
		})
	}
}

// TestStreamIsOpenedAgain, where it ended, and what changed meanwhile is noticed.
func TestStreamIsOpenedAgain(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, first, second := newScript(), newStream(), newStream()
		s.on["GET"] = first.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		s.set(func() { s.on["GET"] = second.reply })
		first.events <- "id: e7\nretry: 3000\ndata:\n\n"
		s.set(func() { s.lists["tools/list"] = []string{tools("meanwhile")} })
		close(first.events)
		pass(2900 * time.Millisecond)
		assert.Zero(t, second.opened.Load(), "the server wanted 3 s")
		pass(400 * time.Millisecond)
		require.Equal(t, int32(1), second.opened.Load())
		assert.Equal(t, "e7", s.requests("GET")[1].Header.Get("Last-Event-Id"))
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"meanwhile"}, names(st, catalog.Tool))
		assert.Len(t, s.requests("initialize"), 1)
	})
}

// TestStreamThatEndsAtOnce is opened less and less often.
func TestStreamThatEndsAtOnce(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.on["GET"] = answerData()
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(10 * time.Minute)
		assert.Less(t, len(s.requests("GET")), 80)
		assert.Less(t, len(s.requests("tools/list")), 100)
		assert.Equal(t, []catalog.Health{catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))
	})
}

// TestStreamThatCannotBeResumed is opened anew.
func TestStreamThatCannotBeResumed(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			switch {
			case r.Header.Get("Last-Event-Id") != "":
				http.Error(w, "stream replay unsupported", http.StatusBadRequest)
			case len(s.requests("GET")) == 1:
				answerEvents(w, "id: e1\ndata:\n\n")
			default:
				events.reply(w, r, m)
			}
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		assert.Equal(t, int32(1), events.opened.Load())
	})
}

// TestChangeBeforeTheStreamOpened: what nobody could be told of is found out.
func TestChangeBeforeTheStreamOpened(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			s.set(func() { s.lists["tools/list"] = []string{tools("in between")} })
			events.reply(w, r, m)
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"in between"}, names(st, catalog.Tool))
	})
}

// TestStreamThatNeverAnswers is given up: a server that serves one request at a time needs its turn for others.
func TestStreamThatNeverAnswers(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		waited := make(chan time.Duration, 1)
		s.on["GET"] = func(_ http.ResponseWriter, r *http.Request, _ *jsonMessage) {
			began := time.Now()
			<-r.Context().Done()
			waited <- time.Since(began)
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		assert.Equal(t, 10*time.Second, <-waited)
	})
}
