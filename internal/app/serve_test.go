package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/admin"
)

// soon is how long a test waits for what a healthy machine does at once.
const soon = 10 * time.Second

// served is a gateway without Envoy that runs in the test's own process.
type served struct {
	dir    string
	config string
	stop   context.CancelFunc
	ended  chan error
	log    *buffer
	client *http.Client
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// socketFolder is one whose path is short enough for sockets.
func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "app") //nolint:usetesting // the path of t.TempDir has the test's name in it, which is too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serveGateway(t *testing.T, config string, flags ...string) *served {
	t.Helper()
	dir := socketFolder(t)
	s := &served{dir: dir, config: filepath.Join(dir, "config.yaml"), ended: make(chan error, 1), log: &buffer{}}
	s.write(t, config)
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	args := append([]string{
		"--mcp-gateway-config", s.config, "--mcp-router-address", "unix:" + dir + "/router.sock",
		"--mcp-broker-public-address", "unix:" + dir + "/broker.sock", "--admin-address", "unix:" + dir + "/admin.sock",
	}, flags...)
	go func() { s.ended <- Main(ctx, "1.2.3", args, io.Discard, s.log) }()
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("the gateway said:\n%s", s.log)
		}
	})
	s.client = overSocket(dir + "/admin.sock")
	return s
}

func overSocket(path string) *http.Client {
	return &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

func (s *served) write(t *testing.T, config string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.config, []byte(config), 0o600))
}

// get asks the admin interface; the status is 0 as long as it does not answer.
func (s *served) get(path string) (status int, body string) {
	resp, err := s.client.Get("http://localhost" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (s *served) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, soon, 5*time.Millisecond, what)
}

func (s *served) awaitReady(t *testing.T) {
	t.Helper()
	s.await(t, "ready", func() bool {
		status, _ := s.get("/readyz")
		return status == http.StatusOK
	})
}

func (s *served) status(t *testing.T) admin.Status {
	t.Helper()
	var st admin.Status
	_, body := s.get("/status")
	require.NoError(t, json.Unmarshal([]byte(body), &st), body)
	return st
}

func (s *served) end(t *testing.T) error {
	t.Helper()
	s.stop()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(soon):
		t.Fatal("the gateway did not end")
		return nil
	}
}

func TestServe(t *testing.T) {
	s := serveGateway(t, "servers: []\n")
	s.awaitReady(t)
	st := s.status(t)
	assert.Equal(t, "1.2.3", st.Version)
	assert.Equal(t, s.config, st.Config.File)
	assert.Nil(t, st.Envoys, "no Envoy is fed")
	for _, name := range []string{"router", "broker", "admin"} {
		info, err := os.Stat(filepath.Join(s.dir, name+".sock"))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, `mcp_gateway_config_reloads_total{result="success"} 1`)
	assert.Contains(t, s.log.String(), "a session key was made for this run")

	require.NoError(t, s.end(t))
	left, err := filepath.Glob(filepath.Join(s.dir, "*.sock"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Invariant 3: what comes to the broker's own port past Envoy is refused, but for what is public.
func TestServeRefusesWhatNoRouterLabelled(t *testing.T) {
	s := serveGateway(t, "servers: []\n", "--public-url", "https://mcp.example.com")
	s.awaitReady(t)
	broker := overSocket(s.dir + "/broker.sock")
	resp, err := broker.Post("http://gateway/mcp", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)

	resp, err = broker.Get("http://gateway/.well-known/oauth-protected-resource/mcp")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), `"resource":"https://mcp.example.com/mcp"`)
	require.NoError(t, s.end(t))
}

// Invariant 8: a bad configuration is reported whole and changes nothing.
func TestServeTakesChangesOver(t *testing.T) {
	const server = "servers:\n  - {name: a, url: \"http://127.0.0.1:1\"}\n"
	s := serveGateway(t, "servers: []\n")
	s.awaitReady(t)
	s.write(t, server)
	s.await(t, "the server", func() bool { st := s.status(t); return len(st.Servers) == 1 && st.Servers[0].State == "failing" })
	assert.Equal(t, "http://127.0.0.1:1/mcp", s.status(t).Servers[0].URL)

	s.write(t, server+"  - {name: a, ur: x}\n")
	s.await(t, "the problems", func() bool { return len(s.status(t).Config.Problems) == 2 })
	assert.Len(t, s.status(t).Servers, 1)
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, `mcp_gateway_config_reloads_total{result="failure"} 1`)
	assert.Contains(t, metrics, "mcp_gateway_config_valid 0")
	assert.Contains(t, s.log.String(), "unknown key")

	s.write(t, server)
	s.await(t, "no problems", func() bool { return len(s.status(t).Config.Problems) == 0 })
	s.write(t, "# none\n")
	s.await(t, "no server", func() bool { return len(s.status(t).Servers) == 0 })
	_, metrics = s.get("/metrics")
	assert.NotContains(t, metrics, `server="a"`)
	require.NoError(t, s.end(t))
}

func TestServeFeedsEnvoys(t *testing.T) {
	dir := socketFolder(t)
	s := serveGateway(t, "servers: [{name: a, url: \"http://127.0.0.1:1\"}]\n", "--xds-address", "unix:"+dir+"/xds.sock", "--envoy-listen-address", "127.0.0.1:8888")
	s.awaitReady(t)
	st := s.status(t)
	require.NotNil(t, st.Envoys)
	assert.Empty(t, *st.Envoys)
	assert.False(t, st.Servers[0].Programmed)
	require.NoError(t, s.end(t))
}

func TestServeReplacesStaleSockets(t *testing.T) {
	s := serveGateway(t, "servers: []\n")
	s.awaitReady(t)
	require.NoError(t, s.end(t))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.dir + "/admin.sock", Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())

	again := serveGateway(t, "servers: []\n", "--admin-address", "unix:"+s.dir+"/admin.sock")
	again.client = overSocket(s.dir + "/admin.sock")
	again.awaitReady(t)
	third := serveGateway(t, "servers: []\n", "--admin-address", "unix:"+s.dir+"/admin.sock")
	require.ErrorContains(t, <-third.ended, "is in use by another process")
	require.NoError(t, again.end(t))
}
