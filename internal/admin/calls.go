package admin

import (
	"cmp"
	"slices"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// ToolCalls are the calls of one tool since the gateway began, or since the tool came.
type ToolCalls struct {
	// Calls are those that the router let go on, whatever became of them.
	Calls uint64 `json:"calls,omitempty"`
	// Failed and Open are those of which it is known that they failed, and that they go on: see Known.
	Failed uint64 `json:"failed,omitempty"`
	Open   uint64 `json:"open,omitempty"`
	// Rate is Calls per second over the last interval.
	Rate float64 `json:"rate,omitempty"`
}

// Extent says of which calls something is known.
type Extent string

// The extents.
const (
	// AllCalls are those that Envoy carries, too.
	AllCalls Extent = "all"
	// BrokersCalls are those that the broker makes alone.
	BrokersCalls Extent = "broker"
)

// Known says of which calls of tools it is known whether they go on, and whether they failed.
type Known struct {
	Open   Extent `json:"open"`
	Failed Extent `json:"failed"`
}

// AllOpen tells whether it is known of all calls whether they go on.
func (k Known) AllOpen() bool { return k.Open == AllCalls }

// AllFailed tells whether it is known of all calls whether they failed.
func (k Known) AllFailed() bool { return k.Failed == AllCalls }

// counted is what a page has to know to show the calls of tools.
type counted struct {
	Known Known
	Since time.Time
}

// shownCalls are those of a tool in a row.
type shownCalls struct {
	Counts ToolCalls
	Known  Known
}

func (s *site) counted() counted { return counted{s.ToolCalls(), s.Started} }

func callsOf(it *catalog.Item) ToolCalls { return ToolCalls(it.Calls.Counts()) }

// order is how a list is ordered.
type order struct{ Value, Title string }

// The orders of a list of tools; without one it is by name.
const (
	byCalls  = "calls"
	byRate   = "rate"
	byOpen   = "open"
	byFailed = "failed"
)

// orders are those that can be chosen.
func (k Known) orders() []order {
	open := order{byOpen, "calls at the broker"}
	if k.AllOpen() {
		open.Title = "calls now"
	}
	out := []order{{"", "name"}, {byCalls, "calls"}, {byRate, "calls per second"}, open}
	if k.AllFailed() {
		out = append(out, order{byFailed, "failed calls"})
	}
	return out
}

// busiest are entries with those first that have most of what the order is by. The others stay as they are.
func busiest(entries []entry, by string) []entry {
	var value func(ToolCalls) float64
	switch by {
	case byCalls:
		value = func(c ToolCalls) float64 { return float64(c.Calls) }
	case byRate:
		value = func(c ToolCalls) float64 { return c.Rate }
	case byOpen:
		value = func(c ToolCalls) float64 { return float64(c.Open) }
	case byFailed:
		value = func(c ToolCalls) float64 { return float64(c.Failed) }
	default:
		return entries
	}
	type valued struct {
		entry
		value float64 // at one time: counting goes on
	}
	all := make([]valued, len(entries))
	for i, e := range entries {
		all[i] = valued{e, value(callsOf(e.Item))}
	}
	slices.SortStableFunc(all, func(x, y valued) int { return cmp.Compare(y.value, x.value) })
	out := make([]entry, len(all))
	for i := range all {
		out[i] = all[i].entry
	}
	return out
}

// maxBusiest is how many tools the page of a server shows.
const maxBusiest = 10

// busiestOf are the tools of a server that have been called most.
func (s *site) busiestOf(snap *catalog.Snapshot, server *catalog.Server) []row {
	var called []entry
	for _, it := range snap.Items(catalog.Tool) {
		if it.Server == server && it.Calls.Counts().Calls > 0 {
			called = append(called, entry{Item: it})
		}
	}
	called = busiest(called, byCalls)
	out := make([]row, 0, maxBusiest)
	for _, e := range called[:min(len(called), maxBusiest)] {
		out = append(out, newRow(kinds()[0], e))
	}
	return out
}
