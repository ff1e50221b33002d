package scale_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	// withStream and withoutStream are the most KiB that the gateway may hold for a session. A handler of net/http that does nothing but wait takes 25.
	withStream    = 48
	withoutStream = 2
)

// TestSessions: ten thousand sessions, each with calls and an open stream, through one gateway. Nothing fails, nobody misses a notification, and a session
// costs the gateway no more than it may.
func TestSessions(t *testing.T) {
	const tool = "s0_tool"
	some, half := inFull(t, 1_000, 20_000), inFull(t, 1_000, 5_000)
	streams := 2 * half
	// Envoy has two connections for each stream, one to the client and one to the broker. Where one process may not have so many, several share the port.
	limit := raiseLimit(t, streams+1_000)
	s := startServer(t)
	g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Fed, Plain: true, Servers: []config.ServerSpec{spec("s", s.url, 0)}, Flags: []string{"--log-level", "warn"}})
	for range (2*streams + 1_000) / limit {
		g.AnotherEnvoy(t)
	}
	g.AwaitTools(t, tool)
	g.AwaitProgrammed(t)
	l := newLoader(t, g.Base)

	step := func(what string, f func()) sample {
		const cpu = "process_cpu_seconds_total"
		began, calls, spent := time.Now(), l.calls.Load(), metrics(t, g)[cpu]
		f()
		l.check(t)
		took, calls, spent := time.Since(began), l.calls.Load()-calls, metrics(t, g)[cpu]-spent
		m := measure(t, g)
		t.Logf("%s in %.1f s, of the gateway's CPU %.2f s, %d calls: %v; Envoy %.0f MiB", what, took.Seconds(), spent, calls, m, envoys(t, g)/(1<<20))
		return m
	}
	var sessions []*session
	grow := func() { sessions = append(sessions, l.openMany(some, tool)...) }
	// What a burst of work leaves behind is not what sessions take.
	step("warm-up", func() { l.each(l.openMany(half, tool), l.end) })
	first := step("the first half of the sessions", grow)
	second := step("all sessions", grow)
	listening := step("the first half of the streams", func() { l.each(sessions[:half], l.listen) })
	everyone := step("all streams", func() { l.each(sessions[half:streams], l.listen) })
	with := sessions[:streams]
	called := step("a call of each session beside its stream", func() { l.each(with, func(s *session) error { return l.call(s, tool) }) })

	without, stream := second.per(first, some), everyone.per(listening, half)
	both := called.per(second, streams)
	t.Logf("a session without stream: %v", without)
	t.Logf("a stream more:            %v (of the second half)", stream)
	t.Logf("a stream more:            %v (of all)", both)
	assert.LessOrEqual(t, both.resident+max(without.resident, without.live), float64(withStream), "KiB for a session with a stream")
	if _, full := soakTime(t); full {
		t.Logf("streams that rest take %.1f %% of a CPU", 100*restingCPU(t, g))
		// Few sessions would be lost in what else comes and goes.
		assert.LessOrEqual(t, without.resident, float64(withoutStream), "KiB for a session without a stream")
	}

	testbed.WriteConfig(t, g.Config, spec("s", s.url, 1))
	heardOnce(t, with)
	ended := step("the end of all", func() { l.each(sessions, l.end) })
	assert.Less(t, ended.goroutines, first.goroutines+200, "what streams had ends with them")
	assert.Less(t, ended.files, first.files+200)
}

// heardOnce waits until every stream has told of a change, and fails if one tells more.
func heardOnce(t *testing.T, sessions []*session) {
	t.Helper()
	began := time.Now()
	testbed.Await(t, "every stream to tell of the change", func() bool {
		for _, s := range sessions {
			if s.events.Load() == 0 && !s.cut.Load() {
				return false
			}
		}
		return true
	})
	t.Logf("every stream told of a change within %.2f s", time.Since(began).Seconds())
	time.Sleep(time.Second) // nothing more may come
	cut, wrong := 0, 0
	for _, s := range sessions {
		if s.cut.Load() {
			cut++
		}
		if s.events.Load() != 1 {
			wrong++
		}
	}
	assert.Zero(t, cut, "streams that ended")
	assert.Zero(t, wrong, "streams that did not tell of the change once")
}

// envoys is what all Envoys hold.
func envoys(t testing.TB, g *testbed.Gateway) (sum float64) {
	t.Helper()
	for _, e := range g.Envoys() {
		sum += resident(t, e)
	}
	return sum
}
