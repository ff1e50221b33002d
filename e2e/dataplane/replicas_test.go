package dataplane_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// cluster is several gateways that are one, each with an Envoy of its own, and what they share.
type cluster struct {
	replicas []*testbed.Gateway
	redis    *testbed.Process
	address  string // of redis
}

func startCluster(t *testing.T, n int, servers ...config.ServerSpec) *cluster {
	t.Helper()
	c := &cluster{address: testbed.FreeAddress(t)}
	c.startRedis(t)
	for range n {
		c.replicas = append(c.replicas, testbed.StartGateway(t, testbed.Options{
			Mode: testbed.Fed, Servers: servers, Store: "redis://" + c.address, Env: append(secretEnv(), "MCP_GATEWAY_SESSION_KEY="+strings.Repeat("k", 32)),
		}))
	}
	for _, g := range c.replicas {
		g.AwaitProgrammed(t)
	}
	return c
}

func (c *cluster) startRedis(t *testing.T) {
	t.Helper()
	c.redis = testbed.Redis(t, c.address)
}

// at is a client of the same session at another replica.
func (c *cluster) at(client *testbed.Client, replica int) *testbed.Client {
	return client.At(c.replicas[replica].Endpoint)
}

// TestReplicas: any replica does for any request.
func TestReplicas(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	plain := testbed.NewStatelessServer(t, `[{"name":"tool","inputSchema":{"type":"object"}}]`, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var m struct{ ID json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&m)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[]}}`, m.ID)
	})
	c := startCluster(t, 3, spec("u", u.URL), spec("plain", plain.URL), spec("old", askingSDKServer(t, legacyRevision)))
	for _, g := range c.replicas {
		g.AwaitTools(t, "u_tool", "plain_tool", "old_survey")
	}
	t.Run("a session is one at all of them", func(t *testing.T) {
		client := testbed.Connect(t, c.replicas[0].Endpoint)
		for i := range 6 {
			c.at(client, i%3).Call(t, "u_tool", "{}").Result(t)
		}
		assert.Len(t, u.Calls(client.Name, testbed.RPC("initialize")), 1)
		before := len(u.Calls(client.Name, direct))
		for i := range 3 {
			c.at(client, i).Call(t, "u_tool", "{}").Result(t)
		}
		assert.Len(t, u.Calls(client.Name, direct), before+3, "all of them route past the broker")

		assert.Equal(t, http.StatusNoContent, c.at(client, 1).Do(t, http.MethodDelete, nil).Status)
		testbed.Await(t, "all of them to know", func() bool {
			for i := range 3 {
				if c.at(client, i).Call(t, "u_tool", "{}").Status != http.StatusNotFound {
					return false
				}
			}
			return true
		})
		testbed.Await(t, "the server to know", func() bool { return len(u.Calls(client.Name, testbed.Verb(http.MethodDelete))) == 1 })
	})
	t.Run("a call that waits for input", func(t *testing.T) {
		client := testbed.NewStateless(t, c.replicas[0].Endpoint)
		answered := func(replica int, answers, state string) (string, string) {
			if state != "" {
				answers = `,"inputResponses":{` + answers + `},"requestState":"` + state + `"`
			}
			a := client.At(c.replicas[replica].Endpoint).Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"old_survey","arguments":{},"_meta":{`+
				`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},`+
				`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"roots":{}}}`+answers+`}}`,
				"Mcp-Protocol-Version", modernRevision, "Mcp-Method", "tools/call", "Mcp-Name", "old_survey")
			var got struct {
				RequestState  string
				InputRequests map[string]json.RawMessage
			}
			result := a.Result(t)
			require.NoError(t, json.Unmarshal([]byte(result), &got))
			for key := range got.InputRequests {
				return got.RequestState, key
			}
			return result, ""
		}
		state, key := answered(0, "", "")
		state, key = answered(1, `"`+key+`":{"action":"accept","content":{"name":"eve"}}`, state)
		state, key = answered(2, `"`+key+`":{"role":"assistant","model":"m","content":{"type":"text","text":"of the model"}}`, state)
		result, key := answered(1, `"`+key+`":{"roots":[]}`, state)
		assert.Empty(t, key)
		assert.Contains(t, result, `eve says \"of the model\", 0 roots`)
	})
	t.Run("the store is away", func(t *testing.T) { c.withoutStore(t) })
}

// withoutStore: sessions go on where they are known, requests without a session everywhere; all else fails clearly until the store is back. One that has
// lost everything gets what the replicas know.
func (c *cluster) withoutStore(t *testing.T) {
	t.Helper()
	known := testbed.Connect(t, c.replicas[0].Endpoint)
	known.Call(t, "u_tool", "{}").Result(t)
	stateless := testbed.NewStateless(t, c.replicas[1].Endpoint)
	c.redis.Kill()
	for range 3 {
		known.Call(t, "u_tool", "{}").Result(t)
		stateless.Ask(t, "tools/call", `{"name":"plain_tool","arguments":{}}`).Result(t)
	}
	a := c.at(known, 1).Call(t, "u_tool", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.Contains(t, a.Error(t).Message, "sessions cannot be looked up now")
	assert.Equal(t, "1", a.Error(t).ID)
	a = testbed.NewClient(t, c.replicas[2].Endpoint).Post(t, `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.Equal(t, `"i"`, a.Error(t).ID)
	a = known.Do(t, http.MethodDelete, nil)
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, "what cannot be told to all has not ended")

	c.startRedis(t)
	testbed.Await(t, "the others to know the session again", func() bool {
		a := c.at(known, 1).Call(t, "u_tool", "{}")
		return a.Status == http.StatusOK
	})
	testbed.Connect(t, c.replicas[2].Endpoint).Call(t, "u_tool", "{}").Result(t)
}

// chaosTime is how long replicas are killed: a moment, or as long as CHAOS_TIME says.
func chaosTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("CHAOS_TIME")
	if text == "" {
		return 6 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// TestReplicasAreKilled: under load one replica after the other is killed and started again. Only calls that are under way there fail, each with a clear
// error; no session is lost, and no call is made twice.
func TestReplicasAreKilled(t *testing.T) {
	t.Parallel()
	const sessions = 24
	var (
		mu   sync.Mutex
		done = map[string]int{} // by the argument that each call has of its own
	)
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "count", Call: func(w http.ResponseWriter, c *testbed.Call) {
		var p struct{ Arguments struct{ N string } }
		_ = json.Unmarshal(c.Params, &p)
		mu.Lock()
		done[p.Arguments.N]++
		mu.Unlock()
		c.Text(w, p.Arguments.N)
	}}}})
	c := startCluster(t, 3, spec("u", u.URL))
	for _, g := range c.replicas {
		g.AwaitTools(t, "u_count")
	}
	clients := make([]*testbed.Client, sessions)
	for i := range clients {
		clients[i] = testbed.NewClient(t, c.replicas[i%3].Endpoint)
		clients[i].Name = fmt.Sprint("client ", i)
		clients[i].Initialize(t, "{}")
	}
	var (
		stop     = make(chan struct{})
		wait     sync.WaitGroup
		outcomes = map[string]int{}
		answered = map[string]bool{}
	)
	for i, client := range clients {
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				argument := fmt.Sprint(i, ".", n)
				at := c.at(client, rand.IntN(3))
				a, err := at.TryDo(t, http.MethodPost, strings.NewReader(fmt.Sprintf(
					`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":"u_count","arguments":{"n":%q}}}`, argument, argument)))
				var outcome string
				switch {
				case err != nil:
					outcome = err.Error()
				case a.Status == http.StatusOK && strings.Contains(a.Body, `"text":"`+argument+`"`):
					outcome = "ok"
				case strings.Contains(a.Body, `"id":"`+argument+`","error":{"code":-32603`),
					strings.HasPrefix(a.Body, `{"jsonrpc":"2.0","error":{"code":-32603`): // by Envoy, without a router that knows the id
					outcome = fmt.Sprint("error ", a.Status)
				default:
					outcome = a.String()
				}
				mu.Lock()
				outcomes[outcome]++
				answered[argument] = outcome == "ok"
				mu.Unlock()
			}
		})
	}
	for begun, n := time.Now(), 0; time.Since(begun) < chaosTime(t); n++ {
		g := c.replicas[n%3]
		g.Process.Signal(syscall.SIGKILL)
		<-g.Process.Exited()
		g.StartProcess(t)
		g.AwaitReady(t)
		g.AwaitProgrammed(t)
	}
	close(stop)
	wait.Wait()
	t.Logf("outcomes: %v", outcomes)
	for outcome, n := range outcomes {
		if outcome != "ok" {
			assert.Regexp(t, `^error 50[0-9]$`, outcome, "%d ×", n)
		}
	}
	assert.Greater(t, outcomes["ok"], 20*sessions)
	for argument, n := range done {
		assert.Equal(t, 1, n, argument)
	}
	for argument, ok := range answered {
		if ok {
			assert.Equal(t, 1, done[argument])
		}
	}
	for i, client := range clients {
		for replica := range 3 {
			c.at(client, replica).Call(t, "u_count", fmt.Sprintf(`{"n":"end %d %d"}`, i, replica)).Result(t)
		}
	}
}
