package dataplane_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestRouteFromHeaders: what a real server compares with the body is decided by headers alone, and judged by policies all the same; what no one would
// compare, and what has to be changed, is not. A refusal bears the id where the body was read (Invariants 1, 3, 7).
func TestRouteFromHeaders(t *testing.T) {
	t.Parallel()
	real := testbed.GoSDKStateless(t)
	careless := testbed.NewStatelessServer(t, `[{"name":"trust","inputSchema":{}},{"name":"secret","inputSchema":{}}]`,
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[]}}`)
		})
	b := &accessBed{issuer: testbed.NewIssuer(t), file: filepath.Join(t.TempDir(), "policies.yaml")}
	b.write(t, b.values("  acl:\n    - {name: all, users: [ann], allow: [test_simple_text, p_test_simple_text, trust]}\n"))
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Servers: []config.ServerSpec{{Name: "bare", URL: real.URL}, {Name: "prefixed", URL: real.URL, ToolPrefix: "p_"}, {Name: "careless", URL: careless.URL}},
		Flags:   []string{"--route-from-headers"}, Policies: b.file,
	})
	ann := testbed.NewStateless(t, b.Endpoint)
	ann.Authorization = b.issuer.Token(t, "ann", nil)
	b.AwaitTools(t, "test_simple_text", "p_test_simple_text", "trust")
	call := func(tool, arguments string) string { return fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, arguments) }

	for _, tool := range []string{"test_simple_text", "p_test_simple_text"} {
		assert.Contains(t, ann.Ask(t, "tools/call", call(tool, "{}")).Text(t), "simple text", tool)
		large := `{"more":"` + strings.Repeat("x", 300<<10) + `"}`
		assert.Contains(t, ann.Ask(t, "tools/call", call(tool, large)).Message(t), `"jsonrpc"`, tool)
	}
	refused := func(tool string) string {
		a := ann.Ask(t, "tools/call", call(tool, "{}"))
		assert.Equal(t, http.StatusForbidden, a.Status, a)
		return a.Error(t).ID
	}
	assert.Equal(t, testbed.Module(), refused("test_image_content") != "", "by ext_proc, nobody has seen the body yet")
	assert.NotEmpty(t, refused("p_test_image_content"))
	assert.NotEmpty(t, refused("secret"))

	// Headers do not open what the body asks for: the server says so, or the gateway.
	for tool, allowed := range map[string]string{"test_image_content": "test_simple_text", "p_test_image_content": "p_test_simple_text", "secret": "trust"} {
		a := ann.Ask(t, "tools/call", call(tool, "{}"), "Mcp-Name", allowed)
		assert.Equal(t, -32020, a.Error(t).Code, a)
	}
	before := careless.Calls()
	assert.Equal(t, -32602, ann.Ask(t, "tools/call", call("none", "{}")).Error(t).Code)
	ann.Ask(t, "tools/call", call("trust", "{}")).Message(t)
	assert.Len(t, careless.Calls(), len(before)+1)
	for _, c := range careless.Calls() {
		assert.NotContains(t, c.Body, `"secret"`)
	}
}
