package protectedresource

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func environment(vars map[string]string) Lookup {
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

func publicURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u
}

func TestFromEnv(t *testing.T) {
	const defaults = `{"resource_name":"MCP Server","resource":"https://mcp.example.com/mcp","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`
	tests := map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing is set":        {nil, defaults},
		"all is set to nothing": {map[string]string{EnvName: "", EnvResource: " ", EnvAuthorizationServers: "", EnvBearerMethods: "", EnvScopes: " , "}, `{"resource_name":"MCP Server","resource":"https://mcp.example.com/mcp"}`},
		"a relative resource":   {map[string]string{EnvResource: "/tools?x=1"}, `{"resource_name":"MCP Server","resource":"https://mcp.example.com/tools?x=1","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`},
		"without a slash":       {map[string]string{EnvResource: "mcp"}, defaults},
		"an absolute resource":  {map[string]string{EnvResource: "http://other.example.com:8080/mcp"}, `{"resource_name":"MCP Server","resource":"http://other.example.com:8080/mcp","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`},
		"lists are trimmed":     {map[string]string{EnvScopes: " read , write,,read "}, `{"resource_name":"MCP Server","resource":"https://mcp.example.com/mcp","bearer_methods_supported":["header"],"scopes_supported":["read","write"]}`},
		"special characters":    {map[string]string{EnvName: "Tom & Jerry's <MCP>"}, `{"resource_name":"Tom & Jerry's <MCP>","resource":"https://mcp.example.com/mcp","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`},
		"all of them": {map[string]string{
			EnvName: "Tools", EnvAuthorizationServers: "https://sso.example.com/realms/mcp, http://127.0.0.1:8889/realms/mcp",
			EnvBearerMethods: "header,body", EnvScopes: "basic,groups",
		}, `{"resource_name":"Tools","resource":"https://mcp.example.com/mcp","authorization_servers":["https://sso.example.com/realms/mcp","http://127.0.0.1:8889/realms/mcp"],"bearer_methods_supported":["header","body"],"scopes_supported":["basic","groups"]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := FromEnv(environment(tt.env), publicURL(t, "https://mcp.example.com"))
			require.NoError(t, err)
			got, err := json.Marshal(m)
			require.NoError(t, err)
			assert.Equal(t, jsonOf(t, tt.want), string(got))
		})
	}
}

// jsonOf is the same text as encoding/json writes it.
func jsonOf(t *testing.T, text string) string {
	t.Helper()
	out, err := json.Marshal(json.RawMessage(text))
	require.NoError(t, err)
	return string(out)
}

// All problems are told at once, each with its variable, and no password is repeated.
func TestFromEnvRefuses(t *testing.T) {
	tests := map[string]struct {
		env  map[string]string
		want []string
	}{
		"a resource of another scheme": {map[string]string{EnvResource: "ftp://example.com/mcp"}, []string{EnvResource + `: "ftp://example.com/mcp" is not an absolute http or https URL`}},
		"a resource that is no URL":    {map[string]string{EnvResource: "http://a b/"}, []string{EnvResource + `: "http://a b/" is not a URL or a path`}},
		"a fragment":                   {map[string]string{EnvResource: "/mcp#tools"}, []string{EnvResource + `: "/mcp#tools" must not have a fragment`}},
		"an empty fragment":            {map[string]string{EnvResource: "https://example.com/mcp#"}, []string{EnvResource + `: "https://example.com/mcp#" must not have a fragment`}},
		"a password":                   {map[string]string{EnvResource: "https://me:hunter2@example.com/mcp"}, []string{EnvResource + ": must not have a user or a password"}},
		"an issuer without scheme":     {map[string]string{EnvAuthorizationServers: "sso.example.com"}, []string{EnvAuthorizationServers + `: "sso.example.com" is not an absolute http or https URL`}},
		"an issuer with a query":       {map[string]string{EnvAuthorizationServers: "https://sso.example.com/?a=b"}, []string{EnvAuthorizationServers + `: "https://sso.example.com/?a=b" must not have a query`}},
		"several": {
			map[string]string{EnvBearerMethods: "cookie", EnvScopes: `read write,"`, EnvAuthorizationServers: "https://ok.example.com, /relative"},
			[]string{
				EnvAuthorizationServers + `: "/relative" is not an absolute http or https URL`,
				EnvBearerMethods + `: "cookie" is not a way to send a token: want "header", "body" or "query"`,
				EnvScopes + `: "read write" is not a scope: it must be printable ASCII without spaces, quotes and backslashes; separate scopes with commas`,
				EnvScopes + `: "\"" is not a scope: it must be printable ASCII without spaces, quotes and backslashes; separate scopes with commas`,
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := FromEnv(environment(tt.env), publicURL(t, "https://mcp.example.com"))
			require.Error(t, err)
			var got []string
			for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
				got = append(got, e.Error())
			}
			assert.Equal(t, tt.want, got)
		})
	}
}
