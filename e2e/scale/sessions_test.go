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
	half := inFull(t, 1_000, 5_000)
	all := 2 * half
	// Envoy has two connections for each stream, one to the client and one to the broker. Where one process may not have so many, several share the port.
	limit := raiseLimit(t, all+1_000)
	envoys := 1 + (2*all+500)/limit
	s := startServer(t)
	g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Fed, Plain: true, Servers: []config.ServerSpec{spec("s", s.url, 0)}, Flags: []string{"--log-level", "warn"}})
	for range envoys - 1 {
		g.AnotherEnvoy(t)
	}
	g.AwaitTools(t, "s0_tool")
	g.AwaitProgrammed(t)
	const tool = "s0_tool"
	l := newLoader(t, g.Base)

	step := func(what string, f func()) sample {
		began, calls := time.Now(), l.calls.Load()
		f()
		l.check(t)
		took := time.Since(began)
		m := settled(t, g)
		t.Logf("%s in %.1f s, %d calls: %v", what, took.Seconds(), l.calls.Load()-calls, m)
		return m
	}
	sessions := make([]*session, 0, all)
	grow := func() { sessions = append(sessions, l.openMany(half, tool)...) }
	// What a burst of work leaves behind is not what sessions take.
	warm := step("warm-up", func() { l.each(l.openMany(all, tool), l.end) })
	first := step("the first half of the sessions", grow)
	second := step("all sessions", grow)
	listening := step("streams of the first half", func() { l.each(sessions[:half], l.listen) })
	everyone := step("all streams", func() { l.each(sessions[half:], l.listen) })
	call := func() { l.each(sessions, func(s *session) error { return l.call(s, tool) }) }
	called := step("a call of each session beside its stream", call)

	t.Logf("a session of the first half:        %s", first.perSession(warm, half))
	t.Logf("a session without stream:           %s", second.perSession(first, half))
	t.Logf("a stream of the first half:         %s", listening.perSession(second, half))
	t.Logf("a stream:                           %s", everyone.perSession(listening, half))
	t.Logf("a session with stream, all of them: %s", called.perSession(warm, all))
	for i, e := range g.Envoys() {
		t.Logf("Envoy %d of %d: %.1f MiB", i+1, envoys, resident(t, e)/(1<<20))
	}
	assert.LessOrEqual(t, called.kibMore(warm, all), float64(withStream), "KiB for a session with a stream")
	assert.LessOrEqual(t, second.kibMore(warm, all), float64(withoutStream), "KiB for a session without a stream")

	testbed.WriteConfig(t, g.Config, spec("s", s.url, 1))
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
	ended := step("the end of all", func() { l.each(sessions, l.end) })
	testbed.Await(t, "every goroutine of a stream to end", func() bool { return measure(t, g).goroutines < warm.goroutines+200 })
	t.Logf("left: %v", ended)
}
