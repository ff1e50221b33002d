package cluster_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

const (
	installNamespace = "mcp-system"
	gatewayNamespace = "gateway-system"
	// endpointHost is what testdata/endpoint.yaml has.
	endpointHost = "mcp.example.com"

	controllerDeployment, brokerDeployment, envoyDeployment = "mcp-gateway-controller", "mcp-gateway", "mcp-gateway-istio"
)

// installation is the gateway as the guide installs it. The tests share it, and the first that needs it makes it.
type installation struct {
	mu sync.Mutex // guards the rest
	// address leads to the Gateway's port for plain HTTP; empty while nothing is installed.
	address string
	unreach func()
	// failed says that it could not be installed, which others need not try again.
	failed bool
}

// gateway sees to it that the gateway is installed and reached, and tells at which address of this machine.
func (c *cluster) gateway(t testing.TB) (address string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			c.dump(t, installNamespace)
			c.dump(t, gatewayNamespace)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	require.False(t, c.failed, "the gateway could not be installed, as an earlier test tells")
	if c.address == "" {
		c.failed = true
		c.install(t)
		c.apply(t, "endpoint.yaml")
		c.wait(t, gatewayNamespace, "gateway/mcp-gateway", "condition=Programmed")
		c.rollout(t, gatewayNamespace, envoyDeployment)
		address, c.unreach = c.forward(t, gatewayNamespace, envoyDeployment, 8080)
		c.awaitEndpoint(t, address)
		c.address, c.failed = address, false
	}
	return c.address
}

// install installs the gateway as the guide says, for the Gateway that it expects, and waits until it is ready.
func (c *cluster) install(t testing.TB) {
	t.Helper()
	overlay := c.overlay(t)
	if c.kubectl(t, "get", "namespace", installNamespace, "--ignore-not-found", "-o", "name") != "" {
		// Left by a run that was killed, with another image under the same name.
		c.kubectl(t, "delete", "--ignore-not-found", "-k", overlay)
	}
	c.apply(t, "shared-gateway.yaml")
	c.kubectl(t, "apply", "--server-side", "-k", overlay)
	c.rollout(t, installNamespace, controllerDeployment)
	c.rollout(t, installNamespace, brokerDeployment)
}

// forget is for who uninstalls the gateway: whoever needs it next installs it anew.
func (c *cluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.address != "" {
		c.unreach()
		c.address = ""
	}
}

// removeInstallation leaves a cluster that stays as it was found.
func (c *cluster) removeInstallation() {
	c.forget()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	for _, args := range [][]string{
		{"delete", "--ignore-not-found", "-k", "../../config/install"},
		{"delete", "--ignore-not-found", "-f", "testdata/shared-gateway.yaml"},
	} {
		if _, err := c.try(ctx, "", append([]string{"kubectl"}, args...)...); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
		}
	}
}

// overlay is a folder with a kustomization of config/install that has the images that are tested.
func (c *cluster) overlay(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	installed, err := filepath.Abs("../../config/install")
	require.NoError(t, err)
	relative, err := filepath.Rel(dir, installed)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join("testdata", "overlay.yaml"))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(data), "${INSTALL}", relative)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}

func (c *cluster) awaitEndpoint(t testing.TB, address string) {
	t.Helper()
	client := clientAt(t, address)
	await(t, "the endpoint to be live", func() (string, bool) {
		a, err := client.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		return seen(a, err), err == nil && a.Status != http.StatusNotFound && a.Status < http.StatusInternalServerError
	})
}

// clientAt is a client of the endpoint, whose requests go to an address and are for the endpoint's host.
func clientAt(t testing.TB, address string) *testbed.Client {
	t.Helper()
	client := testbed.NewClient(t, "http://"+endpointHost+"/mcp")
	client.HTTP.Transport = through(t, address)
	return client
}

// through leads all requests to one address, whatever their hosts are.
func through(t testing.TB, address string) *http.Transport {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// await asks until it holds. In vain, it tells what was seen last.
func await(t testing.TB, what string, ask func() (saw string, holds bool)) {
	t.Helper()
	saw, held, begun := "nothing", false, time.Now()
	defer func() {
		if held {
			t.Logf("%.1f s: %s", time.Since(begun).Seconds(), what)
		} else {
			t.Logf("seen last: %s", saw)
		}
	}()
	testbed.AwaitWithin(t, patience, what, func() bool {
		saw, held = ask()
		return held
	})
}

// seen words an answer, or that there was none.
func seen(a *testbed.Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return a.String()
}
