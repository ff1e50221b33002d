package app

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// TestGuardedPage: who has no good token, or not the right groups and roles, sees nothing.
func TestGuardedPage(t *testing.T) {
	callers := map[string]*policy.Identity{
		"Bearer operator": {User: "olga", Groups: []string{"operators"}, Roles: []string{"viewer"}},
		"Bearer member":   {User: "mia", Groups: []string{"operators"}},
		"Bearer other":    {User: "otto", Groups: []string{"staff"}, Roles: []string{"viewer"}},
	}
	identify := func(_ context.Context, authorization string) (*policy.Identity, error) {
		if authorization == "" {
			return nil, authn.ErrNoToken
		}
		if id, ok := callers[authorization]; ok {
			return id, nil
		}
		return nil, &authn.InvalidToken{}
	}
	nobody := func(context.Context, string) (*policy.Identity, error) { return nil, nil }
	operators := policy.Rule{Groups: []string{"operators", "admins"}, Roles: []string{"viewer"}}
	tests := map[string]struct {
		header   http.Header
		rule     policy.Rule
		identify func(context.Context, string) (*policy.Identity, error)
		want     int
	}{
		"the right one":              {http.Header{"Authorization": {"Bearer operator"}}, operators, identify, http.StatusOK},
		"by a cookie":                {http.Header{"Cookie": {"a=b; token=operator"}}, operators, identify, http.StatusOK},
		"a user by name":             {http.Header{"Authorization": {"Bearer other"}}, policy.Rule{Users: []string{"otto"}}, identify, http.StatusOK},
		"no token":                   {http.Header{}, operators, identify, http.StatusUnauthorized},
		"another cookie":             {http.Header{"Cookie": {"tokens=operator"}}, operators, identify, http.StatusUnauthorized},
		"a bad token":                {http.Header{"Authorization": {"Bearer forged"}}, operators, identify, http.StatusUnauthorized},
		"a bad token, a good cookie": {http.Header{"Authorization": {"Bearer forged"}, "Cookie": {"token=operator"}}, operators, identify, http.StatusUnauthorized},
		"two tokens":                 {http.Header{"Authorization": {"Bearer operator", "Bearer operator"}}, operators, identify, http.StatusUnauthorized},
		"two cookies":                {http.Header{"Cookie": {"token=forged; token=operator"}}, operators, identify, http.StatusUnauthorized},
		"the group without the role": {http.Header{"Authorization": {"Bearer member"}}, operators, identify, http.StatusForbidden},
		"the role without the group": {http.Header{"Authorization": {"Bearer other"}}, operators, identify, http.StatusForbidden},
		"a rule for everyone":        {http.Header{"Authorization": {"Bearer operator"}}, policy.Rule{}, identify, http.StatusForbidden},
		"policies without tokens":    {http.Header{"Authorization": {"Bearer operator"}}, operators, nobody, http.StatusForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reached := false
			p := &guarded{cookie: "token", rule: tt.rule, identify: tt.identify, logger: slog.New(slog.DiscardHandler), next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				reached = true
				assert.Empty(t, r.Header, "the token goes no further")
			})}
			r := httptest.NewRequest(http.MethodGet, "http://status.example.com/status", http.NoBody)
			r.Header = tt.header
			rec := httptest.NewRecorder()
			p.ServeHTTP(rec, r)
			assert.Equal(t, tt.want, rec.Code)
			assert.Equal(t, tt.want == http.StatusOK, reached)
			if tt.want == http.StatusUnauthorized {
				assert.Equal(t, "Bearer", rec.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

// TestRefusedInABrowser: people get a page, which has nothing of the gateway's in it but what to do.
func TestRefusedInABrowser(t *testing.T) {
	refusal, err := admin.NewRefusalPage("/oauth2/sign_out")
	require.NoError(t, err)
	identify := func(_ context.Context, authorization string) (*policy.Identity, error) {
		if authorization == "" {
			return nil, authn.ErrNoToken
		}
		return &policy.Identity{User: "<otto>"}, nil
	}
	p := &guarded{rule: policy.Rule{Users: []string{"olga"}}, identify: identify, refusal: refusal, logger: slog.New(slog.DiscardHandler)}
	ask := func(authorization ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "http://status.example.com/", http.NoBody)
		r.Header = http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}, "Authorization": authorization}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, r)
		assert.Equal(t, "text/html; charset=utf-8", rec.Header().Get("Content-Type"))
		assert.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
		assert.Contains(t, rec.Body.String(), `<a href="/oauth2/sign_out">Sign out</a>`)
		return rec
	}
	unknown := ask()
	assert.Equal(t, http.StatusUnauthorized, unknown.Code)
	assert.Equal(t, "Bearer", unknown.Header().Get("WWW-Authenticate"))
	assert.Contains(t, unknown.Body.String(), "You are not logged in")
	other := ask("Bearer other")
	assert.Equal(t, http.StatusForbidden, other.Code)
	assert.Contains(t, other.Body.String(), "You are logged in as &lt;otto&gt;")
}

// TestPageFlags: there is no page without somebody who may see it.
func TestPageFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"nobody is named who may see the page":                   {"--status-page-address", "127.0.0.1:0"},
		"a name is empty":                                        {"--status-page-address", "127.0.0.1:0", "--status-page-groups", "a,"},
		"go with --status-page-address only":                     {"--status-page-groups", "a"},
		"--status-page-sign-out go with":                         {"--status-page-sign-out", "/oauth2/sign_out"},
		`--status-page-sign-out: "//evil.example.com/" is not a`: {"--status-page-address", "127.0.0.1:0", "--status-page-groups", "a", "--status-page-sign-out", "//evil.example.com/"},
		"want host:port or unix:/path":                           {"--status-page-address", "nowhere", "--status-page-groups", "a"},
		"--status-page-address needs --policies or --policies-":  {"--status-page-address", "127.0.0.1:0", "--status-page-groups", "a"},
	} {
		config := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(config, []byte("servers: []\n"), 0o600))
		_, _, err := run(t, append([]string{"--mcp-gateway-config", config, "--admin-address", "127.0.0.1:0"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

// TestStatusPageWithTokens: the page of a whole gateway, with tokens of an issuer that is one.
func TestStatusPageWithTokens(t *testing.T) {
	issuer := testbed.NewIssuer(t)
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte("policies:\n  authentication: {issuer: "+issuer.URL+", audiences: [gateway]}\n"), 0o600))
	socket := filepath.Join(socketFolder(t), "page.sock")
	s := serveGateway(t, "servers: []\n", "--policies", policies, "--status-page-address", "unix:"+socket, "--status-page-roles", "operator", "--status-page-sign-out", "/out")
	s.awaitReady(t)
	page := overSocket(socket)
	ask := func(path, authorization string) (status int, body string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://status.example.com"+path, http.NoBody)
		require.NoError(t, err)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		resp, err := page.Do(r)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}
	token := func(roles ...string) string {
		return issuer.Token(t, "olga", map[string]any{"aud": "gateway", "realm_access": map[string]any{"roles": roles}})
	}
	for _, path := range []string{"/", "/status", "/access", "/metrics", "/readyz", "/assets/page.js"} {
		status, body := ask(path, "")
		assert.Equal(t, http.StatusUnauthorized, status, path)
		assert.NotContains(t, body, "MCP Gateway", path)
		status, _ = ask(path, token("guest"))
		assert.Equal(t, http.StatusForbidden, status, path)
		status, _ = ask(path, token("operator"))
		assert.Equal(t, http.StatusOK, status, path)
	}
	_, body := ask("/", token("guest", "operator"))
	assert.Contains(t, body, "<h1>Overview</h1>")
	assert.Contains(t, body, `<a href="/out">Sign out</a>`)
	require.NoError(t, s.end(t))
}
