package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// counting is metrics of a catalog that can change.
type counting struct {
	*Metrics
	snap atomic.Pointer[catalog.Snapshot]
}

func newCounting() *counting {
	c := &counting{}
	c.Metrics = NewMetrics("1", Sources{Snapshot: c.snap.Load, Sessions: func() int { return 0 }})
	return c
}

// offer makes the catalog one of these servers, each with tools.
func (c *counting) offer(servers map[string][]string) {
	in := catalog.Input{States: map[string]catalog.State{}, Counting: catalog.Counting{Set: c.Tools().Set(), Before: c.snap.Load()}}
	for name, tools := range servers {
		l := &catalog.Listing{}
		for _, tool := range tools {
			l.Items[catalog.Tool] = append(l.Items[catalog.Tool], json.RawMessage(`{"name":"`+tool+`"}`))
		}
		in.Servers = append(in.Servers, config.Server{Name: name, Enabled: true, ToolPrefix: name + "_"})
		in.States[name] = catalog.State{Health: catalog.HealthReady, Listing: l}
	}
	c.snap.Store(catalog.Build(in))
}

func (c *counting) counter(server, tool string) *tally.Counter {
	return c.snap.Load().Tool(server, tool).Calls
}

// series are those of tools, as they are served.
func (c *counting) series(t *testing.T) (out []string) {
	t.Helper()
	for line := range strings.Lines(scrape(t, c.Metrics)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "mcp_gateway_tool_calls_total"); ok {
			out = append(out, rest)
		}
	}
	return out
}

// TestToolRates: a rate is of the last two seconds, whoever looks in between.
func TestToolRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounting()
		c.offer(map[string][]string{"a": {"x", "y"}})
		ctx, stop := context.WithCancel(t.Context())
		go c.Tools().Run(ctx)
		x := c.counter("a", "x")
		x.Called(3)
		c.series(t)
		x.Called(2)
		time.Sleep(rateInterval + time.Millisecond)
		synctest.Wait()
		assert.Equal(t, tally.Counts{Calls: 5, Rate: 2.5}, x.Counts())
		c.offer(map[string][]string{"a": {"x", "y"}})
		x.Called(1)
		time.Sleep(rateInterval)
		synctest.Wait()
		assert.Equal(t, tally.Counts{Calls: 6, Rate: 0.5}, c.counter("a", "x").Counts(), "in another catalog as well")
		time.Sleep(rateInterval)
		synctest.Wait()
		assert.Equal(t, tally.Counts{Calls: 6}, x.Counts())
		stop()
	})
}

// TestToolSeries: there is one for each tool that has been called, and one for all others of a server once there are too many.
func TestToolSeries(t *testing.T) {
	c := newCounting()
	assert.Empty(t, c.series(t), "before there is a catalog")
	tools := []string{otherTools}
	for i := range maxSeries + 2 {
		tools = append(tools, fmt.Sprintf("t%04d", i))
	}
	c.offer(map[string][]string{"a": tools, "b": {"y", "z"}})
	assert.Empty(t, c.series(t), "nothing has been called")
	c.counter("b", "y").Called(7)
	c.counter("a", otherTools).Called(1)
	assert.Equal(t, []string{`{server="a",tool="_OTHER"} 1`, `{server="b",tool="y"} 7`}, c.series(t), "no tool can be taken for the others")
	for _, tool := range tools[1:maxSeries] { // together with y there are as many as there may be
		c.counter("a", tool).Called(1)
	}
	assert.Len(t, c.series(t), maxSeries+1)
	c.counter("a", tools[maxSeries]).Called(5)
	c.counter("b", "z").Called(1)
	c.counter("b", "y").Called(1)
	got := c.series(t)
	assert.Len(t, got, maxSeries+2)
	assert.Subset(t, got, []string{`{server="a",tool="_OTHER"} 6`, `{server="b",tool="_OTHER"} 1`, `{server="b",tool="y"} 8`})

	gone := c.counter("b", "y")
	c.offer(map[string][]string{"a": {"t0001"}})
	gone.Called(1)
	assert.Equal(t, []string{`{server="a",tool="_OTHER"} 6`, `{server="a",tool="t0001"} 1`}, c.series(t), "what is gone is not told of")
	c.offer(map[string][]string{"a": {"t0001"}, "b": {"y"}})
	c.counter("b", "y").Called(1)
	gone.Called(1)
	assert.Contains(t, c.series(t), `{server="b",tool="y"} 1`, "it begins anew, and the old one does not come between")
}

// TestFailedCalls: the broker tells of its calls, and whoever reports ended calls of all others.
func TestFailedCalls(t *testing.T) {
	c := newCounting()
	c.offer(map[string][]string{"a": {"x"}})
	x := c.counter("a", "x")
	over := c.Called("a", x)
	assert.Equal(t, tally.Counts{Open: 1}, x.Counts())
	over(http.StatusBadGateway)
	c.Called("a", x)(http.StatusOK)
	c.Called("a", x)(0)
	assert.Equal(t, tally.Counts{Failed: 1}, x.Counts())
	assert.Equal(t, Calls{Succeeded: 1, Failed: 1}, c.Carried().Calls()["a"].Calls)

	o, err := c.NewObserved(t.Context(), "1", func(string) (string, bool) { return "", false })
	require.NoError(t, err)
	kind := callreport.Kind{Method: "tools/call", Server: "a", Tool: "x", PublicName: "a_x"}
	for _, call := range []Call{
		{Status: http.StatusServiceUnavailable, Kind: kind},
		{Status: http.StatusServiceUnavailable, Kind: kind, Broker: true}, // counted above
		{Status: http.StatusForbidden, Kind: kind},
		{Status: http.StatusOK, Kind: kind},
		{Status: 0, Kind: kind},
		{Status: http.StatusBadGateway, Kind: callreport.Kind{Server: "a"}},
		{Status: http.StatusBadGateway, Kind: callreport.Kind{Server: "a", Tool: "unknown"}},
	} {
		o.Took(&call)
	}
	assert.Equal(t, tally.Counts{Failed: 2}, x.Counts())
}
