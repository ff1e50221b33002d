package config

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deadline is generous for busy machines; that a change is told within a second is proved in fake time.
const deadline = 10 * time.Second

// heard is one call of a watch's callbacks.
type heard struct {
	config *Config
	err    error
}

// listen watches the file until the test ends, either by events alone or by comparison alone.
func listen(t *testing.T, path, by string) <-chan heard {
	t.Helper()
	current, err := Load(path, OS())
	require.NoError(t, err)
	calls := make(chan heard, 100)
	opts := WatchOptions{
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Current:  current,
		OnChange: func(c *Config) { calls <- heard{config: c} },
		OnError:  func(err error) { calls <- heard{err: err} },
		OnRecover: func() {
			calls <- heard{}
		},
		// On a busy machine a test may be held up between two steps that belong together.
		Debounce: 200 * time.Millisecond,
		Poll:     50 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if by == "comparison" {
			w := &watcher[*Config]{kind: configFile(), path: path, env: OS(), opts: opts, good: current}
			w.run(ctx, &folders{})
			return
		}
		opts.Poll = time.Hour
		Watch(ctx, path, OS(), opts)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return calls
}

func next(t *testing.T, calls <-chan heard) heard {
	t.Helper()
	select {
	case call := <-calls:
		return call
	case <-time.After(deadline):
		require.FailNow(t, "nothing was told")
		return heard{}
	}
}

// expectServers demands that the next thing told is a configuration of these servers.
func expectServers(t *testing.T, calls <-chan heard, want string) *Config {
	t.Helper()
	call := next(t, calls)
	require.NoError(t, call.err)
	require.NotNil(t, call.config, "recovered")
	require.Equal(t, want, nameList(call.config))
	return call.config
}

// home is a folder as a configuration lives in it.
type home struct {
	t    *testing.T
	root string
}

func (h home) path(parts ...string) string {
	return filepath.Join(append([]string{h.root}, parts...)...)
}

func (h home) write(name, content string) {
	h.t.Helper()
	require.NoError(h.t, os.MkdirAll(filepath.Dir(h.path(name)), 0o755))
	require.NoError(h.t, os.WriteFile(h.path(name), []byte(content), 0o600))
}

// replace writes beside and renames over, as careful writers do.
func (h home) replace(name, content string) {
	h.t.Helper()
	h.write(name+".new", content)
	h.rename(name+".new", name)
}

func (h home) rename(from, to string) {
	h.t.Helper()
	require.NoError(h.t, os.Rename(h.path(from), h.path(to)))
}

func (h home) remove(name string) {
	h.t.Helper()
	require.NoError(h.t, os.RemoveAll(h.path(name)))
}

func (h home) link(target, name string) {
	h.t.Helper()
	require.NoError(h.t, os.Symlink(target, h.path(name)))
}

// mount lays files out as a kubelet does, or swaps them as it does: a new folder with a time in its name, and one rename of a link.
func (h home) mount(folder, version string, files map[string]string) {
	h.t.Helper()
	for name, content := range files {
		h.write(filepath.Join(folder, version, name), content)
		if _, err := os.Lstat(h.path(folder, name)); err != nil {
			h.link(filepath.Join("..data", name), filepath.Join(folder, name))
		}
	}
	old, _ := os.Readlink(h.path(folder, "..data"))
	h.link(version, filepath.Join(folder, "..data_tmp"))
	h.rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data"))
	if old != "" {
		h.remove(filepath.Join(folder, old))
	}
}

func TestWatchSeesEveryKindOfChange(t *testing.T) {
	plain := func(h home) { h.write("conf/config.yaml", servers("a")) }
	withToken := func(h home) {
		h.write("conf/config.yaml", "servers: [{name: a, url: 'http://a', credential: {file: ../secret/token}}]")
	}
	kinds := map[string]struct {
		before func(h home)
		change func(h home)
		want   string // the servers after it; the fence that follows is plain text in the same place
		token  string
	}{
		"written in place": {before: plain, change: func(h home) {
			f, err := os.OpenFile(h.path("conf/config.yaml"), os.O_WRONLY|os.O_APPEND, 0)
			require.NoError(h.t, err)
			_, err = f.WriteString("  - {name: b, url: 'http://b'}\n")
			require.NoError(h.t, err)
			require.NoError(h.t, f.Close())
		}, want: "a b"},
		"truncated and written in pieces": {before: plain, change: func(h home) {
			f, err := os.OpenFile(h.path("conf/config.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
			require.NoError(h.t, err)
			for _, c := range []byte(servers("b", "c")) {
				_, err = f.Write([]byte{c})
				require.NoError(h.t, err)
			}
			require.NoError(h.t, f.Close())
		}, want: "b c"},
		"renamed over": {before: plain, change: func(h home) { h.replace("conf/config.yaml", servers("b")) }, want: "b"},
		"deleted and made again": {before: plain, change: func(h home) {
			h.remove("conf/config.yaml")
			h.write("conf/config.yaml", servers("b"))
		}, want: "b"},
		"moved away and made again": {before: plain, change: func(h home) {
			h.rename("conf/config.yaml", "conf/config.yaml~")
			h.write("conf/config.yaml", servers("b"))
		}, want: "b"},
		"folder replaced": {before: plain, change: func(h home) {
			h.write("conf.new/config.yaml", servers("b"))
			h.rename("conf", "conf.old")
			h.rename("conf.new", "conf")
		}, want: "b"},
		"folder deleted and made again": {before: plain, change: func(h home) {
			h.remove("conf")
			h.write("conf/config.yaml", servers("b"))
		}, want: "b"},
		"ConfigMap swapped": {
			before: func(h home) { h.mount("conf", "..2026_1", map[string]string{"config.yaml": servers("a")}) },
			change: func(h home) { h.mount("conf", "..2026_2", map[string]string{"config.yaml": servers("b")}) },
			want:   "b",
		},
		"link's target replaced": {before: func(h home) {
			h.write("elsewhere/real.yaml", servers("a"))
			h.write("conf/x", "")
			h.link(h.path("elsewhere/real.yaml"), "conf/config.yaml")
		}, change: func(h home) { h.replace("elsewhere/real.yaml", servers("b")) }, want: "b"},
		"link on the way turned": {before: func(h home) {
			h.write("one/config.yaml", servers("a"))
			h.write("two/config.yaml", servers("b"))
			h.link("one", "conf")
		}, change: func(h home) {
			h.link("two", "conf.new")
			h.rename("conf.new", "conf")
		}, want: "b"},
		"credential written": {before: func(h home) {
			withToken(h)
			h.write("secret/token", "one")
		}, change: func(h home) { h.write("secret/token", "two") }, want: "a", token: "two"},
		"credential swapped": {before: func(h home) {
			withToken(h)
			h.mount("secret", "..1", map[string]string{"token": "one"})
		}, change: func(h home) { h.mount("secret", "..2", map[string]string{"token": "two"}) }, want: "a", token: "two"},
		"CA file replaced": {before: func(h home) {
			ca, err := os.ReadFile("testdata/files/ca.pem")
			require.NoError(h.t, err)
			h.write("conf/ca.pem", string(ca))
			h.write("conf/config.yaml", "servers: [{name: a, url: 'https://a', tls: {caFile: ca.pem}}]")
		}, change: func(h home) {
			ca, err := os.ReadFile("testdata/files/ca.pem")
			require.NoError(h.t, err)
			h.replace("conf/ca.pem", string(ca)+string(ca))
		}, want: "a"},
	}
	for name, kind := range kinds {
		for _, by := range []string{"events", "comparison"} {
			t.Run(name+"/"+by, func(t *testing.T) {
				t.Parallel()
				h := home{t, t.TempDir()}
				kind.before(h)
				calls := listen(t, h.path("conf/config.yaml"), by)
				kind.change(h)
				config := expectServers(t, calls, kind.want)
				if kind.token != "" {
					assert.Equal(t, kind.token, config.Servers[0].Credential.Value.Reveal())
				}
				// What comes next is the next change: nothing was told twice or in between, and the watch still follows.
				h.replace("conf/config.yaml", servers("fence"))
				expectServers(t, calls, "fence")
			})
		}
	}
}

func TestWatchIsNotMovedByEventsWithoutMeaning(t *testing.T) {
	h := home{t, t.TempDir()}
	h.write("conf/config.yaml", servers("a"))
	calls := listen(t, h.path("conf/config.yaml"), "events")
	for range 50 {
		h.write("conf/other", "x")
		h.replace("conf/config.yaml", servers("a"))
		require.NoError(t, os.Chmod(h.path("conf/config.yaml"), 0o640))
		require.NoError(t, os.Chtimes(h.path("conf/config.yaml"), time.Now(), time.Now()))
		h.remove("conf/other")
	}
	h.replace("conf/config.yaml", servers("fence"))
	expectServers(t, calls, "fence")
}

// Invariant 8, with a real file.
func TestWatchReportsABadFileAndRecovers(t *testing.T) {
	h := home{t, t.TempDir()}
	h.write("config.yaml", servers("a"))
	calls := listen(t, h.path("config.yaml"), "events")

	h.replace("config.yaml", "servers: [{name: A}]")
	call := next(t, calls)
	var problems Problems
	require.ErrorAs(t, call.err, &problems)
	assert.Len(t, problems, 2, "all problems at once")
	assert.Equal(t, h.path("config.yaml"), problems[0].File)

	h.replace("config.yaml", servers("a"))
	call = next(t, calls)
	require.NoError(t, call.err)
	assert.Nil(t, call.config, "what is in force is not announced as new")

	h.remove("config.yaml")
	require.ErrorContains(t, next(t, calls).err, "does not exist")
	h.write("config.yaml", servers("b"))
	expectServers(t, calls, "b")
}

func TestFoldersFollowEveryLink(t *testing.T) {
	h := home{t, t.TempDir()}
	real, err := filepath.EvalSymlinks(h.root)
	require.NoError(t, err)
	h.root = real
	h.mount("conf", "..1", map[string]string{"config.yaml": "x"})
	h.link("loop", "loop")
	tests := map[string]struct {
		path string
		want []string
	}{
		"mounted": {"conf/config.yaml", []string{"/conf", "conf/..1", "conf/..data", "conf/config.yaml", "..1/config.yaml"}},
		"missing": {"none/deeper/config.yaml", []string{"/none"}},
		"endless": {"loop/config.yaml", []string{"/loop"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &folders{entries: map[string]map[string]bool{}}
			f.trace(h.path(tt.path))
			var got []string
			for folder, names := range f.entries {
				for name := range names {
					switch {
					case folder == h.root:
						got = append(got, "/"+name)
					case len(folder) > len(h.root):
						got = append(got, filepath.Base(folder)+"/"+name)
					}
				}
			}
			assert.ElementsMatch(t, tt.want, got)
		})
	}
}

// A gateway that lives through many swaps must not collect a watch for each.
func TestFoldersLetGoOfWhatIsGone(t *testing.T) {
	h := home{t, t.TempDir()}
	f := announceFolders(slog.New(slog.DiscardHandler))
	defer f.close()
	h.write("one/config.yaml", "x")
	h.write("two/config.yaml", "x")
	h.link("one", "conf")
	f.follow([]string{h.path("conf/config.yaml")})
	first := f.notify.WatchList()
	h.remove("conf")
	h.link("two", "conf")
	f.follow([]string{h.path("conf/config.yaml")})
	second := f.notify.WatchList()
	assert.Len(t, second, len(first))
	assert.True(t, slices.ContainsFunc(second, func(s string) bool { return filepath.Base(s) == "two" }), second)
	assert.False(t, slices.ContainsFunc(second, func(s string) bool { return filepath.Base(s) == "one" }), second)
}
