package dataplane_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// fifty are servers of which three are bad: one hangs, one floods, one resets.
type fifty struct {
	*testbed.Gateway

	good   []string // tools
	bad    map[string]*testbed.Upstream
	floods *flood
}

func startFifty(t *testing.T, mode testbed.Mode) *fifty {
	t.Helper()
	const servers = 50
	f := &fifty{floods: &flood{left: make(chan struct{}, 1<<16)}, bad: map[string]*testbed.Upstream{}}
	upstreams := map[string]*testbed.Upstream{}
	bad := map[string]func(http.ResponseWriter, *testbed.Call){
		"hangs":  func(_ http.ResponseWriter, c *testbed.Call) { <-c.Context().Done() },
		"floods": f.floods.call,
		"resets": hijacked(""),
	}
	var tools []string
	for name, call := range bad {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool", Call: call}}})
		f.bad[name], upstreams[name], tools = u, u, append(tools, name+"_tool")
	}
	for i := range servers - len(bad) {
		name := fmt.Sprintf("good-%d", i)
		upstreams[name] = testbed.NewUpstream(t, testbed.Script{Sessionless: i%2 == 0, Tools: []testbed.Tool{{Name: "tool"}}})
		f.good = append(f.good, name+"_tool")
	}
	f.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(upstreams)})
	f.AwaitTools(t, append(tools, f.good...)...)
	return f
}

// trouble has the bad ones called all the time until it ends: one reads as fast as it can, or as often as every says, the others do not read at all.
func (f *fifty) trouble(t *testing.T, calls int, every time.Duration) (end func()) {
	t.Helper()
	c := testbed.Connect(t, f.Endpoint)
	var wait sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	sent := f.floods.sent.Load()
	before := map[string]int{}
	for name, u := range f.bad {
		before[name] = len(u.Calls(c.Name, testbed.RPC("tools/call")))
		for _, calls := range []int{calls, 1, 1, 1} {
			body, _ := c.ToolCall(name+"_tool", "{}")
			wait.Go(func() { provoke(ctx, c, body, calls, every) })
		}
	}
	testbed.Await(t, "them all to be at it", func() bool {
		for name, u := range f.bad {
			if len(u.Calls(c.Name, testbed.RPC("tools/call"))) == before[name] {
				return false
			}
		}
		return f.floods.sent.Load() > sent
	})
	return func() {
		stop()
		wait.Wait()
	}
}

// provoke makes one call after the other and reads a little of each answer, and in the end makes one that it does not read for as long as it goes on.
func provoke(ctx context.Context, c *testbed.Client, body string, calls int, every time.Duration) {
	for i := 0; i < calls && ctx.Err() == nil; i++ {
		req, err := c.Request(ctx, http.MethodPost, strings.NewReader(body))
		if err != nil {
			return
		}
		if every > 0 && i > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
		resp, err := c.HTTP.Do(req)
		if err != nil {
			continue // it has been reset, or all is over
		}
		if i < calls-1 {
			_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
		} else {
			<-ctx.Done()
		}
		_ = resp.Body.Close()
	}
}

// TestFiftyServers: one hangs, one floods, one resets; the others answer every call (Invariant 12).
func TestFiftyServers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		const callers, rounds = 4, 2
		f := startFifty(t, mode)
		end := f.trouble(t, 20, 0)
		var failed atomic.Int64
		var calls sync.WaitGroup
		for range callers {
			c := testbed.Connect(t, f.Endpoint)
			calls.Go(func() {
				for range rounds {
					for _, tool := range f.good {
						if err := tryCall(t, c, tool); err != nil {
							failed.Add(1)
							t.Log(err)
						}
					}
				}
			})
		}
		calls.Wait()
		end()
		assert.Zero(t, failed.Load(), "of %d calls", callers*rounds*len(f.good))
	})
}

func tryCall(t *testing.T, c *testbed.Client, tool string) error {
	body, _ := c.ToolCall(tool, "{}")
	a, err := c.TryDo(t, http.MethodPost, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	if a.Status != http.StatusOK || !strings.Contains(a.Body, `"result"`) {
		return fmt.Errorf("%s: %v", tool, a)
	}
	return nil
}

const (
	// maxSlower is how many times the larger p99 of the two runs without the bad servers that of the run with them may be. It finds out a gateway in which
	// others wait for the bad ones. That they get less CPU is seen in the numbers: docs/capacity.md has some, which are not what is wanted.
	maxSlower = 20
	// maxNoise is what a p99 may be in any case: less than a turn or two of the scheduler's is no measurement.
	maxNoise = 20 * time.Millisecond
)

// TestFiftyServersTime measures how long calls of the other 47 take, without the bad ones, with them, and without them again, in turn so that what else the
// machine does comes to all of them. It takes a minute, on a machine that has nothing else to do: make chaos runs it.
func TestFiftyServersTime(t *testing.T) {
	if os.Getenv("CHAOS_TIME") == "" {
		t.Skip("measures times: make chaos runs it")
	}
	const rounds, long = 5, 3 * time.Second
	f := startFifty(t, testbed.Standalone)
	var clients []*testbed.Client
	for range 10 {
		clients = append(clients, testbed.Connect(t, f.Endpoint))
	}
	f.times(t, clients, 4*time.Second) // each has called each server
	runs := []string{"without", "with", "without again"}
	p50, p99 := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range rounds {
		for _, run := range runs {
			end := func() {}
			if run == "with" {
				end = f.trouble(t, 1<<30, time.Second)
			}
			took := f.times(t, clients, long)
			end()
			p50[run], p99[run] = append(p50[run], quantile(took, 0.5)), append(p99[run], quantile(took, 0.99))
		}
	}
	usual := map[string]time.Duration{}
	for _, run := range runs {
		slices.Sort(p50[run])
		slices.Sort(p99[run])
		usual[run] = quantile(p99[run], 0.5)
		t.Logf("%-13s p50 %8v; p99 %8v, of the rounds %v", run, quantile(p50[run], 0.5), usual[run], p99[run])
	}
	assert.LessOrEqual(t, usual["with"], max(maxSlower*usual["without"], maxSlower*usual["without again"], maxNoise))
}

// times calls the good servers in turn, 200 times a second, each call at its own time however long those before it take, and returns in order how long
// each took.
func (f *fifty) times(t *testing.T, clients []*testbed.Client, long time.Duration) []time.Duration {
	t.Helper()
	const every = 5 * time.Millisecond
	took := make([]time.Duration, int(long/every))
	errs := make([]error, len(took))
	var calls sync.WaitGroup
	began := time.Now()
	for i := range took {
		due := began.Add(time.Duration(i) * every)
		time.Sleep(time.Until(due))
		calls.Go(func() {
			errs[i] = tryCall(t, clients[i%len(clients)], f.good[i%len(f.good)])
			took[i] = time.Since(due)
		})
	}
	calls.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	slices.Sort(took)
	return took
}

// quantile is one of sorted times.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)-1))].Round(10 * time.Microsecond)
}
