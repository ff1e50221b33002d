package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func TestIsLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "unix:/a": true, "127.1.2.3:1": true,
		"0.0.0.0:1": false, ":1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false,
	} {
		assert.Equal(t, want, isLocal(address), address)
	}
}

func TestReachable(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1",
		"10.0.0.1:1": "10.0.0.1:1", "example.com:1": "example.com:1", "unix:/a": "unix:/a",
	} {
		assert.Equal(t, want, reachable(address))
	}
}

func TestListenSparesWhatIsNoSocket(t *testing.T) {
	path := write(t, "precious.txt", "data")
	_, err := listen(t.Context(), "admin-address", "unix:"+path)
	require.EqualError(t, err, fmt.Sprintf("--admin-address: %q exists and is not a socket; remove it or choose another path", path))
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "data", string(kept))
}

func TestSessionKey(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 2)
	none := func(string) (string, bool) { return "", false }
	env := func(string) (string, bool) { return secret, true }
	file := &settings{sessionKeyFile: write(t, "key", secret+"\n")}

	fromFile, generated, err := file.key(none)
	require.NoError(t, err)
	assert.False(t, generated)
	fromEnv, generated, err := (&settings{}).key(env)
	require.NoError(t, err)
	assert.False(t, generated)
	assert.Equal(t, fromFile.Derive("x"), fromEnv.Derive("x"), "replicas agree however they get it; a line's end is no part of it")

	// Invariant 4: there is no default.
	one, generated, err := (&settings{}).key(none)
	require.NoError(t, err)
	assert.True(t, generated)
	two, _, err := (&settings{}).key(none)
	require.NoError(t, err)
	assert.NotEqual(t, one.Derive("x"), two.Derive("x"))
}

func TestFindSystemCA(t *testing.T) {
	file := write(t, "roots.pem", "")
	env := func(string) string { return file }
	only := func(paths ...string) func(string) (os.FileInfo, error) {
		return func(path string) (os.FileInfo, error) {
			for _, p := range paths {
				if p == path {
					return os.Stat(file)
				}
			}
			return nil, os.ErrNotExist
		}
	}
	nothing := func(string) string { return "" }
	assert.Equal(t, file, findSystemCA(env, only(file, "/etc/ssl/cert.pem")))
	assert.Equal(t, "/etc/ssl/cert.pem", findSystemCA(env, only("/etc/ssl/cert.pem")))
	assert.Equal(t, "/etc/pki/tls/certs/ca-bundle.crt", findSystemCA(nothing, only("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")))
	assert.Empty(t, findSystemCA(nothing, only()))
}

// Invariant 12: one server that Envoy cannot be told of costs the others nothing.
func TestFeedLeavesOutTheCulprit(t *testing.T) {
	o := xds.Options{Listen: "127.0.0.1:8888", Router: "unix:/r", Broker: "unix:/b", XDS: "unix:/x"}
	f, err := newEnvoyFeed(o, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Equal(t, []string{"there is no configuration to feed Envoy with"}, f.NotReady())

	good := at("good", "one")
	secure := at("secure", "two", func(s *config.Server) { s.Scheme, s.TLS = "https", &config.TLS{ServerName: "two"} })
	problems := f.Feed([]xds.Cluster{{Name: "good.1", Server: good}, {Name: "secure.1", Server: secure}})
	require.Len(t, problems, 1)
	assert.Equal(t, "secure", problems[0].Server)
	assert.Contains(t, problems[0].Message, "trusted roots")
	assert.Empty(t, f.NotReady())
	version := f.server.Status().Version
	assert.Empty(t, f.Feed([]xds.Cluster{{Name: "good.1", Server: good}}))
	assert.Equal(t, version, f.server.Status().Version, "what is left is what was fed before")
	assert.False(t, f.Serving())
	require.NoError(t, f.Refused())
	assert.Empty(t, f.Status())
}

func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &inFlight{handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })}
		for _, method := range []string{http.MethodPost, http.MethodPost, http.MethodGet} {
			go f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/mcp", http.NoBody))
		}
		synctest.Wait()
		assert.EqualValues(t, 2, f.calls.Load())
		assert.EqualValues(t, 1, f.streams.Load())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		untilNone(ctx, f.calls.Load)
		assert.Equal(t, time.Second, time.Since(began), "what does not end is waited for until the time is over")

		done := make(chan struct{})
		go func() {
			untilNone(t.Context(), f.calls.Load)
			close(done)
		}()
		close(release)
		<-done
		synctest.Wait()
		assert.Zero(t, f.calls.Load())
		assert.Zero(t, f.streams.Load())
	})
}

func TestSignals(t *testing.T) {
	ctx, second, release := untilSignal(t.Context())
	defer release()
	send := func() { require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM)) }
	send()
	<-ctx.Done()
	select {
	case <-second:
		t.Fatal("one signal is not two")
	default:
	}
	send()
	<-second
}

func TestSignalsAreReleased(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM) // keeps the test's process alive
	defer signal.Stop(caught)
	ctx, second, release := untilSignal(t.Context())
	release()
	<-ctx.Done()
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	<-caught
	select {
	case <-second:
		t.Fatal("a signal after the end is not ours")
	default:
	}
}

func TestASecondSignalEndsDraining(t *testing.T) {
	hurry := make(chan struct{})
	p := &process{hurry: hurry}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	drain, release := p.drainTime(ended, time.Hour)
	defer release()
	require.NoError(t, drain.Err(), "the end of the command is the beginning of draining")
	require.NoError(t, p.ended(nil))
	close(hurry)
	<-drain.Done()
	require.ErrorIs(t, p.ended(nil), errHurried)
	assert.Equal(t, 1, ExitCode(p.ended(nil)))
	other := errors.New("other")
	assert.Equal(t, other, p.ended(other))
}

func TestChildOutput(t *testing.T) {
	var lines []string
	o := &output{onLine: func(line string) { lines = append(lines, line) }}
	for _, piece := range []string{"one\ntw", "o\n\nthr", "ee"} {
		n, err := io.WriteString(o, piece)
		require.NoError(t, err)
		assert.Equal(t, len(piece), n)
	}
	assert.Equal(t, []string{"one", "two", ""}, lines)
	o.flush()
	assert.Equal(t, []string{"one", "two", "", "three"}, lines)
	o.mute()
	for i := range 2 * lastLines {
		_, _ = fmt.Fprintf(o, "more %d\n", i)
	}
	assert.Len(t, lines, 4)
	assert.Len(t, o.last(), lastLines)
	assert.Equal(t, "more 19", o.last()[lastLines-1])
	_, _ = o.Write(bytes.Repeat([]byte("x"), 3*maxLine))
	assert.LessOrEqual(t, len(o.rest), maxLine, "a line without end is not kept whole")
}

func TestChild(t *testing.T) {
	silent := func(string) {}
	t.Run("that dies", func(t *testing.T) {
		c, err := startChild("thing", nil, silent, script(t, "echo first; echo last >&2; exit 3"))
		require.NoError(t, err)
		<-c.done
		assert.EqualError(t, c.ended(), "thing ended unexpectedly with exit status 3; its last words:\n  first\n  last")
	})
	t.Run("that dies silently", func(t *testing.T) {
		c, err := startChild("thing", nil, silent, script(t, "exit 0"))
		require.NoError(t, err)
		<-c.done
		assert.EqualError(t, c.ended(), "thing ended unexpectedly with exit code 0, without a word")
	})
	t.Run("that is not there", func(t *testing.T) {
		_, err := startChild("thing", nil, silent, "/nowhere/thing")
		require.ErrorContains(t, err, "cannot start thing: ")
	})
	t.Run("that stops when told", func(t *testing.T) {
		ready := make(chan string, 1)
		c, err := startChild("thing", nil, func(line string) { ready <- line }, script(t, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"))
		require.NoError(t, err)
		<-ready
		c.stop(soon, nil)
		require.NoError(t, c.err)
		c.stop(0, nil) // and once more
	})
	t.Run("that does not stop", func(t *testing.T) {
		ready := make(chan string, 1)
		c, err := startChild("thing", nil, func(line string) { ready <- line }, script(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done"))
		require.NoError(t, err)
		<-ready
		hurry := make(chan struct{})
		close(hurry)
		c.stop(time.Hour, hurry)
		require.EqualError(t, c.err, "signal: killed")
	})
}

// Invariant 6: a credential in our environment is none of a child's business.
func TestChildGetsNoSecrets(t *testing.T) {
	t.Setenv("WEATHER_TOKEN", "secret")
	t.Setenv(envSessionKey, "secret")
	lines := make(chan string, 100)
	c, err := startChild("thing", nil, func(line string) { lines <- line }, script(t, "env"))
	require.NoError(t, err)
	<-c.done
	close(lines)
	var names []string
	for line := range lines {
		name, value, _ := strings.Cut(line, "=")
		assert.NotContains(t, value, "secret")
		names = append(names, name)
	}
	assert.Contains(t, names, "PATH")
}

func TestExamples(t *testing.T) {
	serving := `case "$2" in weather) p=1001;; *) p=1002;; esac; echo "hello"; echo "$2 server listening on http://127.0.0.1:$p/mcp"; trap 'exit 0' TERM; while :; do sleep 0.01; done`
	dir := t.TempDir()
	var said buffer
	e, err := startExamples(t.Context(), script(t, serving), dir, &said)
	require.NoError(t, err)
	defer e.stop(soon, nil)
	cfg, err := config.Load(e.file, config.OS())
	require.NoError(t, err)
	require.Len(t, cfg.Servers, 2)
	assert.Equal(t, "weather http://127.0.0.1:1001/mcp weather_", cfg.Servers[0].Name+" "+cfg.Servers[0].URL()+" "+cfg.Servers[0].ToolPrefix)
	assert.Equal(t, "time http://127.0.0.1:1002/mcp time_", cfg.Servers[1].Name+" "+cfg.Servers[1].URL()+" "+cfg.Servers[1].ToolPrefix)
	assert.Contains(t, said.String(), "weather: hello\n")
}

func TestExamplesThatFail(t *testing.T) {
	_, err := startExamples(t.Context(), script(t, "echo no >&2; exit 1"), t.TempDir(), io.Discard)
	require.EqualError(t, err, "example server weather ended unexpectedly with exit status 1; its last words:\n  no")
	_, err = startExamples(t.Context(), "/nowhere/server", t.TempDir(), io.Discard)
	require.ErrorContains(t, err, "cannot start example server weather")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err = startExamples(stopped, script(t, "while :; do sleep 0.01; done"), t.TempDir(), io.Discard)
	require.ErrorIs(t, err, context.Canceled)
}

func TestStandalonePort(t *testing.T) {
	taken := listener(t)
	_, port, err := net.SplitHostPort(taken)
	require.NoError(t, err)
	want := "port " + port + " is taken (another make run?); choose one with GATEWAY_LOCAL_PORT_HTTP_MCP=… (bind: address already in use)"
	_, _, err = run(t, "standalone", "--example-servers", "x", "--port", port)
	require.EqualError(t, err, want)
	assert.Equal(t, 1, ExitCode(err))

	t.Setenv(envPort, port)
	_, _, err = run(t, "standalone", "--example-servers", "x")
	require.EqualError(t, err, want)
	_, _, err = run(t, "standalone", "--example-servers", "x", "--port", freePort(t), "--envoy", "/nowhere")
	require.ErrorContains(t, err, "/nowhere", "the flag wins")
	t.Setenv(envPort, "http")
	_, _, err = run(t, "standalone", "--example-servers", "x")
	require.EqualError(t, err, `GATEWAY_LOCAL_PORT_HTTP_MCP "http": want a port number`)
}

// An Envoy that dies takes everything along, and says why it died.
func TestStandaloneWhenEnvoyDies(t *testing.T) {
	dying := script(t, `if [ "$1" = --version ]; then echo "envoy  version: 0123abc/1.40.0/Clean/RELEASE/BoringSSL"; exit; fi
echo "out of luck" >&2; exit 7`)
	cfg, temp := write(t, "c.yaml", "servers: []"), socketFolder(t)
	t.Setenv("TMPDIR", temp)
	stdout, stderr, err := run(t, "standalone", "--mcp-gateway-config", cfg, "--port", freePort(t),
		"--envoy", dying, "--admin-address", "unix:"+temp+"/admin.sock")
	require.EqualError(t, err, "envoy ended unexpectedly with exit status 7; its last words:\n  out of luck")
	assert.Equal(t, 1, ExitCode(err))
	assert.Contains(t, stdout, "starting Envoy 1.40.0 …")
	assert.Contains(t, stderr, "envoy: out of luck\n")
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Told to stop while it starts, it stops.
func TestStandaloneStoppedEarly(t *testing.T) {
	waiting := script(t, `if [ "$1" = --version ]; then echo "envoy  version: 0123abc/1.40.0/Clean/RELEASE/BoringSSL"; exit; fi
echo up >&2; trap 'exit 0' TERM; while :; do sleep 0.01; done`)
	cfg, temp := write(t, "c.yaml", "servers: []"), socketFolder(t)
	t.Setenv("TMPDIR", temp)
	ctx, stop := context.WithCancel(t.Context())
	log, ended := &buffer{}, make(chan error, 1)
	args := []string{
		"standalone", "--mcp-gateway-config", cfg, "--port", freePort(t), "--envoy", waiting, "--admin-address", "unix:" + temp + "/admin.sock",
	}
	go func() { ended <- Main(ctx, "1.2.3", args, io.Discard, log) }()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "envoy: up") }, soon, 5*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestPrivateFolderIsShort(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	require.NoError(t, os.Mkdir(long, 0o700))
	t.Setenv("TMPDIR", long)
	dir, err := privateFolder()
	require.NoError(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	assert.LessOrEqual(t, len(dir)+len("/router.sock"), maxSocketPath)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	left, err := os.ReadDir(long)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestSummary(t *testing.T) {
	states := map[string]catalog.State{
		"good": {Health: catalog.HealthReady, Listing: &catalog.Listing{}},
		"bad":  {Health: catalog.HealthFailing, LastError: "refused"},
	}
	snap := catalog.Build(catalog.Input{Servers: []config.Server{at("good", "a"), at("bad", "b"), at("new", "c"), {Name: "off"}}, States: states})
	var got []string
	for _, s := range snap.Servers() {
		got = append(got, s.Name+": "+summary(snap, s))
	}
	assert.Equal(t, []string{"good: 0 tools", "bad: failing: refused", "new: connecting", "off: disabled"}, got)
}
