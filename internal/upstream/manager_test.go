package upstream

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestApplyKeepsWhatDoesNotMatter: a change that the connection does not feel leaves session and endpoint alone.
func TestApplyKeepsWhatDoesNotMatter(t *testing.T) {
	withAll := func() config.Server {
		cfg := memoryConfig("weather")
		withCredential(&cfg)
		cfg.TLS = nil
		return cfg
	}
	for name, change := range map[string]func(*config.Server){
		"nothing":              func(*config.Server) {},
		"prefix":               func(c *config.Server) { c.ToolPrefix = "w_" },
		"uri prefix":           func(c *config.Server) { c.URIPrefix = true },
		"timeout":              func(c *config.Server) { c.Timeout = time.Minute },
		"tool timeouts":        func(c *config.Server) { c.ToolTimeouts = map[string]time.Duration{"a": 1} },
		"open calls":           func(c *config.Server) { c.MaxCalls, c.MaxConnections = 20, 4 },
		"the credential moved": func(c *config.Server) { c.Credential.Env = "TOKEN" },
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				t := b.t
				s := newScript()
				b.net.listen("weather:80", s)
				b.Apply(&config.Config{Servers: []config.Server{withAll()}})
				pass(time.Second)
				ep, published := b.Endpoint("weather"), len(b.board.all("weather"))
				cfg := withAll()
				change(&cfg)
				b.Apply(&config.Config{Servers: []config.Server{memoryConfig("new"), cfg}})
				pass(time.Second)
				assert.Same(t, ep, b.Endpoint("weather"))
				assert.Len(t, s.requests("initialize"), 1)
				assert.Len(t, b.board.all("weather"), published)
			})
		})
	}
}

// TestDiscovered: how long the last discovery took is known, and nothing of a server that was never reached.
func TestDiscovered(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		b.net.listen("weather:80", newScript())
		b.Apply(&config.Config{Servers: []config.Server{memoryConfig("weather"), memoryConfig("dead")}})
		began := time.Now()
		pass(time.Second)
		d := b.Discovered("weather")
		assert.False(t, d.At.Before(began))
		assert.GreaterOrEqual(t, d.Took, time.Duration(0))
		assert.Zero(t, b.Discovered("dead"))
		assert.Zero(t, b.Discovered("unknown"))
	})
}

// TestApplyReconnects: what the server gets changed. Where it is the same server, its tools stay on show meanwhile.
func TestApplyReconnects(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*config.Server)
		stays  bool
	}{
		"credential":     {func(c *config.Server) { c.Credential.Value = config.NewSecret("another") }, true},
		"no credential":  {func(c *config.Server) { c.Credential = nil }, true},
		"header":         {func(c *config.Server) { c.Headers[0].Value = "tenant-red" }, true},
		"authority":      {func(c *config.Server) { c.Hostname = "other.example.com" }, false},
		"path":           {func(c *config.Server) { c.Path = "/other" }, false},
		"bytes a second": {func(c *config.Server) { c.MaxBytesPerSecond = 1 << 20 }, true},
		"another server": {func(c *config.Server) { c.Host = "other" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, nil, func(b *bench) {
				t := b.t
				s, other := newScript(), newScript()
				other.session = "s-other"
				b.net.listen("weather:80", s)
				b.net.listen("other:80", other)
				cfg := memoryConfig("weather")
				withCredential(&cfg)
				b.Apply(&config.Config{Servers: []config.Server{cfg}})
				pass(time.Second)
				ep := b.Endpoint("weather")
				s.set(func() { s.session = "s-2" })

				cfg = memoryConfig("weather")
				withCredential(&cfg)
				tc.change(&cfg)
				published := len(b.board.all("weather"))
				b.Apply(&config.Config{Servers: []config.Server{cfg}})
				all := b.board.all("weather")
				require.Greater(t, len(all), published, "published before Apply returns")
				st := all[published]
				assert.Equal(t, catalog.HealthConnecting, st.Health)
				assert.Equal(t, tc.stays, st.Listing != nil)
				assert.NotSame(t, ep, b.Endpoint("weather"))
				pass(time.Second)
				st, _ = b.board.last("weather")
				assert.Equal(t, catalog.HealthReady, st.Health)
				assert.Equal(t, "s-1", s.requests("DELETE")[0].Session, "the old session was ended")
			})
		})
	}
}

func TestDisabledAndRemovedServers(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		b.net.listen("weather:80", s)
		off := memoryConfig("weather")
		off.Enabled = false
		b.Apply(&config.Config{Servers: []config.Server{off}})
		pass(time.Minute)
		assert.Equal(t, []catalog.Health{catalog.HealthDisabled}, b.board.healths("weather"))
		assert.Nil(t, b.Endpoint("weather"))
		assert.Empty(t, s.requests(""))
		b.Poke("weather")
		b.Poke("nobody")
		assert.Nil(t, b.Endpoint("nobody"))

		b.Apply(configOfNames("weather"))
		pass(time.Second)
		assert.Equal(t, []catalog.Health{catalog.HealthDisabled, catalog.HealthConnecting, catalog.HealthReady}, b.board.healths("weather"))

		b.Apply(&config.Config{Servers: []config.Server{off}})
		pass(time.Second)
		st, _ := b.board.last("weather")
		assert.Equal(t, catalog.HealthDisabled, st.Health)
		assert.Nil(t, st.Listing)
		assert.Len(t, s.requests("DELETE"), 1)

		b.Apply(configOfNames("weather"))
		pass(time.Second)
		b.Apply(&config.Config{})
		published := len(b.board.all("weather"))
		pass(time.Minute)
		assert.Nil(t, b.Endpoint("weather"))
		assert.Len(t, b.board.all("weather"), published, "who left is not told of")
		assert.Len(t, s.requests("DELETE"), 2)
	})
}

// TestUnusableConfiguration is a state of that server, and the others run.
func TestUnusableConfiguration(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		b.net.listen("good:80", newScript())
		bad := memoryConfig("bad")
		bad.Scheme, bad.TLS = "https", &config.TLS{CA: []byte("x"), CAFile: "ca.pem"}
		b.Apply(&config.Config{Servers: []config.Server{bad, memoryConfig("good")}})
		synctest.Wait()
		st, _ := b.board.last("bad")
		assert.Equal(t, catalog.HealthFailing, st.Health)
		assert.Equal(t, `no certificate in the CA file "ca.pem"`, st.LastError)
		assert.Nil(t, b.Endpoint("bad"))
		b.Poke("bad")
		st, _ = b.board.last("good")
		assert.Equal(t, catalog.HealthReady, st.Health)
	})
}

// TestStoppedWorkerIsNotHeard: what an old worker finds out late does not cover what the new one said.
func TestStoppedWorkerIsNotHeard(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.on["tools/list"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
			if r.Host == "weather" {
				time.Sleep(time.Second)
				answerJSON(w, m, tools("old"))
				return
			}
			answerJSON(w, m, tools("new"))
		}
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second - time.Nanosecond)
		cfg, old := memoryConfig("weather"), b.server("weather")
		cfg.Hostname = "new"
		b.Apply(&config.Config{Servers: []config.Server{cfg}})
		pass(10 * time.Second)
		// It may have been about to speak when it was stopped.
		b.publish(old, catalog.State{Health: catalog.HealthFailing})
		for _, st := range b.board.all("weather") {
			assert.NotContains(t, names(st, catalog.Tool), "old")
		}
		st, _ := b.board.last("weather")
		assert.Equal(t, []string{"new"}, names(st, catalog.Tool))
	})
}

func TestPoke(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather", "late"))
		pass(10*time.Minute + 5*time.Second) // between two listings
		s.set(func() { s.lists["tools/list"] = []string{tools("b")} })
		late := newScript()
		b.net.listen("late:80", late)
		st, _ := b.board.last("late")
		require.Equal(t, catalog.HealthFailing, st.Health)

		b.Poke("weather")
		b.Poke("late")
		pass(100 * time.Millisecond)
		st, _ = b.board.last("weather")
		assert.Equal(t, []string{"b"}, names(st, catalog.Tool))
		st, _ = b.board.last("late")
		assert.Equal(t, catalog.HealthReady, st.Health)
	})
}

// TestPokesDoNotHammer: whoever pokes on each failed call does not make it worse.
func TestPokesDoNotHammer(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		b.Apply(configOfNames("dead"))
		pass(time.Minute)
		before := b.net.dialled()
		for range 10_000 {
			b.Poke("dead")
			time.Sleep(time.Millisecond)
		}
		assert.LessOrEqual(t, b.net.dialled()-before, 101)
	})
}

// TestClose ends every session and then nothing is left.
func TestClose(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s, events := newScript(), newStream()
		s.on["GET"] = events.reply
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather", "dead"))
		pass(time.Minute)
		b.Close(t.Context())
		synctest.Wait()
		assert.Zero(t, b.net.open(), "connections are left")
		assert.Equal(t, "s-1", s.requests("DELETE")[0].Session)
		assert.Nil(t, b.Endpoint("weather"))
		published := len(b.board.all("weather"))
		b.Apply(configOfNames("weather"))
		pass(time.Minute)
		assert.Len(t, b.board.all("weather"), published)
		b.Close(t.Context())
	})
}

func TestCloseDoesNotWaitLongerThanAllowed(t *testing.T) {
	inBench(t, nil, func(b *bench) {
		t := b.t
		s := newScript()
		s.on["DELETE"] = hang
		b.net.listen("weather:80", s)
		b.Apply(configOfNames("weather"))
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		b.Close(ctx)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

// TestPublishOneAtATime: who listens need not lock, may ask for endpoints, and cannot take a worker down.
func TestPublishOneAtATime(t *testing.T) {
	var inside, most, calls atomic.Int32
	var m atomic.Pointer[Manager]
	inBench(t, func(o *ManagerOptions) {
		publish := o.Publish
		o.Logger = nil
		o.Publish = func(name string, st catalog.State) {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			publish(name, st)
			if m := m.Load(); m != nil {
				m.Endpoint(name)
				m.Poke(name)
			}
			calls.Add(1)
			panic("injected")
		}
	}, func(b *bench) {
		t := b.t
		m.Store(b.Manager)
		cfg := &config.Config{}
		for _, name := range []string{"a", "b", "c", "d"} {
			b.net.listen(name+":80", newScript())
			cfg.Servers = append(cfg.Servers, memoryConfig(name))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { b.Apply(cfg) })
		}
		wg.Wait()
		pass(time.Minute)
		assert.Equal(t, int32(1), most.Load())
		assert.Equal(t, int32(8), calls.Load())
		for _, name := range []string{"a", "b", "c", "d"} {
			st, _ := b.board.last(name)
			assert.Equal(t, catalog.HealthReady, st.Health)
		}
	})
}
