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

// fifty are servers of which four are bad: one hangs, two flood, of which one may not, and one resets.
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
		"paced":  f.floods.call,
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
	all := specs(upstreams)
	for i := range all {
		if all[i].Name == "paced" {
			all[i].MaxBytesPerSecond = new(int)
			*all[i].MaxBytesPerSecond = 1 << 20
		}
	}
	f.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: all})
	f.AwaitTools(t, append(tools, f.good...)...)
	return f
}

// trouble has bad ones called all the time until it ends: one reads as fast as it can, or as often as every says, the others do not read at all.
func (f *fifty) trouble(t *testing.T, calls int, every time.Duration, bad ...string) (end func()) {
	t.Helper()
	c := testbed.Connect(t, f.Endpoint)
	var wait sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	sent := f.floods.sent.Load()
	before := map[string]int{}
	for _, name := range bad {
		u := f.bad[name]
		before[name] = len(u.Calls(c.Name, testbed.RPC("tools/call")))
		for _, calls := range []int{calls, 1, 1, 1} {
			body, _ := c.ToolCall(name+"_tool", "{}")
			wait.Go(func() { provoke(ctx, c, body, calls, every) })
		}
	}
	testbed.Await(t, "them all to be at it", func() bool {
		for _, name := range bad {
			if len(f.bad[name].Calls(c.Name, testbed.RPC("tools/call"))) == before[name] {
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

// TestFiftyServers: one hangs, two flood, one resets; the others answer every call (Invariant 12).
func TestFiftyServers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		const callers, rounds = 4, 2
		f := startFifty(t, mode)
		end := f.trouble(t, 20, 0, "hangs", "floods", "paced", "resets")
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

// maxSlower is how many times the larger p99 of the two runs without bad servers that of the run with a flood that nothing bounds may be. It finds out a
// gateway in which others wait for the bad ones. That they get less CPU is seen in the numbers, some of which are in docs/capacity.md: maxBytesPerSecond is
// for that.
const maxSlower = 5

// TestFiftyServersTime measures how long calls of the other 46 take: without the bad ones, while one hangs, one floods and one resets, while one that floods
// has a limit, and without them again; in turn, so that what else the machine does comes to all of them. With the limit, the usual p99 is within the noise:
// no larger than the largest of those without bad servers, of which there are twice as many. It takes a minute and a half, on a machine that has nothing else
// to do: make chaos runs it.
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
	const before, flood, bounded, after = "without", "with a flood", "with a limit", "without again"
	runs := []string{before, flood, bounded, after}
	bad := map[string][]string{flood: {"hangs", "floods", "resets"}, bounded: {"hangs", "paced", "resets"}}
	p50, p99 := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range rounds {
		for _, run := range runs {
			end := func() {}
			if bad[run] != nil {
				end = f.trouble(t, 1<<30, time.Second, bad[run]...)
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
	noise := slices.Max(slices.Concat(p99[before], p99[after]))
	assert.LessOrEqual(t, usual[bounded], noise, "with a limit")
	assert.LessOrEqual(t, usual[flood], maxSlower*max(usual[before], usual[after]), "without")
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
