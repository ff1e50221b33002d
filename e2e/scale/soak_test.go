package scale_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestSoak: sessions come, call, listen and go while the configuration changes, for as long as is asked for. Nothing fails, nothing grows, and where
// the tests have the race detector, so has the gateway.
func TestSoak(t *testing.T) {
	d, _ := soakTime(t)
	raiseLimit(t, 1_000)
	s := startServer(t)
	g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Fed, Flags: []string{"--log-level", "warn"}})
	reload(t, g, s, 0)
	g.AwaitTools(t, steadyTool)
	g.AwaitProgrammed(t)
	l := newLoader(t, g.Base)
	listened := func(s *session) error {
		if err := l.listen(s); err != nil {
			return err
		}
		return l.call(s, steadyTool)
	}
	load := l.callOn(8, steadyTool, listened)
	samples := inFull(t, 9, 30)
	var (
		begun   = time.Now()
		every   = d / time.Duration(samples)
		taken   []sample
		reloads int
		changed time.Time
	)
	for n := 1; n <= samples; n++ {
		for again := true; again; again = time.Since(begun) < time.Duration(n)*every {
			if time.Since(changed) > time.Second {
				reloads++
				changed = time.Now()
				reload(t, g, s, reloads)
			}
			time.Sleep(20 * time.Millisecond)
		}
		m := measure(t, g)
		taken = append(taken, m)
		t.Logf("%v: %d calls, %d sessions, %d reloads, %.0f open sessions: %v", time.Since(begun).Round(time.Second), l.calls.Load(), s.opened.Load(), reloads,
			g.Metric(t, "mcp_gateway_sessions"), m)
		l.check(t)
	}
	load.end()
	l.check(t)
	// The first third warms up.
	middle, last := usual(taken[samples/3:2*samples/3]), usual(taken[2*samples/3:])
	t.Logf("the second third had %v; the last %v", middle, last)
	assert.LessOrEqual(t, last.goroutines, middle.goroutines*1.2+50)
	assert.LessOrEqual(t, last.files, middle.files*1.2+50)
	assert.LessOrEqual(t, last.live, middle.live*1.2+4<<20)
	if !testbed.Raced() { // the race detector keeps something of every goroutine that there was
		assert.LessOrEqual(t, last.resident, middle.resident*1.2+32<<20)
	}
	testbed.Await(t, "all sessions to have ended", func() bool { return g.Metric(t, "mcp_gateway_sessions") == 0 })
}

// usual is the median of each quantity.
func usual(of []sample) sample {
	median := func(read func(sample) float64) float64 {
		var all []float64
		for _, m := range of {
			all = append(all, read(m))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return sample{
		resident: median(func(m sample) float64 { return m.resident }), live: median(func(m sample) float64 { return m.live }),
		stacks: median(func(m sample) float64 { return m.stacks }), goroutines: median(func(m sample) float64 { return m.goroutines }),
		files: median(func(m sample) float64 { return m.files }),
	}
}
