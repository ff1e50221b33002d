package dataplane_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gosdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// soon is the second within which a change of the file has to be in force, and as much again twice for a busy machine.
const soon = 3 * time.Second

// TestReload: the configuration can be changed in every way in which files are changed, a server that is added can be
// called, and one that is removed cannot.
func TestReload(t *testing.T) {
	t.Parallel()
	a := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	b := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	for name, replace := range map[string]func(t *testing.T, path string, servers ...config.ServerSpec){
		"write": func(t *testing.T, path string, servers ...config.ServerSpec) {
			testbed.WriteConfig(t, path, servers...)
		},
		"rename": renameOver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{spec("a", a.URL)}})
			addAndRemove(t, g, a, b, func(servers ...config.ServerSpec) { replace(t, g.Config, servers...) })
		})
	}
	t.Run("symlinks", func(t *testing.T) {
		t.Parallel()
		m := newConfigMap(t)
		m.update(t, spec("a", a.URL))
		g := testbed.StartGateway(t, testbed.Options{Flags: []string{"--mcp-gateway-config", m.path()}})
		addAndRemove(t, g, a, b, func(servers ...config.ServerSpec) { m.update(t, servers...) })
	})
}

func renameOver(t *testing.T, path string, servers ...config.ServerSpec) {
	t.Helper()
	next := path + ".next"
	testbed.WriteConfig(t, next, servers...)
	require.NoError(t, os.Rename(next, path))
}

// configMap is a folder that changes as a mounted ConfigMap does: all files are symbolic links into a folder that is a
// symbolic link itself, and that one is swapped.
type configMap struct {
	dir     string
	version int
}

func newConfigMap(t *testing.T) *configMap { return &configMap{dir: t.TempDir()} }

func (m *configMap) path() string { return filepath.Join(m.dir, "config.yaml") }

func (m *configMap) update(t *testing.T, servers ...config.ServerSpec) {
	t.Helper()
	m.version++
	content := fmt.Sprintf("..version_%d", m.version)
	require.NoError(t, os.Mkdir(filepath.Join(m.dir, content), 0o700))
	testbed.WriteConfig(t, filepath.Join(m.dir, content, "config.yaml"), servers...)
	next := filepath.Join(m.dir, "..data_tmp")
	require.NoError(t, os.Symlink(content, next))
	require.NoError(t, os.Rename(next, filepath.Join(m.dir, "..data")))
	if m.version == 1 {
		require.NoError(t, os.Symlink(filepath.Join("..data", "config.yaml"), m.path()))
		return
	}
	require.NoError(t, os.RemoveAll(filepath.Join(m.dir, fmt.Sprintf("..version_%d", m.version-1))))
}

func addAndRemove(t *testing.T, g *testbed.Gateway, a, b *testbed.Upstream, replace func(...config.ServerSpec)) {
	c := testbed.Connect(t, g.Endpoint)
	g.AwaitTools(t, "a_tool")
	c.Call(t, "a_tool", "{}").Result(t)
	stream := c.Listen(t)

	replace(spec("a", a.URL), spec("b", b.URL))
	testbed.AwaitWithin(t, soon, "the added server's tool to be callable", func() bool {
		// Until Envoy knows the server, the answer is that nobody knows yet.
		return c.Call(t, "b_tool", "{}").Status == http.StatusOK && slices.Contains(c.ToolNames(t), "b_tool")
	})
	c.Call(t, "b_tool", "{}").Result(t)
	stream.Find(t, "notifications/tools/list_changed")
	assert.Equal(t, []string{"a_tool", "b_tool"}, c.ToolNames(t))

	replace(spec("b", b.URL, func(s *config.ServerSpec) { s.ToolPrefix = "other_" }))
	testbed.AwaitWithin(t, soon, "the removed server's tool to be gone", func() bool {
		return strings.Contains(c.Call(t, "a_tool", "{}").Body, "-32602")
	})
	stream.Find(t, "notifications/tools/list_changed")
	assert.Equal(t, []string{"other_tool"}, c.ToolNames(t))
	c.Call(t, "other_tool", "{}").Result(t)
}

// TestReloadKeepsCalls: calls in flight and open streams go on, however often the configuration changes meanwhile, the
// server's own entry included.
func TestReloadKeepsCalls(t *testing.T) {
	t.Parallel()
	finish, arrived := make(chan struct{}), make(chan struct{}, 8)
	slow := testbed.Tool{Name: "slow", Call: func(w http.ResponseWriter, c *testbed.Call) {
		send := testbed.SSE(w)
		send("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"begun\"}}\n\n")
		arrived <- struct{}{}
		select {
		case <-finish:
			send("data: " + c.Result(testbed.TextResult("finished")) + "\n\n")
		case <-c.Context().Done():
		}
	}}
	script := testbed.Script{Tools: []testbed.Tool{slow, {Name: "tool"}}}
	u := testbed.NewUpstream(t, script)
	script.Sessionless = true
	plain := testbed.NewUpstream(t, script)
	g := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u, "plain": plain})})
	g.AwaitTools(t, "u_slow", "plain_slow")
	fresh, used := testbed.Connect(t, g.Endpoint), testbed.Connect(t, g.Endpoint)
	used.Call(t, "u_tool", "{}").Result(t)
	var calls []*testbed.Stream
	for _, call := range []struct {
		c    *testbed.Client
		tool string
	}{{fresh, "u_slow"}, {used, "u_slow"}, {used, "plain_slow"}} {
		body, _ := call.c.ToolCall(call.tool, "{}")
		s := call.c.Open(t, http.MethodPost, body)
		s.Find(t, "begun")
		calls = append(calls, s)
		<-arrived
	}
	events := used.Listen(t)

	const reloads = 20
	for i := range reloads {
		marked := func(s *config.ServerSpec) {
			s.Headers = map[string]string{"X-Version": fmt.Sprint(i)}
			s.ToolPrefix = fmt.Sprintf("v%d_%s_", i, s.Name)
		}
		testbed.WriteConfig(t, g.Config, spec("u", u.URL, marked), spec("plain", plain.URL, marked))
		g.AwaitTools(t, fmt.Sprintf("v%d_u_tool", i), fmt.Sprintf("v%d_plain_tool", i))
		events.Find(t, "notifications/tools/list_changed")
	}
	assert.GreaterOrEqual(t, g.Metric(t, `mcp_gateway_config_reloads_total{result="success"}`), float64(reloads))
	for _, tool := range []string{"u_tool", "plain_tool"} {
		for range 2 {
			used.Call(t, fmt.Sprintf("v%d_%s", reloads-1, tool), "{}").Result(t)
		}
	}
	for _, server := range []*testbed.Upstream{u, plain} {
		all := server.AllCalls()
		assert.Equal(t, fmt.Sprint(reloads-1), all[len(all)-1].Header.Get("X-Version"), "new calls are made by the new configuration")
	}
	close(finish)
	for _, s := range calls {
		assert.Contains(t, s.Find(t, `"result"`).Data, "finished")
	}
}

// TestBadReload: a bad configuration never replaces a good one; it is reported whole and counted (Invariant 8).
func TestBadReload(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("u", u.URL)}})
		g.AwaitTools(t, "u_tool")
		c := testbed.Connect(t, g.Endpoint)
		good, err := os.ReadFile(g.Config)
		require.NoError(t, err)
		for i, bad := range []string{
			"servers: [",
			"servers:\n  - name: u\n    url: ftp://example.com\n    toolprefix: x\n  - name: u\n    url: http://127.0.0.1:1\n",
		} {
			require.NoError(t, os.WriteFile(g.Config, []byte(bad), 0o600))
			testbed.AwaitWithin(t, soon, "the problems to be reported", func() bool { return len(g.Status(t).Config.Problems) > 0 })
			problems := strings.Join(g.Status(t).Config.Problems, "\n")
			if i == 1 {
				for _, part := range []string{g.Config, "ftp", "toolprefix", `"u"`} {
					assert.Contains(t, problems, part, "all of them, with their place")
				}
				assert.Len(t, g.Status(t).Config.Problems, 3, problems)
			}
			assert.Equal(t, float64(i+1), g.Metric(t, `mcp_gateway_config_reloads_total{result="failure"}`))
			assert.Zero(t, g.Metric(t, "mcp_gateway_config_valid"))
			c.Call(t, "u_tool", "{}").Result(t)
			assert.Equal(t, http.StatusOK, testbed.Get(t, g.Admin+"/readyz").Status)
			if i == 0 {
				require.NoError(t, os.WriteFile(g.Config, good, 0o600))
				testbed.AwaitWithin(t, soon, "the file to be good again", func() bool { return len(g.Status(t).Config.Problems) == 0 })
				assert.Equal(t, 1.0, g.Metric(t, "mcp_gateway_config_valid"))
			}
		}
		// A change that concerns no address of a server is in force even where nobody feeds Envoy.
		testbed.WriteConfig(t, g.Config, spec("u", u.URL, func(s *config.ServerSpec) { s.ToolPrefix = "" }))
		g.AwaitTools(t, "tool")
		c.Call(t, "tool", "{}").Result(t)
	})
}

// TestChangesOfServers: clients hear of every change of a server's list, be it a word in a description.
func TestChangesOfServers(t *testing.T) {
	t.Parallel()
	tool := func(description string) []testbed.Tool {
		return []testbed.Tool{{Name: "tool", Definition: fmt.Sprintf(`{"name":"tool","description":%q,"inputSchema":{"type":"object"}}`, description)}}
	}
	const changed = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n"
	u := testbed.NewUpstream(t, testbed.Script{Tools: tool("one")})
	g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{spec("u", u.URL)}})
	g.AwaitTools(t, "u_tool")
	c := testbed.Connect(t, g.Endpoint)
	c.Call(t, "u_tool", "{}").Result(t)
	stream := c.Listen(t)
	var heard atomic.Int32
	sdk := goSDKClient(t, g.Endpoint, &gosdk.ClientOptions{
		ToolListChangedHandler: func(context.Context, *gosdk.ToolListChangedRequest) { heard.Add(1) },
	})
	listening := func() bool {
		return len(u.Calls(c.Name, testbed.Verb(http.MethodGet))) > 0 && len(u.Calls("mcp-gateway", testbed.Verb(http.MethodGet))) > 0
	}
	testbed.Await(t, "the servers' streams to be open", listening)
	for i, description := range []string{"two", "three"} {
		u.Change(func(s *testbed.Script) { s.Tools = tool(description) })
		u.Push("", changed)
		stream.Find(t, "notifications/tools/list_changed")
		assert.Contains(t, definitions(t, c)["u_tool"], fmt.Sprintf(`"description":%q`, description), "the change is there when it is told")
		testbed.Await(t, "the client of the SDK to hear of it", func() bool { return heard.Load() > int32(i) })
		list, err := sdk.ListTools(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, description, list.Tools[0].Description)
	}
}

// TestReloadEndsSessions: what sessions have with a server that is reached in another way now, or is gone, is ended when no call can use it any more, as the
// server was reached then. Where replicas share the sessions, one of them does it.
func TestReloadEndsSessions(t *testing.T) {
	t.Parallel()
	const timeout = config.Duration(time.Second)
	limited := func(version string) func(*config.ServerSpec) {
		return func(s *config.ServerSpec) {
			limit := timeout
			s.Timeout, s.Headers = &limit, map[string]string{"X-Version": version}
		}
	}
	changed := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	removed := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool"}}})
	c := startCluster(t, 2, spec("changed", changed.URL, limited("1")), spec("removed", removed.URL, limited("1")))
	for _, g := range c.replicas {
		g.AwaitTools(t, "changed_tool", "removed_tool")
	}
	rests, calls := testbed.Connect(t, c.replicas[0].Endpoint), testbed.Connect(t, c.replicas[1].Endpoint)
	for _, client := range []*testbed.Client{rests, calls} {
		for i := range c.replicas {
			c.at(client, i).Call(t, "changed_tool", "{}").Result(t)
			c.at(client, i).Call(t, "removed_tool", "{}").Result(t)
		}
	}
	opened := map[string]bool{}
	for _, u := range []*testbed.Upstream{changed, removed} {
		for _, call := range u.Calls(rests.Name, testbed.RPC("tools/call")) {
			opened[u.URL+call.Header.Get("Mcp-Session-Id")] = true
		}
	}
	require.Len(t, opened, 4)
	for _, g := range c.replicas {
		testbed.WriteConfig(t, g.Config, spec("changed", changed.URL, limited("2")))
	}
	for i := range c.replicas {
		testbed.Await(t, "the server to be gone", func() bool { return slices.Equal(c.at(calls, i).ToolNames(t), []string{"changed_tool"}) })
	}
	ended := func() (ids []string) {
		for _, u := range []*testbed.Upstream{changed, removed} {
			for _, call := range u.Calls(rests.Name, testbed.Verb(http.MethodDelete)) {
				ids = append(ids, u.URL+call.Header.Get("Mcp-Session-Id"))
				assert.Equal(t, "1", call.Header.Get("X-Version"), "as it was reached then")
			}
		}
		return ids
	}
	testbed.Await(t, "the calling client to have a new session", func() bool {
		c.at(calls, 1).Call(t, "changed_tool", "{}").Result(t)
		all := changed.Calls(calls.Name, testbed.RPC("initialize")) // the test's clients have one name
		return all[len(all)-1].Header.Get("X-Version") == "2"
	})
	testbed.AwaitWithin(t, 30*time.Second, "all four to be ended", func() bool { return len(ended()) >= len(opened) })
	for i := range c.replicas {
		c.at(calls, i).Call(t, "changed_tool", "{}").Result(t)
		c.at(rests, i).Call(t, "changed_tool", "{}").Result(t)
	}
	ids := ended()
	assert.Len(t, ids, len(opened), "each once")
	for _, id := range ids {
		assert.True(t, opened[id], id)
	}
}
