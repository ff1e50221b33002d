package dataplane_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// tellsUsersApart: users who call at the same time get what is theirs.
func (b *accessBed) tellsUsersApart(t *testing.T) {
	var running sync.WaitGroup
	for n, user := range []string{"ann", "will", "anna", "wilma"} {
		claims, own, other, tools := reader(), "docs_look", "notes_add", []string{"docs_look", "notes_read"}
		if n%2 == 1 {
			claims, own, other, tools = writer(), "notes_add", "docs_look", []string{"notes_add", "notes_read", "notes_slow"}
		}
		c := b.as(t, user, claims)
		running.Go(func() {
			for range 15 {
				secret := rand.Text()
				a, err := c.TryDo(t, http.MethodPost, body(c, own, fmt.Sprintf(`{"of":%q}`, secret)))
				if assert.NoError(t, err) {
					assert.Contains(t, a.Body, secret)
				}
				a, err = c.TryDo(t, http.MethodPost, body(c, other, "{}"))
				if assert.NoError(t, err) {
					assert.Equal(t, http.StatusForbidden, a.Status)
				}
				assert.Equal(t, tools, c.ToolNames(t), user)
			}
		})
	}
	running.Wait()
}

func body(c *testbed.Client, tool, arguments string) *strings.Reader {
	text, _ := c.ToolCall(tool, arguments)
	return strings.NewReader(text)
}

// status is the status of a call.
func status(t *testing.T, c *testbed.Client, tool string) int {
	t.Helper()
	return c.Call(t, tool, "{}").Status
}

// TestAccessReload: new policies are in force soon, in open sessions too, and bad ones are told and change nothing (Invariant 8).
func TestAccessReload(t *testing.T) {
	t.Parallel()
	b := newAccessBed(t, testbed.Standalone)
	ann := b.as(t, "ann", reader())
	stream := ann.Listen(t)
	assert.Equal(t, http.StatusOK, status(t, ann, "docs_look"))
	assert.Equal(t, http.StatusForbidden, status(t, ann, "docs_change"))
	assert.InDelta(t, 1, b.Metric(t, "mcp_gateway_policy_generation"), 0)

	b.write(t, b.values(`  acl: [{groups: [readers], allow: ["docs_change"]}]`))
	testbed.Await(t, "the new policies", func() bool { return status(t, ann, "docs_look") == http.StatusForbidden })
	testbed.Await(t, "Envoy to let the other tool pass", func() bool { return status(t, ann, "docs_change") == http.StatusOK })
	assert.Equal(t, []string{"docs_change"}, ann.ToolNames(t))
	assert.Equal(t, 2, b.Status(t).Policies.Generation)

	for name, bad := range map[string]string{
		"broken":  b.values("  acl: [{groups: [readers], alow: [\"*\"]}, {everyone: false}]"),
		"empty":   "",
		"no YAML": "policies: [",
	} {
		failures := b.Metric(t, `mcp_gateway_policy_reloads_total{result="failure"}`)
		b.write(t, bad)
		testbed.Await(t, "the problems of "+name, func() bool { return b.Metric(t, `mcp_gateway_policy_reloads_total{result="failure"}`) > failures })
		problems := b.Status(t).Policies.Problems
		assert.NotEmpty(t, problems)
		for _, problem := range problems {
			line, err := json.Marshal(problem)
			require.NoError(t, err)
			assert.Contains(t, b.Process.Output(), string(line), "%s: the log has each problem", name)
		}
		if name == "broken" {
			assert.Greater(t, len(problems), 1, "all problems at once")
		}
		assert.Zero(t, b.Metric(t, "mcp_gateway_policy_valid"))
		assert.Equal(t, http.StatusForbidden, status(t, ann, "docs_look"))
		assert.Equal(t, http.StatusOK, status(t, ann, "docs_change"))
		assert.Equal(t, []string{"docs_change"}, ann.ToolNames(t))
	}
	require.NoError(t, os.Remove(b.file))
	testbed.Await(t, "the loss of the file to be told", func() bool {
		p := b.Status(t).Policies.Problems
		return len(p) == 1 && strings.Contains(p[0], "no such file")
	})
	assert.Equal(t, http.StatusForbidden, status(t, ann, "docs_look"), "policies do not go with their file")

	for name, open := range map[string]string{"no acl": b.values(""), "no tokens": "policies: {acl: [{everyone: true, allow: [\"notes_read\"]}]}", "nothing": "policies: {}"} {
		b.write(t, open)
		testbed.Await(t, "the refusal of "+name, func() bool {
			p := b.Status(t).Policies.Problems
			return len(p) == 1 && strings.Contains(p[0], "does not open itself")
		})
		assert.Equal(t, http.StatusForbidden, status(t, ann, "docs_look"), name)
		a := testbed.NewClient(t, b.Endpoint).Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		assert.GreaterOrEqual(t, a.Status, http.StatusBadRequest, name)
		b.write(t, "policies: 1") // so that the next refusal is another
		testbed.Await(t, "another problem", func() bool { return !strings.Contains(strings.Join(b.Status(t).Policies.Problems, ""), "open itself") })
	}
	b.write(t, b.values("  acl: [{everyone: true, allow: [{server: \"*\"}]}]"))
	testbed.Await(t, "policies for everyone", func() bool { return status(t, ann, "docs_look") == http.StatusOK })
	testbed.Await(t, "the whole list", func() bool { return len(ann.ToolNames(t)) == 5 })
	assert.Empty(t, b.Status(t).Policies.Problems)
	stream.Close()
}

// TestAccessKeys: a key that the issuer signs with anew is known soon after its first token, one that it has withdrawn is believed no more, and an issuer
// that is down keeps nobody from working.
func TestAccessKeys(t *testing.T) {
	t.Parallel()
	b := newAccessBed(t, testbed.Standalone)
	first, second := b.issuer.Key(), testbed.NewSigningKey(t, "second")
	old := b.as(t, "ann", reader())
	fetched := b.issuer.Fetched()
	for range 20 {
		old.Call(t, "docs_look", "{}").Result(t)
	}
	assert.Equal(t, fetched, b.issuer.Fetched(), "known keys are not asked for")

	b.issuer.Rotate(first, second)
	rotated := time.Now()
	fresh := testbed.NewClient(t, b.Endpoint)
	fresh.Name, fresh.Authorization = "fresh", b.issuer.Token(t, "ann", reader())
	initialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"fresh","version":"1"}}}`
	testbed.Await(t, "the new key", func() bool { return fresh.Post(t, initialize).Status == http.StatusOK })
	assert.Less(t, time.Since(rotated), 20*time.Second, "much sooner than keys are fetched anyway")
	fresh.Initialize(t, "{}")
	assert.Equal(t, http.StatusOK, status(t, fresh, "docs_look"))
	assert.Equal(t, http.StatusOK, status(t, old, "docs_look"), "the old key is still there")
	assert.Equal(t, 2, b.Status(t).Policies.Keys)

	b.issuer.Down(true)
	fresh.Call(t, "docs_look", "{}").Result(t)
	old.Call(t, "docs_look", "{}").Result(t)
	b.issuer.Down(false)

	third := testbed.NewSigningKey(t, "third")
	b.issuer.Rotate(second, third) // the first is withdrawn, and a token of the third has that noticed
	fresh.Authorization = b.issuer.Token(t, "ann", reader())
	testbed.Await(t, "the third key", func() bool { return status(t, fresh, "docs_look") == http.StatusOK })
	testbed.Await(t, "the first key to be gone", func() bool { return status(t, old, "docs_look") == http.StatusUnauthorized })
}

// TestAccessWithoutKeys: as long as the issuer's keys are unknown, nobody is let in, and the gateway says why.
func TestAccessWithoutKeys(t *testing.T) {
	t.Parallel()
	b := &accessBed{issuer: testbed.NewIssuer(t), file: filepath.Join(t.TempDir(), "policies.yaml"), docs: testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "look"}}})}
	b.issuer.Down(true)
	b.write(t, b.values(`  acl: [{users: [ann], allow: ["*"]}]`))
	b.Gateway = testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"docs": b.docs}), Policies: b.file})
	problems := strings.Join(b.Status(t).Policies.Problems, "\n")
	assert.Contains(t, problems, b.issuer.URL)
	c := testbed.NewClient(t, b.Endpoint)
	c.Authorization = b.issuer.Token(t, "ann", nil)
	initialize := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	a := c.Post(t, initialize)
	assert.Contains(t, []int{http.StatusUnauthorized, http.StatusServiceUnavailable}, a.Status)
	a.Error(t)
	b.issuer.Down(false)
	testbed.Await(t, "the keys", func() bool { return c.Post(t, initialize).Status == http.StatusOK })
}

// TestTrustedAuthorizer: a policy engine of the user's own may say, signed, what a caller may have, and nobody else may.
func TestTrustedAuthorizer(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		key := testbed.NewSigningKey(t, "")
		pem := filepath.Join(t.TempDir(), "key.pem")
		require.NoError(t, os.WriteFile(pem, key.PEM(t), 0o600))
		list := func(tools string) string {
			return key.Sign(t, nil, map[string]any{
				"iss": "engine", "exp": time.Now().Add(time.Hour).Unix(), "allowed-capabilities": `{"tools":` + tools + `}`,
			})
		}
		engine := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("Authorization") {
			case "Bearer ann":
				w.Header().Set("X-Mcp-Authorized", list(`{"docs":["look"]}`))
			case "Bearer will":
				w.Header().Set("X-Mcp-Authorized", list(`{"*":["*"]}`))
			case "Bearer mallory":
				w.Header().Set("X-Mcp-Authorized", testbed.NewSigningKey(t, "").Sign(t, nil, map[string]any{
					"iss": "engine", "exp": time.Now().Add(time.Hour).Unix(), "allowed-capabilities": `{"tools":{"*":["*"]}}`,
				}))
			}
		})
		address := testbed.FreeAddress(t)
		_, port, _ := strings.Cut(address, ":")
		testbed.Serve(t, address, engine)
		policy := strings.NewReplacer("127.0.0.1:9191", address, "port_value: 9191", "port_value: "+port, "        authorization_response:\n",
			"        authorization_response:\n          allowed_upstream_headers: {patterns: [{exact: x-mcp-authorized}]}\n").Replace(shipped(t, "ext-authz.yaml"))
		path := filepath.Join(t.TempDir(), "engine.yaml")
		require.NoError(t, os.WriteFile(path, []byte(policy), 0o600))
		docs := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "look"}, {Name: "change"}}})
		g := testbed.StartGateway(t, testbed.Options{
			Mode: mode, Servers: specs(map[string]*testbed.Upstream{"docs": docs}), EnvoyFlags: []string{"--envoy-policies", path},
			Flags: []string{"--trusted-authorizer-key-file", pem, "--trusted-authorizer-issuer", "engine"},
		})
		g.AwaitTools(t, "docs_look", "docs_change")
		for user, want := range map[string][]string{"ann": {"docs_look"}, "will": {"docs_change", "docs_look"}, "mallory": nil, "nobody": nil} {
			c := testbed.ConnectAs(t, g.Endpoint, user, "Bearer "+user)
			assert.Equal(t, want, c.ToolNames(t), user)
			c.Session = ""
			c.Initialize(t, "{}", "X-Mcp-Authorized", list(`{"*":["*"]}`))
			body, _ := c.ToolCall("docs_change", "{}")
			a := c.Post(t, body, "X-Mcp-Authorized", list(`{"*":["*"]}`))
			if user == "will" {
				a.Result(t)
			} else {
				assert.Equal(t, http.StatusForbidden, a.Status, "%s: a list of the client's own counts for nothing (Invariant 3)", user)
			}
		}
		for _, call := range docs.AllCalls() {
			assert.Empty(t, call.Header.Values("X-Mcp-Authorized"), "it is for the gateway")
		}
	})
}
