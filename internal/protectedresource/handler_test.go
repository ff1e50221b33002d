package protectedresource

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func serve(t *testing.T, public, method, host, path string, env map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	u := publicURL(t, public)
	m, err := FromEnv(environment(env), u)
	require.NoError(t, err)
	req := httptest.NewRequest(method, "http://"+host+path, http.NoBody)
	req.Host = host
	rec := httptest.NewRecorder()
	Handler(m, u, virtual).ServeHTTP(rec, req)
	return rec
}

// virtual knows one virtual server.
func virtual(segment string) (name string, ok bool) { return "team/reports", segment == "reports" }

func body(t *testing.T, rec *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var got map[string]any
	require.NoError(t, json.NewDecoder(rec.Body).Decode(&got))
	return got
}

func TestHandlerPaths(t *testing.T) {
	tests := map[string]int{
		"/.well-known/oauth-protected-resource":                  http.StatusOK,
		"/.well-known/oauth-protected-resource/mcp":              http.StatusOK,
		"/.well-known/oauth-protected-resource/":                 http.StatusNotFound,
		"/.well-known/oauth-protected-resource/mcp/":             http.StatusNotFound,
		"/.well-known/oauth-protected-resource/mcp/a":            http.StatusNotFound,
		"/.well-known/oauth-protected-resource/mcp/reports/":     http.StatusNotFound,
		"/.well-known/oauth-protected-resource/mcp/team/reports": http.StatusNotFound,
		"/.well-known/oauth-protected-resource/mcp/reports/mcp":  http.StatusNotFound,
		"/.well-known/oauth-protected-resource/reports":          http.StatusNotFound,
		"/.well-known/oauth-protected-resource//mcp":             http.StatusNotFound,
		"/.well-known/oauth-protected-resource/other":            http.StatusNotFound,
	}
	for path, status := range tests {
		t.Run(path, func(t *testing.T) {
			rec := serve(t, "https://mcp.example.com", http.MethodGet, "mcp.example.com", path, nil)
			assert.Equal(t, status, rec.Code)
			assert.Equal(t, "application/json", rec.Header().Get("Content-Type"))
			if status == http.StatusOK {
				assert.Equal(t, "https://mcp.example.com/mcp", body(t, rec)["resource"])
			} else {
				assert.Contains(t, body(t, rec), "error")
			}
		})
	}
}

func TestHandlerMethods(t *testing.T) {
	tests := map[string]struct {
		status int
		allow  string
	}{
		http.MethodGet:     {http.StatusOK, ""},
		http.MethodHead:    {http.StatusOK, ""},
		http.MethodOptions: {http.StatusNoContent, "GET, HEAD, OPTIONS"},
		http.MethodPost:    {http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"},
		http.MethodDelete:  {http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"},
	}
	for method, tt := range tests {
		t.Run(method, func(t *testing.T) {
			rec := serve(t, "https://mcp.example.com", method, "mcp.example.com", "/.well-known/oauth-protected-resource", nil)
			assert.Equal(t, tt.status, rec.Code)
			assert.Equal(t, tt.allow, rec.Header().Get("Allow"))
			assert.Equal(t, []string{"*"}, rec.Header().Values("Access-Control-Allow-Origin"))
			assert.Equal(t, "Origin", rec.Header().Get("Vary"))
		})
	}
}

// RFC 9728, section 3.3: the resource must be the one that the client asked, and on one machine it has several names.
func TestHandlerOnLoopback(t *testing.T) {
	tests := map[string]struct {
		public, host string
		env          map[string]string
		want         string
	}{
		"as configured":               {public: "http://127.0.0.1:8888", host: "127.0.0.1:8888", want: "http://127.0.0.1:8888/mcp"},
		"by its other name":           {public: "http://127.0.0.1:8888", host: "localhost:8888", want: "http://localhost:8888/mcp"},
		"by IPv6":                     {public: "http://127.0.0.1:8888", host: "[::1]:8888", want: "http://[::1]:8888/mcp"},
		"by a forwarded port":         {public: "http://127.0.0.1:8888", host: "localhost:3000", want: "http://localhost:3000/mcp"},
		"without a port":              {public: "http://localhost", host: "127.0.0.1", want: "http://127.0.0.1/mcp"},
		"by a foreign name":           {public: "http://127.0.0.1:8888", host: "evil.example.com:8888", want: "http://127.0.0.1:8888/mcp"},
		"by a name that looks local":  {public: "http://127.0.0.1:8888", host: "localhost.example.com", want: "http://127.0.0.1:8888/mcp"},
		"by no name":                  {public: "http://127.0.0.1:8888", host: "localhost:http/x", want: "http://127.0.0.1:8888/mcp"},
		"of a gateway elsewhere":      {public: "https://mcp.example.com", host: "localhost:8888", want: "https://mcp.example.com/mcp"},
		"of a resource with own host": {public: "http://127.0.0.1:8888", host: "localhost:8888", env: map[string]string{EnvResource: "http://127.0.0.1:8888/mcp"}, want: "http://127.0.0.1:8888/mcp"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := publicURL(t, tt.public)
			m, err := FromEnv(environment(tt.env), u)
			require.NoError(t, err)
			req := httptest.NewRequest(http.MethodGet, "/.well-known/oauth-protected-resource/mcp", http.NoBody)
			req.Host = tt.host
			rec := httptest.NewRecorder()
			Handler(m, u, virtual).ServeHTTP(rec, req)
			assert.Equal(t, tt.want, body(t, rec)["resource"])
		})
	}
}

// A virtual server is a resource of its own: a client refuses metadata of another one than it asked for.
func TestHandlerOfAVirtualServer(t *testing.T) {
	tests := map[string]struct {
		public, host string
		env          map[string]string
		want         string
	}{
		"the public URL":              {public: "https://mcp.example.com", host: "mcp.example.com", want: "https://mcp.example.com/mcp/reports"},
		"a resource of another host":  {public: "https://mcp.example.com", host: "x", env: map[string]string{EnvResource: "https://tools.example.com/a/mcp"}, want: "https://tools.example.com/a/mcp/reports"},
		"a resource of another path":  {public: "https://mcp.example.com", host: "x", env: map[string]string{EnvResource: "/tools?x=1"}, want: "https://mcp.example.com/mcp/reports"},
		"a resource that is the host": {public: "https://mcp.example.com", host: "x", env: map[string]string{EnvResource: "https://mcp.example.com"}, want: "https://mcp.example.com/mcp/reports"},
		"a loopback host":             {public: "http://127.0.0.1:8888", host: "localhost:8888", want: "http://localhost:8888/mcp/reports"},
		"a foreign host":              {public: "http://127.0.0.1:8888", host: "evil.example.com", want: "http://127.0.0.1:8888/mcp/reports"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.env == nil {
				tt.env = map[string]string{}
			}
			tt.env[EnvScopes], tt.env[EnvName] = "basic", "Tools"
			got := body(t, serve(t, tt.public, http.MethodGet, tt.host, "/.well-known/oauth-protected-resource/mcp/reports", tt.env))
			assert.Equal(t, map[string]any{
				"resource_name": "Tools: team/reports", "resource": tt.want, "bearer_methods_supported": []any{"header"}, "scopes_supported": []any{"basic"},
			}, got)
		})
	}
	whole := body(t, serve(t, "https://mcp.example.com", http.MethodGet, "x", "/.well-known/oauth-protected-resource/mcp", nil))
	assert.Equal(t, "MCP Server", whole["resource_name"], "the gateway's own is left as it is")
}
