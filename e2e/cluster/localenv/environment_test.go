package localenv_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

const (
	root      = "../../.."
	namespace = "mcp-system"
	release   = "mcp-gateway"
	mcpHost   = "mcp.127-0-0-1.sslip.io"

	// setupPatience is for all of it on a busy machine whose cache is full.
	setupPatience = 9 * time.Minute
	// patience is for what follows a change within seconds.
	patience = 90 * time.Second
)

// environment is a local environment of the test's own, beside any that the user has.
type environment struct {
	// variables are those that the Makefile takes.
	variables []string
	// http is the port of this machine that leads to the gateway, mcp and keycloak are those that are forwarded.
	http, mcp, keycloak int
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{http: testbed.FreePort(t), mcp: testbed.FreePort(t), keycloak: testbed.FreePort(t)}
	e.variables = []string{
		"CLUSTER=" + cmp.Or(os.Getenv("CLUSTER"), "node"), "CLUSTER_NAME=localenv-" + strconv.Itoa(os.Getpid()),
		"KIND_HOST_PORT_HTTP=" + strconv.Itoa(e.http), "KIND_HOST_PORT_HTTPS=" + strconv.Itoa(testbed.FreePort(t)),
		"GATEWAY_LOCAL_PORT_HTTP_MCP=" + strconv.Itoa(e.mcp), "GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK=" + strconv.Itoa(e.keycloak),
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := e.try(context.Background(), "make", "status")
			t.Logf("make status:\n%s", out)
			out, _ = e.try(context.Background(), "make", "logs", "FOLLOW=")
			t.Logf("make logs:\n%s", out[max(0, len(out)-20_000):])
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if out, err := e.try(ctx, "make", "local-env-teardown"); err != nil {
			t.Errorf("make local-env-teardown: %v\n%s", err, out)
		}
	})
	return e
}

func (e *environment) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if name == "make" {
		args = append(append([]string{"--no-print-directory"}, args...), e.variables...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), e.variables...)
	// A grandchild that outlives it may hold the pipe.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (e *environment) try(ctx context.Context, name string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := e.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// make makes a target of the Makefile and returns what it said.
func (e *environment) make(t *testing.T, target string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupPatience)
	defer cancel()
	began := time.Now()
	out, err := e.try(ctx, "make", append([]string{target}, args...)...)
	require.NoError(t, err, "make %s:\n%s", target, out)
	t.Logf("%.0f s: make %s", time.Since(began).Seconds(), target)
	return out
}

// run runs kubectl or helm for the cluster and returns what it printed.
func (e *environment) run(t *testing.T, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := e.command(t.Context(), filepath.Join("hack", "local-env.sh"), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", strings.Join(args, " "), stderr.String())
	return strings.TrimSpace(string(out))
}

// refused runs helm for what it must not do, and returns its error.
func (e *environment) refused(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.try(t.Context(), filepath.Join("hack", "local-env.sh"), args...)
	require.Error(t, err, out)
	return out
}

// upgrade is helm upgrade with the values that are in force and some more.
func (e *environment) upgrade(args ...string) []string {
	return append([]string{"helm", "upgrade", release, "charts/mcp-gateway", "--namespace", namespace, "--reuse-values", "--timeout", "3m"}, args...)
}

// pods are the names of all pods that run, with how often they were restarted.
func (e *environment) pods(t *testing.T) string {
	t.Helper()
	return e.run(t, "kubectl", "--namespace", namespace, "get", "pods", "--field-selector=status.phase=Running", "--sort-by=.metadata.name",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
}

// token is that of one of the example's users, who logs in on Keycloak's page.
func (e *environment) token(t *testing.T, user string) string {
	t.Helper()
	return e.run(t, "token", user)
}

// client is one whose requests come to a port of this machine. The names that lead here need no DNS for that.
func (e *environment) client(t *testing.T, port int, token string) *testbed.Client {
	t.Helper()
	c := testbed.NewClient(t, fmt.Sprintf("http://%s:%d/mcp", mcpHost, e.mcp))
	c.HTTP.Transport = &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}}
	if token != "" {
		c.Authorization = "Bearer " + token
	}
	return c
}

// session is a client of a user with a session.
func (e *environment) session(t *testing.T, user string) *testbed.Client {
	t.Helper()
	c := e.client(t, e.http, e.token(t, user))
	c.Initialize(t, "{}")
	return c
}
