package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// envoy is the Envoy that standalone runs.
type envoy struct {
	*child
	admin *http.Client
}

// findEnvoy resolves the path and asks what is there for its version.
func findEnvoy(ctx context.Context, path string) (bin, version string, err error) {
	bin, err = exec.LookPath(path)
	if err != nil {
		return "", "", usagef("--envoy %q: there is no such program; hack/envoy.sh prints the path of one, and func-e or your distribution has one too", path)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--version")
	cmd.Env = plainEnvironment(os.LookupEnv)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("--envoy %q does not run: %w: %s", bin, err, firstLine(string(out)))
	}
	// "envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
	m := regexp.MustCompile(`version: [0-9a-f]+/([0-9][^/]*)/`).FindStringSubmatch(string(out))
	if m == nil {
		return "", "", usagef("--envoy %q is not Envoy: it calls its version %q", bin, firstLine(string(out)))
	}
	return bin, m[1], nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// startEnvoy starts an Envoy that the gateway feeds.
func startEnvoy(bin, dir string, env []string, o xds.Options, drain time.Duration, stderr io.Writer) (*envoy, error) {
	file, err := xds.Bootstrap(o)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return nil, err
	}
	said := func(line string) { _, _ = io.WriteString(stderr, "envoy: "+line+"\n") }
	c, err := startChild("envoy", env, said, bin, "-c", path, "--disable-hot-restart",
		// Warnings of "misc" tell developers of Envoy that a part of it is young, those of "dynamic_modules" that a module was built for an older one.
		"-l", "warn", "--component-log-level", "misc:error,dynamic_modules:error",
		"--drain-time-s", strconv.Itoa(max(1, int(drain.Seconds()))), "--drain-strategy", "immediate")
	if err != nil {
		return nil, err
	}
	socket, _ := socketPath(o.Admin)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	return &envoy{child: c, admin: &http.Client{Transport: transport, Timeout: 2 * time.Second}}, nil
}

// drain tells Envoy to send its clients away once they have their answers.
func (e *envoy) drain(ctx context.Context) error {
	_, err := e.ask(ctx, http.MethodPost, "/drain_listeners?graceful")
	return err
}

// requests is how many requests Envoy is answering, streams that clients listen on included. It is 0 if Envoy does not say.
func (e *envoy) requests(ctx context.Context) int64 {
	out, err := e.ask(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(`^http\.mcp\.downstream_rq_active$`))
	if err != nil {
		return 0
	}
	_, value, _ := strings.Cut(strings.TrimSpace(out), ": ")
	n, _ := strconv.ParseInt(value, 10, 64)
	return n
}

func (e *envoy) ask(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := e.admin.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("envoy's admin interface answered %s with status %d", path, resp.StatusCode)
	}
	return string(body), err
}
