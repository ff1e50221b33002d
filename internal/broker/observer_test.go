package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// counted is what a broker has told to be counted, in order.
type counted struct {
	mu     sync.Mutex
	list   []string
	active map[string]int // calls that go on, by server
	over   []string       // calls that have ended: server and status
	tools  []string       // whose counters were given with calls
}

func (c *counted) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, what)
}

func (c *counted) HandedOver(reached bool)        { c.add(fmt.Sprint("handed over ", reached)) }
func (c *counted) Translated(era, outcome string) { c.add(era + " " + outcome) }

func (c *counted) Called(server string, tool *tally.Counter) func(int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == nil {
		c.active = map[string]int{}
	}
	c.active[server]++
	if tool != nil {
		c.tools = append(c.tools, tool.Tool)
	}
	return func(status int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.active[server]--
		c.over = append(c.over, fmt.Sprint(server, " ", status))
	}
}

// calls waits until so many calls of a server go on, and these have ended.
func (c *counted) calls(t *testing.T, server string, active int, over ...string) {
	t.Helper()
	var got []string
	var now int
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got, now = slices.Clone(c.over), c.active[server]
		return now == active && len(got) == len(over)
	}, patience, time.Millisecond, "want %d and %v, got %d and %v", active, over, now, got)
	assert.Equal(t, over, got)
}

func (c *counted) await(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got = slices.Clone(c.list)
		return len(got) >= len(want)
	}, patience, time.Millisecond, "want %v, got %v", want, got)
	assert.Equal(t, want, got)
}

// hangs answers calls of the tool "hang" never, of the tool "odd" with what is no result, and others well.
func hangs(result string) (*script, chan struct{}) {
	begun := make(chan struct{}, 1)
	return newScript().does("tools/call", func(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message) {
		switch {
		case strings.Contains(string(m.Body), `"hang"`):
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-r.Context().Done()
		case strings.Contains(string(m.Body), `"odd"`):
			w.WriteHeader(http.StatusTeapot)
		default:
			answerJSON(w, m, result)
		}
	}), begun
}

// TestCountedForServersWithSessions: each call that is translated is counted once, by what became of it.
func TestCountedForServersWithSessions(t *testing.T) {
	server, begun := hangs(`{"content":[]}`)
	f := start(t, legacy("weather", server))
	call := func(tool string) request {
		return modern{method: "tools/call", params: `"name":"` + tool + `"`}.request()
	}
	f.do(call("t"))
	f.do(call("odd"))
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-begun
		leave()
	}()
	if resp, err := f.send(ctx, call("hang")); err == nil {
		<-ctx.Done()
		_ = resp.Body.Close()
	}
	f.counted.await(t, "sessions answered", "sessions failed", "sessions abandoned")
}

// TestCountedForServersWithout: likewise the other way, where the end of the session is what ends a call.
func TestCountedForServersWithout(t *testing.T) {
	server, begun := hangs(`{"resultType":"complete","content":[]}`)
	f := start(t, sessionless("weather", server))
	token := f.initializeCan("{}")
	f.do(callOf(token, "weather", "1", "t"))
	f.do(callOf(token, "weather", "2", "odd"))
	go func() {
		<-begun
		f.do(request{method: http.MethodDelete, session: token})
	}()
	f.do(callOf(token, "weather", "3", "hang"))
	f.counted.await(t, "stateless answered", "stateless failed", "stateless abandoned")
}

// TestLiveCalls: each call that the broker makes counts as one of its server for as long as it goes on, whatever eras client and server are of.
func TestLiveCalls(t *testing.T) {
	kinds := map[string]struct {
		result string
		server func(string, *script) server
		modern bool
	}{
		"the first of a session":            {`{"content":[]}`, legacy, false},
		"translated for a server with":      {`{"content":[]}`, legacy, true},
		"translated for a server without":   {`{"resultType":"complete","content":[]}`, sessionless, false},
		"carried for a credential, without": {`{"resultType":"complete","content":[]}`, sessionless, true},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			server, begun := hangs(kind.result)
			weather := kind.server("weather", server)
			weather.listing.Items[catalog.Tool] = []json.RawMessage{[]byte(`{"name":"t"}`), []byte(`{"name":"odd"}`), []byte(`{"name":"hang"}`)}
			f := start(t, weather)
			call := func(tool string) request {
				if kind.modern {
					return modern{method: "tools/call", params: `"name":"` + tool + `"`}.request()
				}
				return callOf(f.initializeCan("{}"), "weather", "1", tool)
			}
			f.do(call("t"))
			f.counted.calls(t, "weather", 0, "weather 200")
			f.do(call("odd"))
			f.counted.calls(t, "weather", 0, "weather 200", "weather 502")

			ctx, leave := context.WithCancel(t.Context())
			r, left := call("hang"), make(chan struct{})
			go func() {
				defer close(left)
				if resp, err := f.send(ctx, r); err == nil {
					<-ctx.Done()
					_ = resp.Body.Close()
				}
			}()
			<-begun
			f.counted.calls(t, "weather", 1, "weather 200", "weather 502")
			leave()
			<-left
			if !kind.modern && name != "the first of a session" {
				f.do(request{method: http.MethodDelete, session: r.session}) // a call outlives its connection, and not its session
			}
			f.counted.calls(t, "weather", 0, "weather 200", "weather 502", "weather 0")
			assert.Equal(t, []string{"t", "odd", "hang"}, f.counted.tools)
		})
	}
}
