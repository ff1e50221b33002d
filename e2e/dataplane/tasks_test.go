package dataplane_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// taskServer answers calls with tasks, where the client takes them: all of one id.
func taskServer(t *testing.T, name string) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	address := testbed.FreeAddress(t)
	testbed.Serve(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				TaskID string
				Name   string
			}
		}
		_ = json.Unmarshal(body, &m) // what is no message has no method
		w.Header().Set("Content-Type", "application/json")
		answer := func(status int, rest string) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, m.ID, rest)
		}
		const hints = `"resultType":"complete","ttlMs":0,"cacheScope":"public"`
		switch {
		case r.Header.Get("Mcp-Protocol-Version") != "2026-07-28":
			answer(http.StatusBadRequest, `"error":{"code":-32022,"message":"unsupported","data":{"supported":["2026-07-28"],"requested":""}}`)
		case m.Method == "server/discover":
			answer(http.StatusOK, `"result":{`+hints+`,"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}`)
		case m.Method == "tools/list":
			answer(http.StatusOK, `"result":{`+hints+`,"tools":[{"name":"run","inputSchema":{"type":"object"}}]}`)
		case m.Method == "tools/call" && strings.Contains(string(body), `"extensions"`):
			answer(http.StatusOK, `"result":{"resultType":"task","taskId":"1","status":"working","ttlMs":null}`)
		case m.Method == "tools/call":
			answer(http.StatusOK, `"result":{"resultType":"complete","content":[]}`)
		case m.Method == "tasks/get" && m.Params.TaskID == "1" && r.Header.Get("Mcp-Name") == "1":
			asked.Add(1)
			answer(http.StatusOK, `"result":{"resultType":"complete","taskId":"1","status":"completed","ttlMs":null,"result":{"content":[{"type":"text","text":"of `+name+`"}]}}`)
		default:
			answer(http.StatusNotFound, `"error":{"code":-32601,"message":"unknown method"}`)
		}
	}))
	return "http://" + address + "/mcp", asked
}

// askTasked makes a request of a client that takes tasks.
func askTasked(t *testing.T, c *testbed.Stateless, method, params string, headers ...string) *testbed.Answer {
	t.Helper()
	body, own := c.Message(method, params)
	body = strings.Replace(body, `"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`, 1)
	return c.Post(t, body, append(own, headers...)...)
}

func idOfTask(t *testing.T, result string) string {
	t.Helper()
	var got struct{ TaskID string }
	require.NoError(t, json.Unmarshal([]byte(result), &got))
	require.NotEmpty(t, got.TaskID, result)
	return got.TaskID
}

// TestTasks: tasks of two servers that use the same ids are told apart, are their callers' alone, and are nobody's whom policies refuse the tool.
func TestTasks(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		one, askedOne := taskServer(t, "one")
		two, askedTwo := taskServer(t, "two")
		b := &accessBed{issuer: testbed.NewIssuer(t), file: t.TempDir() + "/policies.yaml"}
		b.write(t, b.values("  acl:\n    - {roles: [writers], allow: ['*']}\n  rateLimits:\n    - {tools: [one_run], per: user, limit: 2, window: 1h}\n"))
		b.Gateway = testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: []config.ServerSpec{spec("one", one), spec("two", two)}, Policies: b.file})
		b.AwaitTools(t, "one_run", "two_run")
		as := func(user string, claims map[string]any) *testbed.Stateless {
			c := testbed.NewStateless(t, b.Endpoint)
			c.Authorization = b.issuer.Token(t, user, claims)
			return c
		}
		will, wanda, ann := as("will", writer()), as("wanda", writer()), as("ann", reader())
		assert.Contains(t, will.Ask(t, "server/discover", "{}").Result(t), `"extensions":{"io.modelcontextprotocol/tasks":{}}`)
		assert.NotContains(t, will.Ask(t, "tools/call", `{"name":"one_run"}`).Result(t), "taskId")
		first := idOfTask(t, askTasked(t, will, "tools/call", `{"name":"one_run"}`).Result(t))
		second := idOfTask(t, askTasked(t, will, "tools/call", `{"name":"two_run"}`).Result(t))
		get := func(c *testbed.Stateless, id string) *testbed.Answer {
			return askTasked(t, c, "tasks/get", fmt.Sprintf(`{"taskId":%q}`, id), "Mcp-Name", id)
		}
		for range 3 { // no call of the tool is counted
			got := get(will, first).Result(t)
			assert.Contains(t, got, "of one")
			assert.Equal(t, first, idOfTask(t, got))
		}
		assert.Contains(t, get(will, second).Result(t), "of two")
		before := askedOne.Load() + askedTwo.Load()
		assert.Equal(t, -32602, get(wanda, first).Error(t).Code)
		assert.Equal(t, -32602, get(ann, first).Error(t).Code)
		assert.Equal(t, -32602, get(will, "1").Error(t).Code)
		assert.Equal(t, http.StatusForbidden, askTasked(t, ann, "tools/call", `{"name":"one_run"}`).Status)
		assert.Equal(t, before, askedOne.Load()+askedTwo.Load())
	})
}
