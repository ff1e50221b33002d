package credential

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const issuer = "https://idp.example.com/realms/mcp"

// issuing is an issuer with metadata at one path.
func issuing(path, metadata string) *authorizationServer {
	return &authorizationServer{answer: func(w http.ResponseWriter, r *http.Request, _ int) {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/realms/mcp/token":
			grantToken(w, "token", 300)
		case r.URL.Path == path:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(metadata))
		default:
			http.NotFound(w, r)
		}
	}}
}

func byIssuer(url string) config.Server {
	return server("weather", config.ClientCredentials, oauth(func(c *config.OAuthClient) { c.TokenURL, c.Issuer = "", url }))
}

func TestTokenEndpointFromMetadata(t *testing.T) {
	const good = `{"issuer":"` + issuer + `","token_endpoint":"` + issuer + `/token"}`
	for _, path := range []string{"/realms/mcp/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/mcp"} {
		as := issuing(path, good)
		m, _ := manage(t, as, Options{})
		s := byIssuer(issuer)
		assert.Equal(t, "token", mustToken(t, m.Shared(&s)), path)
		assert.True(t, strings.HasPrefix(as.request(as.count()-1), "POST /realms/mcp/token "))
	}
}

func TestMetadataThatCannotBeBelieved(t *testing.T) {
	for metadata, want := range map[string]string{
		`{"issuer":"https://evil.example.com","token_endpoint":"https://evil.example.com/token"}`: "names another issuer: https://evil.example.com",
		`{"issuer":"` + issuer + `"}`: "names no token_endpoint that can be used",
		`{"issuer":"` + issuer + `","token_endpoint":"http://idp.example.com/realms/mcp/token"}`: "names a token_endpoint without TLS",
		`{"issuer":"` + issuer + `","token_endpoint":"https://u:p@idp.example.com/"}`:            "names no token_endpoint that can be used",
		`[]`: "answered with what are no metadata",
	} {
		as := issuing("/realms/mcp/.well-known/openid-configuration", metadata)
		m, _ := manage(t, as, Options{})
		s := byIssuer(issuer)
		_, err := m.Shared(&s).Token(t.Context())
		require.EqualError(t, err, `no token from "`+issuer+`/.well-known/openid-configuration": `+want)
		for i := range as.count() {
			assert.NotContains(t, as.request(i), "Authorization", "the secret was sent")
		}
	}
}

func TestMetadataAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := issuing("/realms/mcp/.well-known/openid-configuration", `{"issuer":"`+issuer+`","token_endpoint":"`+issuer+`/token"}`)
		m, _ := manage(t, as, Options{})
		defer m.Close()
		s := byIssuer(issuer)
		m.Apply(servers(s))
		pass(10 * time.Minute)
		assert.Equal(t, 4, as.count(), "the metadata and three tokens")
		pass(metadataLife)
		metadata := 0
		for i := range as.count() {
			if strings.HasPrefix(as.request(i), "GET ") {
				metadata++
			}
		}
		assert.Equal(t, 2, metadata)
	})
}

func TestMetadataThatCannotBeHadAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := issuing("/realms/mcp/.well-known/openid-configuration", `{"issuer":"`+issuer+`","token_endpoint":"`+issuer+`/token"}`)
		m, _ := manage(t, as, Options{})
		defer m.Close()
		s := byIssuer(issuer)
		m.Apply(servers(s))
		synctest.Wait()
		as.set(issuing("/elsewhere", "").answer)
		pass(2 * metadataLife)
		assert.Equal(t, "token", mustToken(t, m.Shared(&s)), "the endpoint that is known still works")
	})
}
