package dataplane_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestMaxCalls: a server with as many calls open as it may have gets no more of them, from Envoy as from the broker; another server's go on, and so do its
// own once some have ended.
func TestMaxCalls(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		const most = 3
		release := make(chan struct{})
		slow := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
			{Name: "quick"},
			{Name: "wait", Call: func(w http.ResponseWriter, c *testbed.Call) {
				<-release
				c.Text(w, "done")
			}},
		}})
		other := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "quick"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
			spec("slow", slow.URL, func(s *config.ServerSpec) { s.MaxCalls = new(int); *s.MaxCalls = most }), spec("other", other.URL),
		}})
		g.AwaitTools(t, "slow_wait", "other_quick")
		c, modern := testbed.Connect(t, g.Endpoint), testbed.NewStateless(t, g.Endpoint)
		c.Call(t, "slow_quick", "{}").Text(t) // the session with the server is open: Envoy carries what follows
		modern.Ask(t, "tools/call", `{"name":"slow_quick"}`).Result(t)
		waits := func(n int) {
			testbed.Await(t, "the server to have the calls", func() bool {
				return callsOf(slow, "wait") == n
			})
		}
		var open []func() *testbed.Answer
		for range most {
			open = append(open, began(func() *testbed.Answer { return c.Call(t, "slow_wait", "{}") }))
		}
		waits(most)
		refused := func(a *testbed.Answer) {
			assert.Equal(t, http.StatusServiceUnavailable, a.Status, a)
			assert.Equal(t, -32603, a.Error(t).Code)
			assert.NotEmpty(t, a.Error(t).ID)
		}
		refused(c.Call(t, "slow_quick", "{}"))
		assert.NotEmpty(t, c.Call(t, "other_quick", "{}").Text(t))

		for range most { // the broker counts those that it translates
			open = append(open, began(func() *testbed.Answer { return modern.Ask(t, "tools/call", `{"name":"slow_wait"}`) }))
		}
		waits(2 * most)
		refused(modern.Ask(t, "tools/call", `{"name":"slow_quick"}`))
		modern.Ask(t, "tools/call", `{"name":"other_quick"}`).Result(t)

		close(release)
		for _, end := range open {
			assert.Contains(t, end().Result(t), "done")
		}
		testbed.Await(t, "further calls to be let in", func() bool {
			return c.Call(t, "slow_quick", "{}").Status == http.StatusOK && modern.Ask(t, "tools/call", `{"name":"slow_quick"}`).Status == http.StatusOK
		})
	})
}

// callsOf is how many calls of a tool a server got.
func callsOf(u *testbed.Upstream, tool string) int {
	n := 0
	for _, c := range u.AllCalls() {
		if c.Tool == tool {
			n++
		}
	}
	return n
}

// began makes a call, and returns what waits for its answer.
func began(call func() *testbed.Answer) (end func() *testbed.Answer) {
	answer := make(chan *testbed.Answer, 1)
	go func() { answer <- call() }()
	return func() *testbed.Answer { return <-answer }
}

// TestSentAgain: a call whose connection breaks before the answer is made once more where that does no harm, and never otherwise.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		var broken sync.Map // by tool, the first call of which was cut off
		once := func(w http.ResponseWriter, c *testbed.Call) {
			if _, again := broken.LoadOrStore(c.Tool, true); again {
				c.Text(w, "done")
				return
			}
			hijacked("")(w, c)
		}
		server := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
			{Name: "hello"},
			{Name: "read", Annotations: `{"readOnlyHint":true}`, Call: once},
			{Name: "set", Annotations: `{"idempotentHint":true}`, Call: once},
			{Name: "add", Call: once},
		}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("s", server.URL)}})
		g.AwaitTools(t, "s_hello", "s_add")
		c := testbed.Connect(t, g.Endpoint)
		c.Call(t, "s_hello", "{}").Text(t)
		for _, tool := range []string{"read", "set"} {
			assert.Equal(t, "done", c.Call(t, "s_"+tool, "{}").Text(t))
			assert.Equal(t, 2, callsOf(server, tool))
		}
		a := c.Call(t, "s_add", "{}")
		assert.Equal(t, -32603, a.Error(t).Code)
		assert.Equal(t, 1, callsOf(server, "add"))
	})
}

// TestNeverLeftAlone: the one address of a server is used however often it has failed.
func TestNeverLeftAlone(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	down.Store(true)
	server := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "t"}, {Name: "u", Call: func(w http.ResponseWriter, c *testbed.Call) {
		if down.Load() {
			hijacked("")(w, c)
			return
		}
		c.Text(w, "up")
	}}}})
	g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{spec("s", server.URL)}})
	g.AwaitTools(t, "s_t")
	c := testbed.Connect(t, g.Endpoint)
	c.Call(t, "s_t", "{}").Text(t)
	for range 12 {
		assert.Equal(t, -32603, c.Call(t, "s_u", "{}").Error(t).Code)
	}
	down.Store(false)
	assert.Equal(t, "up", c.Call(t, "s_u", "{}").Text(t))
}
