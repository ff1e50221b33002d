package scale_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// steady is the server that is called meanwhile, other one that comes and goes.
const steadyTool = "steady_tool"

// reload writes the configuration that has a number. It differs from the one before in how the called server is reached, or in which others there are.
func reload(t testing.TB, g *testbed.Gateway, s *server, n int) {
	t.Helper()
	steady, other := testbed.ServerSpec("steady", s.url), testbed.ServerSpec("other", s.url+"/other")
	steady.Headers = map[string]string{"X-Version": fmt.Sprint(n / 3)}
	other.ToolPrefix = fmt.Sprintf("other%d_", n)
	servers := []config.ServerSpec{steady, other}
	if n%3 == 1 {
		servers = servers[:1]
	}
	testbed.WriteConfig(t, g.Config, servers...)
}

// load is calls that go on until they are stopped.
type load struct {
	stop chan struct{}
	wait sync.WaitGroup
}

// callOn makes calls of sessions, one after the other, by some clients at once. Each session is ended after some calls, and another begun.
func (l *loader) callOn(clients int, tool string, turn func(s *session) error) *load {
	out := &load{stop: make(chan struct{})}
	for range clients {
		out.wait.Go(func() {
			for {
				s, err := l.open()
				if err != nil {
					l.failed(err)
					return
				}
				for range 20 {
					select {
					case <-out.stop:
						l.failed(l.end(s))
						return
					default:
					}
					l.failed(l.call(s, tool))
				}
				l.failed(turn(s))
				l.failed(l.end(s))
			}
		})
	}
	return out
}

func (l *load) end() {
	close(l.stop)
	l.wait.Wait()
}

// TestReloads: a thousand changes of the configuration while calls are made. None of these fails, and nothing is left behind by the changes.
func TestReloads(t *testing.T) {
	reloads := inFull(t, 30, 1_000)
	raiseLimit(t, 1_000)
	s := startServer(t)
	g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Fed, Plain: true, Flags: []string{"--log-level", "warn"}})
	reload(t, g, s, 0)
	g.AwaitTools(t, steadyTool)
	g.AwaitProgrammed(t)
	l := newLoader(t, g.Base)
	listeners := l.openMany(50, steadyTool)
	l.each(listeners, l.listen)
	load := l.callOn(8, steadyTool, func(*session) error { return nil })
	const success = `mcp_gateway_config_reloads_total{result="success"}`
	taken := g.Metric(t, success)
	began := time.Now()
	var before sample
	for n := 1; n <= reloads; n++ {
		reload(t, g, s, n)
		testbed.Await(t, "the change to be taken", func() bool { return g.Metric(t, success) >= taken+float64(n) })
		if n == reloads/10 {
			before = measure(t, g)
		}
		if n%100 == 0 {
			t.Logf("%d reloads in %.0f s, %d calls: %v", n, time.Since(began).Seconds(), l.calls.Load(), measure(t, g))
		}
	}
	took := time.Since(began)
	load.end()
	l.check(t)
	after := measure(t, g)
	t.Logf("%d reloads in %.1f s, %d calls; before %v; after %v", reloads, took.Seconds(), l.calls.Load(), before, after)
	for _, s := range listeners {
		assert.False(t, s.cut.Load(), "a stream ended")
		assert.Positive(t, s.events.Load(), "a stream told of nothing")
	}
	assert.LessOrEqual(t, after.goroutines, before.goroutines+50)
	assert.LessOrEqual(t, after.files, before.files+50)
	assert.LessOrEqual(t, after.live, before.live+8<<20)
}
