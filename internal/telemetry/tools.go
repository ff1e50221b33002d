package telemetry

import (
	"context"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// otherTools stands for the tools of a server that have no series of their own.
const otherTools = "_OTHER"

// Tools looks at the counters of tools, which stand in the catalog's snapshots. Only what has been called is ever looked at.
type Tools struct {
	set      tally.Set
	snapshot func() *catalog.Snapshot

	mu     sync.Mutex                // guards what follows
	of     *catalog.Snapshot         // that series are of
	busy   map[*tally.Counter]uint64 // calls of this interval
	rated  []*tally.Counter          // that had calls in the last one
	series map[*tally.Counter]bool   // tools that have been called, and whether they have a series of their own
	own    int                       // of these
	others map[string]uint64         // calls of those that have none, by server
}

func newTools(snapshot func() *catalog.Snapshot) *Tools {
	return &Tools{snapshot: snapshot, busy: map[*tally.Counter]uint64{}, series: map[*tally.Counter]bool{}, others: map[string]uint64{}}
}

// Set has the counters.
func (t *Tools) Set() *tally.Set { return &t.set }

// Run has rates until the context ends.
func (t *Tools) Run(ctx context.Context) { eachInterval(ctx, t.rate) }

// rate makes the rates anew. Run alone calls it.
func (t *Tools) rate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look()
	for _, c := range t.rated {
		c.SetRate(0)
	}
	clear(t.rated)
	t.rated = t.rated[:0]
	for c, calls := range t.busy {
		c.SetRate(float64(calls) / rateInterval.Seconds())
		t.rated = append(t.rated, c)
	}
	clear(t.busy)
}

// look takes what has been counted. What is not in the catalog any more is left out, so that no two counters are of one name.
func (t *Tools) look() {
	snap := t.snapshot()
	if snap == nil {
		return
	}
	if snap != t.of {
		t.forget(snap)
	}
	t.set.Look(func(c *tally.Counter, calls uint64) {
		if calls == 0 || !isOf(snap, c) {
			return
		}
		t.busy[c] += calls
		own, known := t.series[c]
		if !known {
			if own = t.own < maxSeries && c.Tool != otherTools; own {
				t.own++
			}
			t.series[c] = own
		}
		if !own {
			t.others[c.Server] += calls
		}
	})
}

// forget drops what is not in a snapshot.
func (t *Tools) forget(snap *catalog.Snapshot) {
	t.of = snap
	for c, own := range t.series {
		if isOf(snap, c) {
			continue
		}
		delete(t.series, c)
		delete(t.busy, c)
		if own {
			t.own--
		}
	}
	for server := range t.others {
		if snap.Server(server) == nil {
			delete(t.others, server)
		}
	}
}

func isOf(snap *catalog.Snapshot, c *tally.Counter) bool {
	it := snap.Tool(c.Server, c.Tool)
	return it != nil && it.Calls == c
}

// ended takes a call that has ended. Of those that the broker made, it knows itself.
func (t *Tools) ended(c *Call) {
	if c.Broker || c.Status < http.StatusInternalServerError || c.Tool == "" {
		return
	}
	if snap := t.snapshot(); snap != nil {
		if it := snap.Tool(c.Server, c.Tool); it != nil {
			it.Calls.Failed()
		}
	}
}

// called counts a call that the broker makes.
func called(tool *tally.Counter, over func(status int)) func(status int) {
	if tool == nil {
		return over
	}
	tool.Opened(1)
	return func(status int) {
		tool.Opened(-1)
		if status >= http.StatusInternalServerError {
			tool.Failed()
		}
		over(status)
	}
}

func toolCalls() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_tool_calls_total", "Calls of a tool that the router let go on, by its server's own name for it.", []string{"server", "tool"}, nil)
}

// Describe implements prometheus.Collector.
func (t *Tools) Describe(out chan<- *prometheus.Desc) { out <- toolCalls() }

// Collect implements prometheus.Collector.
func (t *Tools) Collect(out chan<- prometheus.Metric) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look()
	calls := func(n uint64, server, tool string) {
		out <- prometheus.MustNewConstMetric(toolCalls(), prometheus.CounterValue, float64(n), server, tool)
	}
	for c, own := range t.series {
		if own {
			calls(c.Counts().Calls, c.Server, c.Tool)
		}
	}
	for server, n := range t.others {
		calls(n, server, otherTools)
	}
}
