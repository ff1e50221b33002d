package dataplane_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// beside are the modes in which the gateway and Envoy live and die apart. How the standalone process starts and ends is
// tested in e2e/standalone.
func beside(t *testing.T, f func(t *testing.T, mode testbed.Mode)) {
	for _, mode := range []testbed.Mode{testbed.Fed, testbed.Static} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			f(t, mode)
		})
	}
}

// TestGatewayDies: an Envoy whose router is gone lets nobody pass and says so as everything is said here (Invariants 5
// and 7); when the router is back, so are the answers. The router inside of Envoy goes on with what it knows.
func TestGatewayDies(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u})})
		g.AwaitTools(t, "u_tool")
		c := testbed.Connect(t, g.Endpoint)
		c.Call(t, "u_tool", "{}").Result(t)
		stream := c.Listen(t)

		g.Process.Kill()
		_, more := stream.TryNext(t)
		assert.False(t, more, "nobody is left to write to the stream")
		before := len(u.AllCalls())
		inside := testbed.Module() && mode == testbed.Fed
		for range 3 {
			if inside {
				c.Call(t, "u_tool", "{}").Result(t)
			}
			a := c.Post(t, `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
			if !inside {
				a = c.Call(t, "u_tool", "{}")
			}
			assert.Equal(t, http.StatusServiceUnavailable, a.Status)
			assert.Equal(t, -32603, a.Error(t).Code)
		}
		if !inside {
			assert.Len(t, u.AllCalls(), before, "no call passes without a router")
		}

		g.StartProcess(t)
		g.AwaitReady(t)
		ready := time.Now()
		testbed.AwaitWithin(t, soon, "Envoy to find the router again", func() bool {
			return c.Call(t, "u_tool", "{}").Status == http.StatusNotFound // the session has gone with the process
		})
		t.Logf("Envoy found it again %v after it was ready", time.Since(ready).Round(time.Millisecond))
		again := testbed.Connect(t, g.Endpoint)
		g.AwaitTools(t, "u_tool")
		for range 2 {
			again.Call(t, "u_tool", "{}").Result(t)
		}
	})
}

// TestEnvoyRestarts: the gateway lives on, sessions and all, and feeds the next Envoy as it fed the first.
func TestEnvoyRestarts(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u})})
		g.AwaitTools(t, "u_tool")
		c := testbed.Connect(t, g.Endpoint)
		c.Call(t, "u_tool", "{}").Result(t)
		g.Envoy.Kill()
		assert.Equal(t, http.StatusOK, testbed.Get(t, g.Admin+"/healthz").Status)
		started := time.Now()
		g.StartEnvoy(t)
		g.AwaitReady(t)
		testbed.AwaitWithin(t, soon, "the session to go on", func() bool {
			a, err := c.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u_tool"}}`))
			return err == nil && a.Status == http.StatusOK
		})
		t.Logf("the session went on %v after Envoy was started", time.Since(started).Round(time.Millisecond))
		assert.Len(t, u.Sessions(c.Name), 1, "in its one backend session")
	})
}

// TestEnvoyHotRestarts: a new Envoy takes over from the old one while calls are made, and none fails.
func TestEnvoyHotRestarts(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, HotRestart: true, Servers: specs(map[string]*testbed.Upstream{"u": u})})
		g.AwaitTools(t, "u_tool")
		var (
			stop  = make(chan struct{})
			wait  sync.WaitGroup
			calls atomic.Int64
		)
		for range 4 {
			c := testbed.Connect(t, g.Endpoint)
			c.Call(t, "u_tool", "{}").Result(t)
			wait.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					a, err := c.TryDo(t, http.MethodPost, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"u_tool","arguments":{}}}`))
					if assert.NoError(t, err) {
						assert.Equal(t, http.StatusOK, a.Status, a.Body)
					}
					calls.Add(1)
				}
			})
		}
		for range 2 {
			before := g.HotRestart(t)
			select {
			case <-before.Exited():
			case <-time.After(testbed.Patience):
				t.Error("the old Envoy did not end")
			}
		}
		close(stop)
		wait.Wait()
		t.Logf("%d calls over two restarts", calls.Load())
	})
}

// TestGatewayStops: told to stop, the gateway lets the calls in flight finish, those that it makes and those that it
// looks at, takes leave of the servers and exits with 0.
func TestGatewayStops(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		finish := make(chan struct{})
		slow := func(w http.ResponseWriter, c *testbed.Call) {
			send := testbed.SSE(w)
			send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
			select {
			case <-finish:
				send("data: " + c.Result(testbed.TextResult("finished")) + "\n\n")
			case <-c.Context().Done():
			}
		}
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}, {Name: "slow", Call: slow}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u})})
		g.AwaitTools(t, "u_tool")
		fresh, used := testbed.Connect(t, g.Endpoint), testbed.Connect(t, g.Endpoint)
		used.Call(t, "u_tool", "{}").Result(t)
		used.Listen(t) // an open stream keeps nobody from stopping
		var calls []*testbed.Stream
		for _, c := range []*testbed.Client{fresh, used} {
			body, _ := c.ToolCall("u_slow", "{}")
			s := c.Open(t, http.MethodPost, body)
			s.Find(t, "begun")
			calls = append(calls, s)
		}
		g.Process.Signal(syscall.SIGTERM)
		testbed.Await(t, "the gateway to say that it is going", func() bool {
			return testbed.Get(t, g.Admin+"/readyz").Status == http.StatusServiceUnavailable
		})
		close(finish)
		for _, s := range calls {
			assert.Contains(t, s.Find(t, `"result"`).Data, "finished")
		}
		assert.Equal(t, 0, g.Process.ExitCode(t))
		assert.Empty(t, u.Sessions(fresh.Name), "its sessions with servers are closed (Invariant 11)")
		assert.Empty(t, u.Sessions(used.Name))
		assert.Empty(t, u.Sessions("mcp-gateway"))
	})
}

// TestStoppingHasAnEnd: a call that does not end keeps the gateway no longer than it was told to wait.
func TestStoppingHasAnEnd(t *testing.T) {
	t.Parallel()
	beside(t, func(t *testing.T, mode testbed.Mode) {
		arrived := make(chan struct{}, 1)
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "hang", Call: func(w http.ResponseWriter, c *testbed.Call) {
			testbed.SSE(w)
			arrived <- struct{}{}
			<-c.Context().Done()
		}}}})
		g := testbed.StartGateway(t, testbed.Options{
			Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: []string{"--drain-timeout", "300ms"},
		})
		g.AwaitTools(t, "u_hang")
		c := testbed.Connect(t, g.Endpoint)
		body, _ := c.ToolCall("u_hang", "{}")
		c.Open(t, http.MethodPost, body)
		<-arrived
		began := time.Now()
		g.Process.Signal(syscall.SIGTERM)
		assert.Equal(t, 0, g.Process.ExitCode(t))
		assert.Less(t, time.Since(began), 5*time.Second)
	})
}

// TestTakenAddress: whoever starts a second one reads which address is taken and by which flag it is changed.
func TestTakenAddress(t *testing.T) {
	t.Parallel()
	g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Static})
	free := func() string { return testbed.FreeAddress(t) }
	for flag, addresses := range map[string][3]string{
		"--mcp-broker-public-address": {free(), g.Broker, free()},
		"--admin-address":             {free(), free(), strings.TrimPrefix(g.Admin, "http://")},
	} {
		p := testbed.Start(t, "second gateway", testbed.Command{Path: testbed.Program(t, testbed.GatewayBin), Args: []string{
			"--mcp-gateway-config", g.Config, "--mcp-router-address", addresses[0], "--mcp-broker-public-address", addresses[1], "--admin-address", addresses[2],
		}})
		assert.Equal(t, 1, p.ExitCode(t))
		assert.Contains(t, p.Output(), flag)
		assert.Contains(t, p.Output(), "address already in use")
	}
	// The first one has not noticed.
	require.Equal(t, http.StatusOK, testbed.Get(t, g.Admin+"/readyz").Status)
}
