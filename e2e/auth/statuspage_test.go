package auth_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

const (
	loginGuide = "docs/guides/status-page-login.md"
	// loginClients are the clients that the guide speaks of, which the chart adds to its realm.
	loginClients = "../../config/oauth/status-page-clients.json"
	// proxyBin is the variable with oauth2-proxy.
	proxyBin = "OAUTH2_PROXY_BIN"
	pageURL  = "https://status.example.com"
)

// loginExample is what the tests read of the guide.
type loginExample struct {
	values struct {
		Policies struct {
			Authentication struct{ Audiences []string }
		}
		Global struct {
			StatusPage struct {
				Hostname        string
				Groups          []string
				ConsoleClientID string `yaml:"consoleClientID"`
			} `yaml:"statusPage"`
		}
	}
	container struct {
		Image string
		Args  []string
		Env   []struct{ Name string }
	}
}

func readLoginExample(t *testing.T) *loginExample {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("../..", loginGuide))
	require.NoError(t, err)
	var e loginExample
	for _, block := range guidetest.Blocks(loginGuide, string(page)) {
		switch {
		case strings.HasPrefix(block.Text, "# status-page.yaml\n"):
			require.NoError(t, yaml.Unmarshal([]byte(block.Text), &e.values))
		case strings.HasPrefix(block.Text, "# oauth2-proxy.yaml\n"):
			var deployment struct {
				Spec struct {
					Template struct {
						Spec struct{ Containers yaml.Node }
					}
				}
			}
			require.NoError(t, yaml.Unmarshal([]byte(block.Text), &deployment))
			require.Len(t, deployment.Spec.Template.Spec.Containers.Content, 1)
			require.NoError(t, deployment.Spec.Template.Spec.Containers.Content[0].Decode(&e.container))
		}
	}
	require.Equal(t, pageURL, "https://"+e.values.Global.StatusPage.Hostname)
	require.NotEmpty(t, e.values.Policies.Authentication.Audiences)
	require.NotEmpty(t, e.container.Args)
	return &e
}

// statusPage is a gateway whose status page is behind a login, as the guide has it: a browser reaches an Envoy with TLS that stands for the route, the
// Envoy leads to oauth2-proxy, and that to the page.
type statusPage struct {
	realm *realm
	// page is the URL of the page's own listener, address where the route listens.
	page, address string
	certificate   []byte
}

// loginRealm has the clients of the guide, imported as one does in Keycloak's console, and its groups with one user of the example's.
func loginRealm(t *testing.T, e *loginExample, changes ...func(map[string]any)) *realm {
	t.Helper()
	text, err := os.ReadFile(loginClients)
	require.NoError(t, err)
	var clients map[string]any
	require.NoError(t, json.Unmarshal(text, &clients))
	r := newRealm(t, changes...)
	clients["ifResourceExists"] = "FAIL"
	r.admin(t, http.MethodPost, "/partialImport", clients, nil)
	for _, group := range e.values.Global.StatusPage.Groups {
		r.admin(t, http.MethodPost, "/groups", map[string]any{"name": group}, nil)
		r.admin(t, http.MethodPut, r.membership(t, "mcp", group), nil, nil)
	}
	return r
}

// membership is the path of a user's being in a group.
func (r *realm) membership(t *testing.T, user, group string) string {
	t.Helper()
	return "/users/" + r.find(t, "/users", user) + "/groups/" + r.find(t, "/groups", group)
}

func startStatusPage(t *testing.T, e *loginExample, r *realm, changes ...string) *statusPage {
	t.Helper()
	values := e.values
	policies := strings.Replace(shippedPolicies(t, r), "audiences: [mcp-gateway]", "audiences: ["+strings.Join(values.Policies.Authentication.Audiences, ", ")+"]\n    clockSkew: 0s", 1)
	file := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(file, []byte(policies), 0o600))
	listener := testbed.FreeAddress(t)
	s := &statusPage{realm: r, page: "http://" + listener}
	gateway := testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Policies: file,
		Servers: []config.ServerSpec{testbed.ServerSpec("weather", testbed.Example(t, "weather").URL), testbed.ServerSpec("time", testbed.Example(t, "time").URL)},
		Flags: []string{
			"--status-page-address", listener, "--status-page-groups", strings.Join(values.Global.StatusPage.Groups, ","), "--allowed-origins", pageURL,
			"--status-page-sign-out", "/oauth2/sign_out", "--console-client-id", values.Global.StatusPage.ConsoleClientID,
		},
		Env: []string{"OAUTH_AUTHORIZATION_SERVERS=" + r.issuer, "OAUTH_SCOPES_SUPPORTED=basic,groups,roles,mcp-gateway"},
	})
	testbed.Await(t, "tools of both servers", func() bool { return len(gateway.Status(t).Tools) == 5 })
	s.startRoute(t, s.startProxy(t, e, changes...))
	return s
}

// startProxy starts oauth2-proxy with the arguments of the guide, and others only where an address must be another. It returns its own.
func (s *statusPage) startProxy(t *testing.T, e *loginExample, changes ...string) (address string) {
	t.Helper()
	address = testbed.FreeAddress(t)
	replacer := strings.NewReplacer(append([]string{
		"https://login.example.com/realms/mcp", s.realm.issuer, "http://mcp-gateway-status-page:8091", s.page, "0.0.0.0:4180", address,
	}, changes...)...)
	c := testbed.Command{Path: testbed.Program(t, proxyBin)}
	for _, arg := range e.container.Args {
		c.Args = append(c.Args, replacer.Replace(arg))
	}
	var secret struct{ Value string }
	s.realm.admin(t, http.MethodGet, "/clients/"+s.realm.find(t, "/clients", "status-page")+"/client-secret", nil, &secret)
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	given := map[string]string{"OAUTH2_PROXY_CLIENT_SECRET": secret.Value, "OAUTH2_PROXY_COOKIE_SECRET": base64.URLEncoding.EncodeToString(random)}
	for _, env := range e.container.Env {
		require.Contains(t, given, env.Name)
		c.Env = append(c.Env, env.Name+"="+given[env.Name])
	}
	testbed.AwaitListening(t, testbed.Start(t, "oauth2-proxy", c), address)
	return address
}

// loginRoute is an Envoy that knows nothing of us and leads a hostname to oauth2-proxy, as the chart's HTTPRoute does at a listener with TLS.
const loginRoute = `
static_resources:
  listeners:
    - address: {socket_address: {address: 127.0.0.1, port_value: %s}}
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}]}
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: in
                use_remote_address: true
                route_config:
                  virtual_hosts: [{name: status, domains: [status.example.com], routes: [{match: {prefix: /}, route: {cluster: oauth2-proxy}}]}]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: oauth2-proxy
      load_assignment:
        cluster_name: oauth2-proxy
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
`

func (s *statusPage) startRoute(t *testing.T, proxy string) {
	t.Helper()
	s.address = testbed.FreeAddress(t)
	_, port, _ := net.SplitHostPort(s.address)
	_, to, _ := net.SplitHostPort(proxy)
	certificate, key := testbed.SelfSigned(t, strings.TrimPrefix(pageURL, "https://"))
	s.certificate = certificate
	bootstrap := filepath.Join(t.TempDir(), "envoy.yaml")
	require.NoError(t, os.WriteFile(bootstrap, fmt.Appendf(nil, loginRoute, port, certificate, key, to), 0o600))
	envoy := testbed.Start(t, "envoy of the route", testbed.Command{Path: testbed.Program(t, testbed.EnvoyBin), Args: []string{"-c", bootstrap, "--use-dynamic-base-id", "-l", "warn"}})
	testbed.AwaitListening(t, envoy, s.address)
}

// client is one that keeps cookies, follows redirects and finds the page's hostname where its route is.
func (s *statusPage) client(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(s.certificate))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if "https://"+address == pageURL+":443" {
				address = s.address
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: testbed.Patience}
}

// answer is what came at the end of all redirects, and from where.
type answer struct {
	status   int
	at, body string
}

// ask is a request with headers.
func ask(t *testing.T, client *http.Client, target string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return answerTo(t, client, req)
}

// login fills in the form that one is led to.
func login(t *testing.T, client *http.Client, target, user string) answer {
	t.Helper()
	form := ask(t, client, target).body
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(form)
	require.NotNil(t, action, form)
	filled := url.Values{"username": {user}, "password": {user}}.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, html.UnescapeString(action[1]), strings.NewReader(filled))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return answerTo(t, client, req)
}

func answerTo(t *testing.T, client *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{status: resp.StatusCode, at: resp.Request.URL.String(), body: string(body)}
}

// TestStatusPageLogin: what the guide promises to people with a browser, of its very example.
func TestStatusPageLogin(t *testing.T) {
	t.Parallel()
	e := readLoginExample(t)
	s := startStatusPage(t, e, loginRealm(t, e))
	out := testbed.NewBrowser(t, screenshots).Run(t, "browser/statuspage.mjs", "", map[string]any{
		"page": pageURL, "address": s.address, "operator": "mcp", "other": "guest",
	})
	t.Logf("%s", out)
}

// TestStatusPageLoginOfPrograms: a token opens the page by the same name, and whatever comes without one is led to the login, or refused by the page itself.
func TestStatusPageLoginOfPrograms(t *testing.T) {
	t.Parallel()
	e := readLoginExample(t)
	s := startStatusPage(t, e, loginRealm(t, e))
	client := s.client(t)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	good, others := bearer(s.realm.token(t, "mcp")), bearer(s.realm.token(t, "guest"))
	for name, c := range map[string]struct {
		base    string
		want    int
		headers []string
	}{
		"nothing":              {pageURL, http.StatusFound, nil},
		"a good token":         {pageURL, http.StatusOK, good},
		"a token of another":   {pageURL, http.StatusForbidden, others},
		"no token":             {pageURL, http.StatusForbidden, bearer("of.no.use")},
		"the page itself":      {s.page, http.StatusUnauthorized, nil},
		"the page, a token":    {s.page, http.StatusOK, good},
		"the page, of another": {s.page, http.StatusForbidden, others},
		"the page, a name":     {s.page, http.StatusUnauthorized, []string{"X-Forwarded-User", "mcp", "X-Forwarded-Groups", "operators"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(t, client, c.base+"/status", c.headers...)
			assert.Equal(t, c.want, a.status, a.body)
		})
	}
}

// TestStatusPageLoginGoesOn: whoever is logged in stays so when the token has ended, unless they are no longer among those who may, until they sign out, which
// ends the login at Keycloak, too.
func TestStatusPageLoginGoesOn(t *testing.T) {
	t.Parallel()
	const lifespan = 10 * time.Second
	e := readLoginExample(t)
	s := startStatusPage(t, e, loginRealm(t, e, func(realm map[string]any) { realm["accessTokenLifespan"] = lifespan.Seconds() }), "--cookie-refresh=1m", "--cookie-refresh=1s")
	client := s.client(t)
	a := login(t, client, pageURL+"/status", "mcp")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, pageURL+"/status", a.at)
	began := time.Now()
	testbed.Await(t, "the first token to have ended", func() bool {
		a := ask(t, client, pageURL+"/status")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Equal(t, pageURL+"/status", a.at, "still the page, after %v", time.Since(began))
		return time.Since(began) > 2*lifespan
	})
	group := s.realm.membership(t, "mcp", e.values.Global.StatusPage.Groups[0])
	s.realm.admin(t, http.MethodDelete, group, nil, nil)
	testbed.Await(t, "the page to be for others", func() bool { return ask(t, client, pageURL+"/status").status == http.StatusForbidden })

	a = ask(t, client, pageURL+"/oauth2/sign_out")
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.True(t, strings.HasPrefix(a.at, s.realm.issuer), "Keycloak asks who it is: %s", a.at)
	require.Contains(t, a.body, `name="password"`)
}
