package config

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const watched = "/etc/gateway/config.yaml"

// servers writes a configuration of servers with the given names.
func servers(names ...string) string {
	var b strings.Builder
	b.WriteString("servers:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - {name: %s, url: 'http://%s'}\n", name, name)
	}
	return b.String()
}

// story is what a watch told, in order.
type story struct {
	told []string
	last *Config
}

func (s *story) options(current *Config) WatchOptions {
	return WatchOptions{
		Current: current,
		OnChange: func(c *Config) {
			s.last = c
			s.told = append(s.told, "change: "+nameList(c))
		},
		OnError:   func(err error) { s.told = append(s.told, "error: "+err.Error()) },
		OnRecover: func() { s.told = append(s.told, "recover") },
	}
}

func nameList(c *Config) string {
	names := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		names[i] = s.Name
	}
	return strings.Join(names, " ")
}

// scene watches a file that exists in the test only, by comparison alone and in the test's own time.
type scene struct {
	*memory
	*story
	t *testing.T
}

// often is a Poll that looks many times while a content must hold still, as events make the watch do.
const often = defaultDebounce / 7

// play runs the script in a bubble of time, once with the given content in force.
func play(t *testing.T, content string, script func(s scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		env := newMemory(map[string]string{watched: content})
		current, err := Load(watched, env)
		require.NoError(t, err)
		playFrom(t, env, current, script)
	})
}

func playFrom(t *testing.T, env *memory, current *Config, script func(s scene)) {
	t.Helper()
	playAt(t, defaultPoll, env, current, script)
}

func playAt(t *testing.T, poll time.Duration, env *memory, current *Config, script func(s scene)) {
	t.Helper()
	s := scene{memory: env, story: &story{}, t: t}
	ctx, cancel := context.WithCancel(t.Context())
	opts := s.options(current)
	opts.Poll = poll
	w := &watcher[*Config]{kind: configFile(), path: watched, env: env, opts: opts.withDefaults(), good: current}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, &folders{})
	}()
	s.pass(0)
	script(s)
	cancel()
	<-done
}

// pass lets time go by.
func (s scene) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect demands that exactly this was told since the last time.
func (s scene) expect(want ...string) {
	s.t.Helper()
	assert.Equal(s.t, want, s.told)
	s.told = nil
}

func TestWatchTellsAChangeWithinASecond(t *testing.T) {
	play(t, servers("a"), func(s scene) {
		s.pass(10 * time.Second)
		s.expect()
		for i := range 20 {
			// At any distance from the next look.
			s.pass(time.Duration(i) * 37 * time.Millisecond)
			name := fmt.Sprintf("b%d", i)
			s.write(watched, servers("a", name))
			s.pass(time.Second)
			s.expect("change: a " + name)
		}
	})
}

func TestWatchIsSilentWhereNothingChangesInMeaning(t *testing.T) {
	play(t, servers("a"), func(s scene) {
		for _, content := range []string{
			servers("a"), "# a remark\n" + servers("a"), `{"servers": [{"url": "http://a/mcp", "name": "a", "enabled": true}]}`, servers("a"),
		} {
			s.write(watched, content)
			s.pass(time.Minute)
		}
		s.expect()
	})
}

func TestWatchBeginsWithWhatIsInForce(t *testing.T) {
	tests := map[string]struct {
		current string
		content string
		want    []string
	}{
		"the same":                             {servers("a"), servers("a"), nil},
		"changed between loading and watching": {servers("a"), servers("b"), []string{"change: b"}},
		"nothing in force":                     {"", servers("a"), []string{"change: a"}},
		"nothing in force, no servers":         {"", "servers: []", []string{"change: "}},
		"nothing in force, bad":                {"", "servers: 1", []string{"error: " + watched + ":1:10: servers: must be a list, not a number"}},
		"bad since":                            {servers("a"), "servers: 1", []string{"error: " + watched + ":1:10: servers: must be a list, not a number"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env := newMemory(map[string]string{watched: tt.content})
				var current *Config
				if tt.current != "" {
					var err error
					current, err = Parse(watched, []byte(tt.current), env)
					require.NoError(t, err)
				}
				playFrom(t, env, current, func(s scene) {
					s.pass(time.Minute)
					s.expect(tt.want...)
				})
			})
		})
	}
}

// Invariant 8: a bad configuration never replaces a good one, and is reported whole.
func TestWatchKeepsTheGoodConfiguration(t *testing.T) {
	bad := "servers:\n  - {name: A, url: 'http://a'}\n  - {name: b}\n"
	report := "error: " + watched + `:2:12: servers[0].name: "A" must be a DNS label (lower-case letters, digits and inner hyphens, at most 63), or two as namespace/name` +
		"\n" + watched + ":3:5: servers[1].url: is required"
	play(t, servers("a"), func(s scene) {
		s.write(watched, bad)
		s.pass(time.Second)
		s.expect(report)
		s.pass(time.Hour)
		s.expect()

		s.write(watched, "servers: 1")
		s.pass(time.Second)
		s.expect("error: " + watched + ":1:10: servers: must be a list, not a number")

		s.write(watched, servers("a"))
		s.pass(time.Second)
		s.expect("recover")
		s.pass(time.Hour)
		s.expect()

		s.write(watched, bad)
		s.pass(time.Second)
		s.expect(report)
		s.write(watched, servers("a", "b"))
		s.pass(time.Minute)
		s.expect("change: a b")
	})
}

func TestWatchDoesNotTellOfMomentsOfWriting(t *testing.T) {
	moments := map[string]string{
		"empty": "", "cut in a line": "servers:\n  - {name: a, ur", "cut between lines": servers("a"), "only the head": "# The servers\nservers:\n", "not YAML": "\x00\x00",
	}
	for name, moment := range moments {
		for _, poll := range []time.Duration{defaultPoll, often} {
			t.Run(name+"/"+poll.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					env := newMemory(map[string]string{watched: servers("a", "b")})
					current, err := Load(watched, env)
					require.NoError(t, err)
					playAt(t, poll, env, current, func(s scene) { interrupt(s, moment) })
				})
			})
		}
	}
}

// interrupt writes in two steps, at any distance from the next look.
func interrupt(s scene, moment string) {
	for offset := time.Duration(0); offset < defaultPoll; offset += 20 * time.Millisecond {
		for _, names := range [][]string{{"a", "b", "c"}, {"a", "b"}} {
			s.pass(offset)
			s.write(watched, moment)
			s.pass(defaultDebounce - time.Millisecond)
			s.write(watched, servers(names...))
			s.pass(time.Second)
			s.expect("change: " + strings.Join(names, " "))
		}
	}
}

func TestWatchWaitsLongerBeforeAllServersGo(t *testing.T) {
	for _, content := range []string{"", "# only a remark", "servers: []"} {
		play(t, servers("a"), func(s scene) {
			s.write(watched, content)
			s.pass(drasticFactor*defaultDebounce - time.Millisecond)
			s.write(watched, servers("a"))
			s.pass(time.Minute)
			s.expect()

			s.write(watched, content)
			s.pass(defaultPoll + drasticFactor*defaultDebounce)
			s.expect("change: ")
			s.write(watched, servers("a"))
			s.pass(time.Second)
			s.expect("change: a")
		})
	}
}

// A change of virtual servers alone is a change, and a file without its last part is not taken for one that has lost them all.
func TestWatchTellsOfVirtualServers(t *testing.T) {
	with := func(tool string) string { return servers("a") + "virtualServers: [{name: v, tools: [" + tool + "]}]\n" }
	play(t, with("x"), func(s scene) {
		s.write(watched, with("y"))
		s.pass(time.Second)
		s.expect("change: a")
		assert.Equal(t, []VirtualServer{{Name: "v", Tools: []string{"y"}}}, s.last.VirtualServers)
		s.write(watched, servers("a"))
		s.pass(drasticFactor*defaultDebounce - time.Millisecond)
		s.write(watched, with("y"))
		s.pass(time.Minute)
		s.expect()
		s.write(watched, servers("a"))
		s.pass(defaultPoll + drasticFactor*defaultDebounce)
		s.expect("change: a")
		assert.Empty(t, s.last.VirtualServers)
	})
}

func TestWatchOutlivesAFileThatIsGone(t *testing.T) {
	play(t, servers("a"), func(s scene) {
		s.remove(watched)
		s.pass(defaultDebounce - time.Millisecond)
		s.write(watched, servers("a"))
		s.pass(time.Minute)
		s.expect()

		s.remove(watched)
		s.pass(time.Minute)
		s.expect("error: " + watched + ": the configuration file does not exist; --mcp-gateway-config names the file to read")
		s.write(watched, servers("a"))
		s.pass(time.Second)
		s.expect("recover")
	})
}

func TestWatchFollowsWhatTheFileRefersTo(t *testing.T) {
	content := "servers:\n" +
		"  - {name: a, url: 'http://a', credential: {file: token}}\n" +
		"  - {name: b, url: 'https://b', tls: {caFile: ca.pem}}\n" +
		"  - {name: c, url: 'http://c', credential: {env: TOKEN}}\n"
	synctest.Test(t, func(t *testing.T) {
		env := world(t)
		env.write(watched, content)
		env.write("/etc/gateway/token", "one")
		env.vars["TOKEN"] = "uno"
		current, err := Load(watched, env)
		require.NoError(t, err)
		playFrom(t, env, current, func(s scene) {
			s.write("/etc/gateway/token", "two\n")
			s.pass(time.Second)
			s.expect("change: a b c")
			assert.Equal(t, "two", s.last.Servers[0].Credential.Value.Reveal())

			s.write("/etc/gateway/token", "two")
			s.pass(time.Minute)
			s.expect()

			s.remove("/etc/gateway/token")
			s.pass(time.Second)
			s.expect("error: " + watched + `:2:51: servers[0].credential.file: the file "/etc/gateway/token" does not exist`)
			s.write("/etc/gateway/token", "two")
			s.pass(time.Second)
			s.expect("recover")

			ca, _ := s.ReadFile("/etc/gateway/ca.pem")
			s.write("/etc/gateway/ca.pem", string(ca)+string(ca))
			s.pass(time.Second)
			s.expect("change: a b c")

			s.mu.Lock()
			s.vars["TOKEN"] = "due"
			s.mu.Unlock()
			s.pass(time.Second)
			s.expect("change: a b c")
			assert.Equal(t, "due", s.last.Servers[2].Credential.Value.Reveal())
		})
	})
}

// Two servers with one credential file must not get two of its states.
func TestOneReadingSeesOneStateOfAFile(t *testing.T) {
	env := newMemory(map[string]string{watched: "servers:\n" +
		"  - {name: a, url: 'http://a', credential: {file: token}}\n" +
		"  - {name: b, url: 'http://b', credential: {file: token}}\n"})
	r := read(watched, &flicker{memory: env}, Load)
	require.NoError(t, r.err)
	assert.True(t, r.value.Servers[0].Credential.Value.Equal(r.value.Servers[1].Credential.Value))
}

// flicker gives every reader another content of the token.
type flicker struct {
	*memory
	reads int
}

func (f *flicker) ReadFile(path string) ([]byte, error) {
	if strings.HasSuffix(path, "token") {
		f.reads++
		return fmt.Appendf(nil, "token-%d", f.reads), nil
	}
	return f.memory.ReadFile(path)
}

func TestWatchNeedsNoCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := newMemory(map[string]string{watched: servers("a")})
		ctx, cancel := context.WithCancel(t.Context())
		w := &watcher[*Config]{kind: configFile(), path: watched, env: env, opts: WatchOptions{}.withDefaults()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.run(ctx, &folders{})
		}()
		for _, content := range []string{servers("b"), "servers: 1", servers("b")} {
			env.write(watched, content)
			time.Sleep(time.Second)
		}
		cancel()
		<-done
		assert.Equal(t, "b", nameList(w.good))
	})
}
