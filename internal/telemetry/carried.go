package telemetry

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// rateInterval is how long calls are counted for a rate.
const rateInterval = 2 * time.Second

// Carried counts the calls of servers that the broker makes itself, which to Envoy are calls of the broker. Calls share no lock, and what is counted can be
// asked for at any moment.
type Carried struct{ servers sync.Map } // by name, *carriedCalls

// carriedCalls are those of one server.
type carriedCalls struct {
	active            atomic.Int64
	succeeded, failed atomic.Uint64
	recent            atomic.Pointer[recentCalls]
}

// recentCalls are the totals when they were looked at last, and how many calls a second ended before.
type recentCalls struct {
	succeeded, failed uint64
	rate, errors      float64
}

// CarriedCalls are the calls of one server.
type CarriedCalls struct {
	Calls
	// Rate and Errors are the calls that ended in the last interval, and those of them that failed, per second.
	Rate, Errors float64
}

// Called counts a call of a server that begins. What it returns is to be called once, when the call is over, with the HTTP status of its answer: one of 500 and more
// is a failure. It is 0 where there is nothing to be counted, as when the client has left.
func (c *Carried) Called(server string) (over func(status int)) {
	found, ok := c.servers.Load(server)
	if !ok {
		found, _ = c.servers.LoadOrStore(server, &carriedCalls{})
	}
	calls := found.(*carriedCalls)
	calls.active.Add(1)
	return func(status int) {
		switch {
		case status >= http.StatusInternalServerError:
			calls.failed.Add(1)
		case status > 0:
			calls.succeeded.Add(1)
		}
		calls.active.Add(-1)
	}
}

// forget drops what was counted of a server.
func (c *Carried) forget(server string) { c.servers.Delete(server) }

// Run has rates until the context ends.
func (c *Carried) Run(ctx context.Context) {
	eachInterval(ctx, func() {
		c.servers.Range(func(_, value any) bool {
			value.(*carriedCalls).look()
			return true
		})
	})
}

// eachInterval has something done at the end of each rateInterval, until the context ends.
func eachInterval(ctx context.Context, do func()) {
	ticker := time.NewTicker(rateInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// look makes the rates anew. Run alone calls it.
func (c *carriedCalls) look() {
	before := c.recent.Load()
	if before == nil {
		before = &recentCalls{}
	}
	now := &recentCalls{succeeded: c.succeeded.Load(), failed: c.failed.Load()}
	seconds := rateInterval.Seconds()
	now.errors = float64(now.failed-before.failed) / seconds
	now.rate = float64(now.succeeded-before.succeeded)/seconds + now.errors
	c.recent.Store(now)
}

// Calls are those of all servers that there were any of, by their names.
func (c *Carried) Calls() map[string]CarriedCalls {
	out := map[string]CarriedCalls{}
	c.servers.Range(func(name, value any) bool {
		calls := value.(*carriedCalls)
		one := CarriedCalls{Calls: Calls{Active: uint64(max(calls.active.Load(), 0)), Succeeded: calls.succeeded.Load(), Failed: calls.failed.Load()}} //nolint:gosec // it is not negative
		if recent := calls.recent.Load(); recent != nil {
			one.Rate, one.Errors = recent.rate, recent.errors
		}
		out[name.(string)] = one
		return true
	})
	return out
}
