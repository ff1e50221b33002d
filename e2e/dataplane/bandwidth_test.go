package dataplane_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestMaxBytesPerSecond: a server answers no faster than it may, whoever carries the answer and whoever looks at it on its way, and nothing of it is lost; a
// limit that is set later holds for the next call.
func TestMaxBytesPerSecond(t *testing.T) {
	t.Parallel()
	const most = 256 << 10
	least := 2500 * time.Millisecond // for 1 MiB, of which a second's worth may come at once
	text := strings.Repeat("0123456789abcdef", 1<<16)
	script := testbed.Script{Tools: []testbed.Tool{
		{Name: "quick"},
		{Name: "long", Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, text) }},
		{Name: "events", Call: func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)("data: " + c.Result(testbed.TextResult(text)) + "\n\n")
		}},
	}}
	limit := func(s *config.ServerSpec) { s.MaxBytesPerSecond = new(int); *s.MaxBytesPerSecond = most }
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		slow := testbed.NewUpstream(t, script)
		other := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{
			spec("slow", slow.URL, limit), spec("other", other.URL),
		}})
		g.AwaitTools(t, "slow_long", "other_long")
		c, modern := testbed.Connect(t, g.Endpoint), testbed.NewStateless(t, g.Endpoint)
		c.Call(t, "slow_quick", "{}").Text(t) // the session with the server is open: Envoy carries what follows
		c.Call(t, "other_quick", "{}").Text(t)
		takes := func(call func() string) time.Duration {
			began := time.Now()
			assert.Equal(t, text, call())
			return time.Since(began)
		}
		for _, tool := range []string{"long", "events"} {
			assert.GreaterOrEqual(t, takes(func() string { return c.Call(t, "slow_"+tool, "{}").Text(t) }), least, tool)
		}
		// The broker reads what it translates.
		assert.GreaterOrEqual(t, takes(func() string { return modern.Ask(t, "tools/call", `{"name":"slow_long"}`).Text(t) }), least)
		assert.Equal(t, text, c.Call(t, "other_events", "{}").Text(t))
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		u := testbed.NewUpstream(t, script)
		g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{spec("u", u.URL)}})
		g.AwaitTools(t, "u_long")
		c := testbed.Connect(t, g.Endpoint)
		c.Call(t, "u_quick", "{}").Text(t)
		stream := c.Listen(t)
		testbed.WriteConfig(t, g.Config, spec("u", u.URL, limit, func(s *config.ServerSpec) { s.ToolPrefix = "v_" }))
		g.AwaitTools(t, "v_long")
		stream.Find(t, "notifications/tools/list_changed")
		testbed.Await(t, "the limit to hold", func() bool {
			began := time.Now()
			return c.Call(t, "v_long", "{}").Text(t) == text && time.Since(began) > least
		})
	})
}
