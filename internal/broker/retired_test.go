package broker_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// versioned gives a server a header, as a configuration with another credential does, and tells the broker before.
func (f *fixture) versioned(name, version string, calls time.Duration) {
	f.t.Helper()
	f.retire(name, calls)
	for i := range f.config {
		if f.config[i].Name != name {
			continue
		}
		f.config[i].Headers = []config.Header{{Name: "X-Version", Value: version}}
		ep, err := upstream.NewEndpoint(f.config[i], f.net.endpoint())
		require.NoError(f.t, err)
		f.t.Cleanup(ep.Close)
		f.endpoints[name] = ep
	}
	f.rebuild()
}

// remove takes a server out of the configuration.
func (f *fixture) remove(name string, calls time.Duration) {
	f.t.Helper()
	f.retire(name, calls)
	var kept []config.Server
	for _, s := range f.config {
		if s.Name != name {
			kept = append(kept, s)
		}
	}
	f.config = kept
	delete(f.endpoints, name)
	f.rebuild()
}

func (f *fixture) retire(name string, calls time.Duration) {
	ep := f.endpoints[name]
	f.broker.Retire([]broker.Retired{{Server: name, Fingerprint: ep.Fingerprint(), Endpoint: ep, Calls: calls}})
}

func deletes(s *script) (sessions, versions []string) {
	for _, r := range s.requests(http.MethodDelete) {
		sessions, versions = append(sessions, r.session), append(versions, r.header.Get("X-Version"))
	}
	return sessions, versions
}

// TestServerChanged: what sessions have with a server that is reached in another way now is ended, in the way in which it was opened, and not while a call
// may use it. A session that has opened another one keeps that.
func TestServerChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript()
		f := setup{net: newMemory(), servers: []server{scripted("weather", weather)}}.start(t)
		rests, calls := f.initialize(), f.initialize()
		f.do(callOf(rests, "weather", "1", "t"))
		f.do(callOf(calls, "weather", "1", "t"))
		f.versioned("weather", "2", 20*time.Second)
		f.do(callOf(calls, "weather", "2", "t"))
		assert.Len(t, weather.requests("initialize"), 3)
		time.Sleep(24 * time.Second)
		synctest.Wait()
		assert.Empty(t, weather.requests(http.MethodDelete), "a call may take as long")

		time.Sleep(2 * time.Second)
		synctest.Wait()
		sessions, versions := deletes(weather)
		assert.ElementsMatch(t, []string{"s-1", "s-2"}, sessions)
		assert.Equal(t, []string{"", ""}, versions, "as it was reached then")
		f.do(callOf(calls, "weather", "3", "t"))
		assert.Len(t, weather.requests("initialize"), 3, "what was opened since is kept")
		f.do(callOf(rests, "weather", "3", "t"))
		assert.Len(t, weather.requests("initialize"), 4)
	})
}

// TestServerChangedBack: a way that is in force again is not ended, but for what was replaced in between.
func TestServerChangedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript()
		f := setup{net: newMemory(), servers: []server{scripted("weather", weather)}}.start(t)
		f.versioned("weather", "1", time.Second)
		rests, calls := f.initialize(), f.initialize()
		f.do(callOf(rests, "weather", "1", "t"))
		f.do(callOf(calls, "weather", "1", "t"))
		f.versioned("weather", "2", time.Second)
		f.do(callOf(calls, "weather", "2", "t"))
		f.versioned("weather", "1", time.Second)
		f.do(callOf(calls, "weather", "3", "t"))
		time.Sleep(time.Minute)
		synctest.Wait()
		sessions, versions := deletes(weather)
		assert.ElementsMatch(t, []string{"s-2", "s-3"}, sessions)
		assert.ElementsMatch(t, []string{"1", "2"}, versions)
		f.do(callOf(rests, "weather", "2", "t"))
		f.do(callOf(calls, "weather", "4", "t"))
		assert.Len(t, weather.requests("initialize"), 4)
	})
}

// TestServerRemoved: likewise with one that is reached no more, and sooner where its session ends before.
func TestServerRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather, other := newScript(), newScript()
		f := setup{net: newMemory(), servers: []server{scripted("weather", weather), scripted("other", other)}}.start(t)
		stays, leaves := f.initialize(), f.initialize()
		for _, token := range []string{stays, leaves} {
			f.do(callOf(token, "weather", "1", "t"))
			f.do(callOf(token, "other", "1", "t"))
		}
		f.remove("weather", time.Minute)
		f.do(request{method: http.MethodDelete, session: leaves})
		synctest.Wait()
		sessions, _ := deletes(weather)
		assert.Equal(t, []string{"s-2"}, sessions)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		sessions, _ = deletes(weather)
		assert.Equal(t, []string{"s-2", "s-1"}, sessions)
		sessions, _ = deletes(other)
		assert.Equal(t, []string{"s-2"}, sessions)
	})
}

// TestDeadServerRemoved: it costs no other one its time, and nobody for long (Invariant 12).
func TestDeadServerRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, weather := newScript().does(http.MethodDelete, hang), newScript()
		f := setup{net: newMemory(), servers: []server{scripted("dead", dead), scripted("weather", weather)}}.start(t)
		const sessions = 100
		for range sessions {
			token := f.initialize()
			f.do(callOf(token, "dead", "1", "t"))
			f.do(callOf(token, "weather", "1", "t"))
		}
		f.remove("dead", 0)
		f.remove("weather", 0)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		assert.Len(t, weather.requests(http.MethodDelete), sessions)
		assert.Len(t, dead.requests(http.MethodDelete), 4, "at a time")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.InDelta(t, 48, len(dead.requests(http.MethodDelete)), 4, "in a minute, with five seconds for each")
	})
}

// TestServerChangedAtReplicas: of several replicas that know a session, one ends it.
func TestServerChangedAtReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		weather := newScript()
		net, shared, key := newMemory(), store.NewMemory(), session.GenerateKey()
		a := setup{net: net, key: key, session: session.Options{Store: shared}, servers: []server{scripted("weather", weather)}}.start(t)
		b := setup{net: net, key: key, session: session.Options{Store: shared}}.start(t)
		b.config, b.states, b.endpoints = append([]config.Server(nil), a.config...), a.states, map[string]*upstream.Endpoint{"weather": a.endpoints["weather"]}
		b.rebuild()
		rests, calls := a.initialize(), a.initialize()
		for _, token := range []string{rests, calls} {
			a.do(callOf(token, "weather", "1", "t"))
			b.do(callOf(token, "weather", "2", "t"))
		}
		require.Len(t, weather.requests("initialize"), 2)
		for _, f := range []*fixture{a, b} {
			f.versioned("weather", "2", 0)
		}
		b.do(callOf(calls, "weather", "3", "t"))
		time.Sleep(time.Minute)
		synctest.Wait()
		sessions, versions := deletes(weather)
		assert.ElementsMatch(t, []string{"s-1", "s-2"}, sessions, "each once")
		assert.Equal(t, []string{"", ""}, versions)
	})
}
