package xds_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what a healthy machine does in well under a second.
const patience = 20 * time.Second

// envoyBin is the real Envoy. Its absence fails a test: what is rendered here is worth nothing before Envoy has taken it.
func envoyBin(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("ENVOY_BIN")
	if bin == "" {
		t.Fatal(`this test needs a real Envoy: run eval "$(hack/test-env.sh)" in the repository's root first, or set ENVOY_BIN`)
	}
	return bin
}

// freePort is a port on loopback that nothing listened on a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	// Systems take none of this range for outgoing connections, so that nobody has the port before Envoy does.
	const first, count = 5000, 7000
	for range 1000 {
		port := first + rand.IntN(count)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return port
	}
	t.Fatal("no free port")
	return 0
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePort(t))
}

// writeFile puts content into a folder of the test's own.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// validateWithEnvoy loads the file without running it.
func validateWithEnvoy(t *testing.T, content []byte, env ...string) {
	t.Helper()
	cmd := exec.Command(envoyBin(t), "--mode", "validate", "--disable-hot-restart", "-l", "warn", "-c", writeFile(t, "envoy.yaml", content))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "envoy refused the file:\n%s", out)
	for line := range strings.Lines(string(out)) {
		require.NotContains(t, line, "[warning]", "envoy took the file but warned")
	}
}

// envoy is a running one.
type envoy struct {
	admin string
	log   *syncBuffer
}

// startEnvoy runs Envoy until the test ends, and waits for its admin interface.
func startEnvoy(t *testing.T, admin string, content []byte, env ...string) *envoy {
	t.Helper()
	e := &envoy{admin: admin, log: &syncBuffer{}}
	cmd := exec.Command(envoyBin(t), "--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "50",
		"-l", "warn", "-c", writeFile(t, "envoy.yaml", content))
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = e.log, e.log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("envoy said:\n%s", e.log)
		}
	})
	require.Eventually(t, func() bool {
		_, err := e.tryGet("/server_info")
		return err == nil
	}, patience, 20*time.Millisecond, "envoy did not start")
	return e
}

// startStatic also waits until Envoy takes requests.
func startStatic(t *testing.T, admin string, content []byte, env ...string) *envoy {
	t.Helper()
	e := startEnvoy(t, admin, content, env...)
	e.waitReady(t)
	return e
}

func (e *envoy) waitReady(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, err := e.tryGet("/ready")
		return err == nil && strings.Contains(out, "LIVE")
	}, patience, 20*time.Millisecond, "envoy did not become ready")
}

// get asks the admin interface.
func (e *envoy) get(t *testing.T, path string) string {
	t.Helper()
	out, err := e.tryGet(path)
	require.NoError(t, err)
	return out
}

func (e *envoy) tryGet(path string) (string, error) {
	resp, err := http.Get("http://" + e.admin + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes one request and reads the whole answer.
func send(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(out)}
}

// syncBuffer is a buffer that a process writes while a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
