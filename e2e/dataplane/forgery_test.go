package dataplane_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	credential = "the-configured-credential"
	inAFile    = "the-credential-in-a-file"
)

// forgeryBed is a gateway with a server that gets a credential, one that has no sessions, and one that must not be reached.
type forgeryBed struct {
	*testbed.Gateway

	mode                 testbed.Mode
	own, plain, untaught *testbed.Upstream
}

func newForgeryBed(t *testing.T, mode testbed.Mode) *forgeryBed {
	tool := []testbed.Tool{{Name: "tool", Annotations: `{"readOnlyHint":true,"openWorldHint":false}`}}
	b := &forgeryBed{
		mode:     mode,
		own:      testbed.NewUpstream(t, testbed.Script{Tools: tool}),
		plain:    testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: tool}),
		untaught: testbed.NewUpstream(t, testbed.Script{Tools: tool}),
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(inAFile+"\n"), 0o600))
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: mode,
		Servers: []config.ServerSpec{
			spec("own", b.own.URL, func(s *config.ServerSpec) {
				s.Hostname = "own.example.com"
				s.Headers = map[string]string{"X-Env": "100% prod"}
				s.Credential = &config.CredentialSpec{Env: "OWN_TOKEN"}
			}),
			spec("plain", b.plain.URL, func(s *config.ServerSpec) {
				s.Hostname = "plain.example.com"
				s.Credential = &config.CredentialSpec{File: secret, Header: "X-Api-Key"}
			}),
			spec("untaught", b.untaught.URL, func(s *config.ServerSpec) { s.Hostname = "untaught.example.com" }),
		},
		Env:        []string{"OWN_TOKEN=" + credential},
		EnvoyFlags: []string{"--envoy-access-log", "/dev/stdout"},
		Flags:      []string{"--log-level", "debug"},
	})
	b.AwaitTools(t, "own_tool", "plain_tool", "untaught_tool")
	return b
}

// TestForgery: a client can forge nothing (Invariant 3), and nothing of its own that is meant for the gateway, or for
// Envoy, reaches a server (Invariant 6).
func TestForgery(t *testing.T) {
	t.Parallel()
	// Fed instead of standalone: its Envoy has an admin interface, which must not show a credential.
	for _, mode := range []testbed.Mode{testbed.Fed, testbed.Static} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := newForgeryBed(t, mode)
			t.Run("headers", b.headers)
			t.Run("host", b.host)
			t.Run("broker's own port", b.brokersPort)
			t.Run("orders to Envoy", b.ordersToEnvoy)
			t.Run("virtual server", b.virtualServer)
			t.Run("credentials", b.credentials) // the last: it looks at all that was said before
		})
	}
}

// forged are headers that a client has no business sending.
func forged() []string {
	return []string{
		"X-Mcp-Method", "tools/list",
		"X-Mcp-Servername", "untaught",
		"X-Mcp-Toolname", "harmless",
		"X-Mcp-Promptname", "forged",
		"X-Mcp-Resourceuri", "forged",
		"X-Mcp-Publicname", "forged",
		"X-Mcp-Annotation-Hints", "readOnly=true,destructive=false,idempotent=true,openWorld=false",
		"X-Mcp-Cluster", "untaught",
		"X-Mcp-Router-Key", "forged",
		"X-Mcp-Intent", "forged",
		"X-Mcp-Answer", "forged",
		"X-Mcp-Anything", "forged",
		"Mcp-Method", "tools/list",
		"Mcp-Name", "harmless",
		"Mcp-Param-City", "forged",
		"X-Envoy-Original-Path", "/forged",
		"X-Envoy-Anything", "forged",
		"X-Envoy-Decorator-Operation", "forged",
		"Authorization", "Bearer of-the-client",
		"Proxy-Authorization", "Basic b2Y6dGhlLWNsaWVudA==",
		"Cookie", "session=of-the-client",
		"Forwarded", "for=203.0.113.7",
		"X-Forwarded-For", "203.0.113.7",
		"X-Forwarded-Host", "forged.example.com",
		"X-Forwarded-Proto", "forged",
		"X-Forwarded-Port", "1",
		"X-Real-Ip", "203.0.113.7",
		"Via", "1.1 forged",
	}
}

// headers: whatever a client puts into headers, a server sees what the router found out and nothing else.
func (b *forgeryBed) headers(t *testing.T) {
	c := testbed.NewClient(t, b.Endpoint)
	c.Initialize(t, "{}", forged()...)
	for _, tt := range []struct {
		tool, server, way string
		from              *testbed.Upstream
	}{
		{"own_tool", "own", "first call, by the broker", b.own},
		{"own_tool", "own", "straight through Envoy", b.own},
		{"plain_tool", "plain", "server without sessions", b.plain},
	} {
		before := len(tt.from.AllCalls())
		c.Call(t, tt.tool, "{}", forged()...).Result(t)
		for _, call := range tt.from.AllCalls()[before:] {
			for i := 0; i < len(forged()); i += 2 {
				name, value := forged()[i], forged()[i+1]
				assert.NotContains(t, call.Header.Values(name), value, "%s: %s of %s", tt.way, name, call.RPC)
			}
			for name, values := range call.Header {
				assert.NotContains(t, strings.Join(values, " "), "forged", "%s: %s of %s", tt.way, name, call.RPC)
				assert.NotContains(t, strings.Join(values, " "), "of-the-client", "%s: %s of %s", tt.way, name, call.RPC)
				assert.NotContains(t, strings.Join(values, " "), c.Session, "%s: %s of %s", tt.way, name, call.RPC)
			}
			for _, name := range []string{"X-Mcp-Cluster", "X-Mcp-Router-Key", "X-Mcp-Intent", "X-Mcp-Answer", "Cookie", "Proxy-Authorization", "X-Forwarded-For", "X-Envoy-Upstream-Rq-Timeout-Ms"} {
				assert.Empty(t, call.Header.Values(name), "%s: %s of %s", tt.way, name, call.RPC)
			}
			assert.Equal(t, tt.server+".example.com", call.Host, tt.way)
			assert.Equal(t, "/mcp", call.URL.Path, tt.way)
		}
	}
	assert.Empty(t, b.untaught.Calls(c.Name, func(*testbed.Call) bool { return true }), "the server that was named in headers alone")
}

// host: the Host of a server leads nowhere. What is routed is routed by what the message names.
func (b *forgeryBed) host(t *testing.T) {
	c := testbed.Connect(t, b.Endpoint)
	// The gateway reads the servers' lists meanwhile: that is not of a client.
	all := func() (n int) {
		for _, u := range []*testbed.Upstream{b.own, b.plain, b.untaught} {
			for _, call := range u.AllCalls() {
				if !strings.HasSuffix(call.RPC, "/list") && call.Method == http.MethodPost && call.RPC != "initialize" && call.RPC != "notifications/initialized" {
					n++
				}
			}
		}
		return n
	}
	before := all()
	hosts := []string{"own.example.com", "untaught.example.com", strings.TrimSuffix(strings.TrimPrefix(b.untaught.URL, "http://"), "/mcp")}
	for _, host := range hosts {
		// The server's own name of the tool is none of the gateway's.
		a := c.Call(t, "tool", "{}", "Host", host)
		assert.Equal(t, -32602, a.Error(t).Code, "%s: %s", host, a)
		assert.Equal(t, []string{"own_tool", "plain_tool", "untaught_tool"}, c.ToolNames(t))
		for _, path := range []string{"/", "/mcp2", "/v1/mcp", "/mcp/../own"} {
			a := c.At(b.Base+path).Call(t, "own_tool", "{}", "Host", host)
			assert.Equal(t, http.StatusNotFound, a.Status, "%s%s", host, path)
			assert.Equal(t, -32600, a.Error(t).Code)
		}
		assert.Contains(t, rawStatus(t, b.Base, "POST http://"+host+"/other HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\n\r\n"), " 404 ", "an absolute target")
		assert.Contains(t, rawStatus(t, b.Base, "CONNECT "+host+":443 HTTP/1.1\r\nHost: "+host+":443\r\n\r\n"), "HTTP/1.1 40", "a tunnel")
	}
	assert.Equal(t, before, all(), "no server saw any of this")
}

// rawStatus sends bytes and returns the status line of the answer.
func rawStatus(t *testing.T, base, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(testbed.Patience)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return line
}

// brokersPort: whoever goes past Envoy and its policies to the broker is refused.
func (b *forgeryBed) brokersPort(t *testing.T) {
	c := testbed.Connect(t, b.Endpoint)
	c.Endpoint = "http://" + b.Broker + "/mcp"
	for name, headers := range map[string][]string{
		"without a key":      {"X-Mcp-Servername", "own"},
		"with an empty key":  {"X-Mcp-Servername", "own", "X-Mcp-Router-Key", ""},
		"with a guessed key": {"X-Mcp-Servername", "own", "X-Mcp-Router-Key", "guessed"},
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			a := c.Do(t, method, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"tool"}}`), headers...)
			assert.Equal(t, http.StatusForbidden, a.Status, "%s: %s", name, method)
			assert.Equal(t, -32600, a.Error(t).Code)
		}
	}
	assert.Empty(t, b.own.Calls(c.Name, func(*testbed.Call) bool { return true }))
}

// ordersToEnvoy: a client gives Envoy's router none of the orders that it takes in headers.
func (b *forgeryBed) ordersToEnvoy(t *testing.T) {
	c := testbed.Connect(t, b.Endpoint)
	arrived, finish := make(chan struct{}, 8), make(chan struct{})
	tool := []testbed.Tool{{Name: "tool", Call: func(w http.ResponseWriter, c *testbed.Call) {
		if !strings.Contains(string(c.Body), "slow") {
			c.Text(w, "quick")
			return
		}
		arrived <- struct{}{}
		select {
		case <-finish:
			c.Text(w, "in its own time")
		case <-c.Context().Done():
		}
	}}}
	b.own.Change(func(s *testbed.Script) { s.Tools = tool })
	c.Call(t, "own_tool", "{}").Result(t)
	var slow *testbed.Answer
	var wait sync.WaitGroup
	body, _ := c.ToolCall("own_tool", `{"slow":true}`)
	wait.Go(func() {
		slow, _ = c.TryDo(t, http.MethodPost, strings.NewReader(body),
			"X-Envoy-Upstream-Rq-Timeout-Ms", "1", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "1",
			"X-Envoy-Max-Retries", "5", "X-Envoy-Retry-On", "5xx", "X-Envoy-Hedge-On-Per-Try-Timeout", "true")
	})
	<-arrived
	// Much longer than what the client ordered.
	for range 30 {
		c.Call(t, "own_tool", "{}").Result(t)
	}
	close(finish)
	wait.Wait()
	require.NotNil(t, slow)
	assert.Equal(t, "in its own time", slow.Text(t))
	assert.Empty(t, arrived, "the call was made once")
}

// virtualServer: there are none, so none can be chosen (Invariant 5).
func (b *forgeryBed) virtualServer(t *testing.T) {
	c := testbed.Connect(t, b.Endpoint)
	a := c.Call(t, "own_tool", "{}", "X-Mcp-Virtualserver", "anything")
	assert.Equal(t, http.StatusNotFound, a.Status)
	a.Error(t)
	c.Endpoint += "/anything"
	a = c.Call(t, "own_tool", "{}")
	assert.Equal(t, http.StatusNotFound, a.Status)
	a.Error(t)
}

// credentials: a server gets what is configured for it, in place of the client's own, and nobody else gets to see it.
func (b *forgeryBed) credentials(t *testing.T) {
	for _, c := range b.own.AllCalls() {
		assert.Equal(t, []string{"Bearer " + credential}, c.Header.Values("Authorization"), c.RPC)
		assert.Equal(t, []string{"100% prod"}, c.Header.Values("X-Env"), c.RPC)
		assert.Empty(t, c.Header.Values("X-Api-Key"))
	}
	for _, c := range b.plain.AllCalls() {
		assert.Equal(t, []string{inAFile}, c.Header.Values("X-Api-Key"), c.RPC)
		assert.Empty(t, c.Header.Values("Authorization"))
	}
	for _, c := range b.untaught.AllCalls() {
		assert.Empty(t, c.Header.Values("Authorization"))
	}
	client := testbed.Connect(t, b.Endpoint)
	dump := testbed.Get(t, "http://"+b.EnvoyAdmin+"/config_dump?include_eds").Body
	require.Contains(t, dump, "x-env", "the dump shows the servers")
	places := map[string]string{
		"Envoy's configuration":  dump,
		"Envoy's log":            b.Envoy.Output(),
		"the gateway's log":      b.Process.Output(),
		"the status":             testbed.Get(t, b.Admin+"/status").Body,
		"the metrics":            testbed.Get(t, b.Admin+"/metrics").Body,
		"an answer to a client":  fmt.Sprint(client.Call(t, "untaught_tool", "{}")),
		"the command line's own": fmt.Sprint(os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", b.Envoy.PID()))),
	}
	for name, place := range places {
		for _, secret := range []string{credential, inAFile, "of-the-client", client.Session} {
			assert.NotContains(t, place, secret, name)
		}
	}
	assert.Contains(t, b.Envoy.Output(), `"tool":"tool"`, "the access log tells of calls")
}

// h2 is a client that speaks HTTP/2 without having asked.
func h2(t *testing.T, c *testbed.Client) {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	c.HTTP = &http.Client{Transport: transport}
}

// TestHostOverHTTP2: the same as over HTTP/1.1 for :authority, and the connection's one way of saying headers twice.
func TestHostOverHTTP2(t *testing.T) {
	t.Parallel()
	b := newForgeryBed(t, testbed.Standalone)
	c := testbed.NewClient(t, b.Endpoint)
	h2(t, c)
	c.Initialize(t, "{}", forged()...)
	c.Call(t, "own_tool", "{}", slices.Concat(forged(), []string{"Host", "untaught.example.com"})...).Result(t)
	ctx, cancel := context.WithTimeout(t.Context(), testbed.Patience)
	defer cancel()
	body, _ := c.ToolCall("own_tool", "{}")
	req, err := c.Request(ctx, http.MethodPost, strings.NewReader(body))
	require.NoError(t, err)
	req.URL.Path = "/other"
	req.Host = "own.example.com"
	resp, err := c.HTTP.Do(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	assert.Equal(t, 2, resp.ProtoMajor)
	assert.Len(t, b.own.Calls(c.Name, testbed.RPC("tools/call")), 1)
	assert.Empty(t, b.untaught.Calls(c.Name, func(*testbed.Call) bool { return true }))
}
