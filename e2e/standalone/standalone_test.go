package standalone_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// gateway is a running `standalone` with a folder for its temporary files.
type gateway struct {
	*testbed.Process
	temp     string
	endpoint string
	admin    string
}

// launch starts the gateway and does not wait for it.
func launch(t *testing.T, flags ...string) *gateway {
	t.Helper()
	temp, err := os.MkdirTemp("", "run") //nolint:usetesting // the path of t.TempDir has the test's name in it, which is too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	port, admin := strconv.Itoa(testbed.FreePort(t)), testbed.FreeAddress(t)
	args := append([]string{"standalone", "--envoy", testbed.Program(t, testbed.EnvoyBin), "--port", port, "--admin-address", admin}, flags...)
	return &gateway{
		Process: testbed.Start(t, "standalone", testbed.Command{Path: testbed.Program(t, testbed.GatewayBin), Args: args, Env: []string{"TMPDIR=" + temp}}),
		temp:    temp, endpoint: "http://127.0.0.1:" + port + "/mcp", admin: "http://" + admin,
	}
}

// start waits until the gateway has said that it can be used.
func start(t *testing.T, flags ...string) *gateway {
	t.Helper()
	g := launch(t, flags...)
	g.Said(t, "Ctrl-C stops it.")
	return g
}

func withExamples(t *testing.T) []string {
	t.Helper()
	return []string{"--example-servers", testbed.Program(t, testbed.ExampleBin)}
}

func withServer(t *testing.T, u *testbed.Upstream) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	testbed.WriteConfig(t, path, testbed.ServerSpec("up", u.URL))
	return []string{"--mcp-gateway-config", path}
}

func (g *gateway) leftovers(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(g.temp, "*"))
	require.NoError(t, err)
	return left
}

func TestFromNothingToTheFirstCall(t *testing.T) {
	began := time.Now()
	g := start(t, withExamples(t)...)
	c := testbed.Connect(t, g.endpoint)
	assert.Equal(t, []string{"time_add_duration", "time_get_time", "weather_get_alerts", "weather_get_forecast", "weather_watch_storm"}, c.ToolNames(t))
	for range 2 { // by the broker, then straight through Envoy
		assert.Contains(t, c.Call(t, "weather_get_forecast", `{"city":"Rome"}`).Text(t), "Rome")
	}
	assert.Less(t, time.Since(began), 10*time.Second)
	said := g.Output()
	for _, want := range []string{g.endpoint, g.admin + "/", "weather: 3 tools", "time: 2 tools", "@modelcontextprotocol/inspector", `{"mcpServers"`, "curl "} {
		assert.Contains(t, said, want)
	}

	g.Signal(syscall.SIGTERM)
	assert.Equal(t, 0, g.ExitCode(t))
	assert.Empty(t, g.leftovers(t))
	assert.NotContains(t, g.Output(), "level=WARN")
	assert.NotContains(t, g.Output(), "envoy: ")
}

// Invariant 3: nothing that it starts can be reached from another machine.
func TestListensOnLoopbackOnly(t *testing.T) {
	g := start(t, withExamples(t)...)
	family := processes(t, g.PID())
	require.Len(t, family, 4, "the gateway, Envoy and two example servers")
	addresses := listening(t, family)
	assert.Len(t, addresses, 4, "Envoy, the admin interface and two example servers: %v", addresses)
	for _, a := range addresses {
		assert.True(t, a == "0100007F" || a == "00000000000000000000000001000000", "listens on %s", a)
	}
}

func TestStopsOnlyWhenCallsHaveEnded(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			called, release := make(chan struct{}), make(chan struct{})
			u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
				{Name: "quick", Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, "done") }},
				{Name: "slow", Call: func(w http.ResponseWriter, c *testbed.Call) {
					close(called)
					<-release
					c.Text(w, "at last")
				}},
			}})
			g := start(t, withServer(t, u)...)
			c := testbed.Connect(t, g.endpoint)
			c.Call(t, "up_quick", "{}") // opens the session, so that the next call is Envoy's alone
			stream := c.Listen(t)
			answer := make(chan string, 1)
			go func() { answer <- c.Call(t, "up_slow", "{}").Text(t) }()
			<-called
			g.Signal(sig)
			testbed.Await(t, "it to be no longer ready", func() bool {
				return testbed.Get(t, g.admin+"/readyz").Status == http.StatusServiceUnavailable
			})
			sessions := u.Sessions(c.Name)
			require.NotEmpty(t, sessions)
			assert.True(t, u.Knows(sessions[0]), "the session lasts as long as its calls")
			close(release)
			assert.Equal(t, "at last", <-answer)
			assert.Equal(t, 0, g.ExitCode(t), "a stream that a client only listens on holds nothing up")
			_, more := stream.TryNext(t)
			assert.False(t, more)
			assert.False(t, u.Knows(sessions[0]), "its end was told to the server")
			assert.Empty(t, g.leftovers(t))
		})
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	called := make(chan struct{})
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "hang", Call: func(_ http.ResponseWriter, c *testbed.Call) {
		close(called)
		<-c.Context().Done()
	}}}})
	g := start(t, append(withServer(t, u), "--drain-timeout", "1h")...)
	c := testbed.Connect(t, g.endpoint)
	body, _ := c.ToolCall("up_hang", "{}")
	go func() { _, _ = c.TryDo(t, http.MethodPost, strings.NewReader(body)) }()
	<-called
	g.Signal(syscall.SIGTERM)
	g.Said(t, "stopping")
	g.Signal(syscall.SIGTERM)
	assert.Equal(t, 1, g.ExitCode(t))
	assert.Contains(t, g.Output(), "stopped at once by a second signal")
	assert.Empty(t, g.leftovers(t))
}

func TestEndsWithEnvoy(t *testing.T) {
	g := start(t, withExamples(t)...)
	family := processes(t, g.PID())
	for pid, name := range family {
		if name == "envoy" {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	assert.Equal(t, 1, g.ExitCode(t))
	assert.Contains(t, g.Output(), "mcp-broker-router: envoy ended unexpectedly with signal: killed")
	assert.Empty(t, g.leftovers(t))
	awaitEnd(t, family)
}

// Killed without a chance to clean up, it leaves no process behind.
func TestNoOrphans(t *testing.T) {
	g := start(t, withExamples(t)...)
	family := processes(t, g.PID())
	g.Kill()
	awaitEnd(t, family)
}

func TestASecondOneSaysWhatToDo(t *testing.T) {
	g := start(t, withExamples(t)...)
	port := g.endpoint[strings.LastIndexByte(g.endpoint, ':')+1 : strings.LastIndexByte(g.endpoint, '/')]
	second := launch(t, append(withExamples(t), "--port", port)...)
	assert.Equal(t, 1, second.ExitCode(t))
	assert.Contains(t, second.Output(), "port "+port+" is taken (another make run?); choose one with GATEWAY_LOCAL_PORT_HTTP_MCP=…")
	testbed.Connect(t, g.endpoint)
}

// The admin interface gives way where its usual port is taken, since nobody asked for that port.
func TestBesideAnother(t *testing.T) {
	args := append([]string{"standalone", "--envoy", testbed.Program(t, testbed.EnvoyBin)}, withExamples(t)...)
	var gateways []*testbed.Process
	for range 2 {
		p := testbed.Start(t, "standalone", testbed.Command{
			Path: testbed.Program(t, testbed.GatewayBin), Args: args,
			Env: []string{"GATEWAY_LOCAL_PORT_HTTP_MCP=" + strconv.Itoa(testbed.FreePort(t))},
		})
		p.Said(t, "Ctrl-C stops it.")
		gateways = append(gateways, p)
	}
	assert.NotEqual(t, adminLine(t, gateways[0]), adminLine(t, gateways[1]))
}

func adminLine(t *testing.T, p *testbed.Process) string {
	t.Helper()
	for line := range strings.Lines(p.Output()) {
		if strings.HasPrefix(strings.TrimSpace(line), "Status") {
			return line
		}
	}
	t.Fatal("it says no admin address")
	return ""
}

// The protected-resource metadata is for pages of any origin, whoever answers for that.
func TestProtectedResource(t *testing.T) {
	g := start(t, withExamples(t)...)
	url := strings.TrimSuffix(g.endpoint, "/mcp") + "/.well-known/oauth-protected-resource/mcp"
	for origin, want := range map[string]string{"": "*", "https://app.example.com": "https://app.example.com"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		require.NoError(t, err)
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		assert.Equal(t, []string{want}, resp.Header.Values("Access-Control-Allow-Origin"))
	}
	assert.JSONEq(t, `{"resource_name":"MCP Server","resource":"`+g.endpoint+`","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`,
		testbed.Get(t, url).Body)
}
