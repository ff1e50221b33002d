package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestStatelessAccess: who calls without a session is judged as who calls with one, request by request.
func TestStatelessAccess(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		server := testbed.NewStatelessServer(t, `[{"name":"read","inputSchema":{},"annotations":{"readOnlyHint":true}},{"name":"add","inputSchema":{}}]`,
			func(w http.ResponseWriter, r *http.Request) {
				var m struct{ ID json.RawMessage }
				_ = json.NewDecoder(r.Body).Decode(&m)
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[]}}`, m.ID)
			})
		b := &accessBed{issuer: testbed.NewIssuer(t), file: filepath.Join(t.TempDir(), "policies.yaml")}
		b.write(t, b.values(rules))
		b.Gateway = testbed.StartGateway(t, testbed.Options{
			Mode: mode, Servers: []config.ServerSpec{spec("notes", server.URL)}, Flags: []string{"--log-level", "debug"}, Policies: b.file,
		})
		b.AwaitTools(t, "notes_read", "notes_add")
		as := func(user string, claims map[string]any) *testbed.Stateless {
			c := testbed.NewStateless(t, b.Endpoint)
			if user != "" {
				c.Authorization = b.issuer.Token(t, user, claims)
			}
			return c
		}
		reads, writes, nobody := as("ann", reader()), as("bob", writer()), as("", nil)
		for c, want := range map[*testbed.Stateless][]string{reads: {"notes_read"}, writes: {"notes_add", "notes_read"}} {
			list := c.Ask(t, "tools/list", "{}").Result(t)
			assert.Equal(t, len(want), strings.Count(list, `"name":"notes_`), list)
			assert.Contains(t, list, `"cacheScope":"private"`)
		}
		assert.Contains(t, reads.Ask(t, "server/discover", "{}").Result(t), `"cacheScope":"private"`)
		reads.Ask(t, "tools/call", `{"name":"notes_read"}`).Result(t)
		writes.Ask(t, "tools/call", `{"name":"notes_add"}`).Result(t)
		before := len(server.Calls())
		a := reads.Ask(t, "tools/call", `{"name":"notes_add"}`)
		require.Equal(t, http.StatusForbidden, a.Status, a)
		assert.Equal(t, http.StatusForbidden, a.Error(t).Code)
		assert.Contains(t, a.Header.Get("Www-Authenticate"), `error="insufficient_scope"`)
		assert.Equal(t, -32020, reads.Ask(t, "tools/call", `{"name":"notes_add"}`, "Mcp-Name", "notes_read").Error(t).Code, "headers do not open what the body asks for")
		for _, method := range []string{"server/discover", "tools/list", "subscriptions/listen"} {
			assert.Equal(t, http.StatusUnauthorized, nobody.Ask(t, method, `{"notifications":{}}`).Status, method)
		}
		assert.Len(t, server.Calls(), before)
		for _, call := range server.Calls() {
			assert.Empty(t, call.Header.Values("Authorization"), "a client's token is for the gateway (Invariant 6)")
		}
	})
}
