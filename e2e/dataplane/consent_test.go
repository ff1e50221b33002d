package dataplane_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// consentBed is a gateway in front of a server that wants a key of each user.
type consentBed struct {
	*testbed.Gateway

	issuer *testbed.Issuer
	acme   *testbed.Upstream
	store  string
}

const (
	consentSecret = "c0nsent-s3cr3t"
	// opensURLs are the capabilities of a client that has its user open pages.
	opensURLs = `{"elicitation":{"form":{},"url":{}}}`
)

func newConsentBed(t *testing.T, mode testbed.Mode) *consentBed {
	t.Helper()
	acme := testbed.NewUpstream(t, acmeScript())
	b := newConsentBedFor(t, mode, acme.URL)
	b.acme = acme
	return b
}

func newConsentBedFor(t *testing.T, mode testbed.Mode, serverURL string) *consentBed {
	t.Helper()
	dir := t.TempDir()
	b := &consentBed{issuer: testbed.NewIssuer(t), store: filepath.Join(dir, "credentials")}
	b.issuer.ClientSecret = consentSecret
	values, key := filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "key")
	require.NoError(t, os.WriteFile(values, fmt.Appendf(nil,
		"policies:\n  authentication: {issuer: %q, jwksURI: %q, audiences: [mcp-gateway]}\n  acl:\n    - {everyone: true, allow: [{server: acme}]}\n",
		b.issuer.URL, b.issuer.URL+"/keys"), 0o600))
	require.NoError(t, os.WriteFile(key, []byte(strings.Repeat("k", 40)), 0o600))
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: mode, Policies: values, Env: []string{"MCP_GATEWAY_CONSENT_CLIENT_SECRET=" + consentSecret, "READER_KEY=readers"},
		Flags: []string{"--log-level", "debug", "--session-key-file", key, "--consent-client-id", "gateway-pages", "--consent-store-file", b.store},
		Servers: []config.ServerSpec{spec("acme", serverURL, withCredential(config.CredentialSpec{
			PerUser:   &config.PerUserSpec{Title: "Acme API key", Description: "Get one at https://acme.example.com/keys.", Header: "X-Api-Key"},
			Discovery: &config.SecretSpec{Env: "READER_KEY"},
		}))},
	})
	b.AwaitTools(t, "acme_whoami")
	return b
}

// acmeScript is a server that says which key a call came with, and takes none that begins with "bad".
func acmeScript() testbed.Script {
	s := testbed.Script{Tools: []testbed.Tool{{Name: "whoami", Call: func(w http.ResponseWriter, c *testbed.Call) {
		c.Text(w, "key="+c.Header.Get("X-Api-Key")+" authorization="+c.Header.Get("Authorization")+" cookie="+c.Header.Get("Cookie"))
	}}}}
	s.Before = func(w http.ResponseWriter, c *testbed.Call) bool {
		if key := c.Header.Get("X-Api-Key"); key == "" || strings.HasPrefix(key, "bad") {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	return s
}

func (b *consentBed) as(t *testing.T, user string) *testbed.Client {
	t.Helper()
	c := testbed.NewClient(t, b.Endpoint)
	c.Name, c.Authorization = strings.ReplaceAll(t.Name(), "/", ".")+"."+user, b.issuer.Token(t, user, nil)
	c.Initialize(t, opensURLs)
	return c
}

type elicitation struct{ Mode, ElicitationID, URL, Message string }

// elicited is what an answer asks of the user.
func (b *consentBed) elicited(t *testing.T, a *testbed.Answer) elicitation {
	t.Helper()
	require.Equal(t, http.StatusOK, a.Status, a)
	require.Equal(t, -32042, a.Error(t).Code, a)
	var m struct {
		Error struct {
			Data struct{ Elicitations []elicitation }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.Message(t)), &m))
	require.Len(t, m.Error.Data.Elicitations, 1)
	e := m.Error.Data.Elicitations[0]
	assert.Equal(t, "url", e.Mode)
	assert.Equal(t, b.Base+"/credentials/for/"+e.ElicitationID, e.URL)
	assert.Contains(t, e.Message, "Acme API key")
	return e
}

// person is a browser in which somebody logs in by this name wherever that is asked for.
type person struct {
	*http.Client

	t *testing.T
}

func newPerson(t *testing.T, user string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &person{t: t, Client: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/auth") {
			r.URL.RawQuery += "&user=" + url.QueryEscape(user)
		}
		return nil
	}}}
}

func (p *person) do(method, address string, form url.Values, headers ...string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.Do(req)
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(body)
}

// fields are the hidden ones of the form with an action.
func fields(t *testing.T, body, action string) url.Values {
	t.Helper()
	_, form, found := strings.Cut(body, `action="`+action+`"`)
	require.True(t, found, body)
	form, _, _ = strings.Cut(form, "</form>")
	out := url.Values{}
	for _, m := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
		out.Set(m[1], m[2])
	}
	return out
}

// give opens a link and pastes a key.
func (p *person) give(e elicitation, key string) string {
	p.t.Helper()
	status, body := p.do(http.MethodGet, e.URL, nil)
	require.Equal(p.t, http.StatusOK, status, body)
	form := fields(p.t, body, "/credentials/for/"+e.ElicitationID)
	form.Set("credential", key)
	status, body = p.do(http.MethodPost, e.URL, form)
	require.Equal(p.t, http.StatusOK, status, body)
	return body
}

// TestConsent: a user gives a key on the page that the first call leads to, and from then on that user's calls carry it, and nobody else's do.
func TestConsent(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newConsentBed(t, mode)
		ann, bea := b.as(t, "ann"), b.as(t, "bea")
		asked := b.elicited(t, ann.Call(t, "acme_whoami", "{}"))
		assert.Equal(t, asked, b.elicited(t, ann.Call(t, "acme_whoami", "{}")), "one need has one link")
		assert.Empty(t, b.acme.Sessions(ann.Name), "nothing reaches the server")

		// The link is of no use to another user.
		status, body := newPerson(t, "bea").do(http.MethodGet, asked.URL, nil)
		assert.Equal(t, http.StatusForbidden, status)
		assert.NotContains(t, body, "Acme")

		stream := ann.Listen(t)
		assert.Contains(t, newPerson(t, "ann").give(asked, "anns-key"), "You can close this window")
		done := stream.Find(t, "notifications/elicitation/complete")
		assert.JSONEq(t, `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"`+asked.ElicitationID+`"}}`, done.Data)

		for range 3 {
			assert.Equal(t, "key=anns-key authorization= cookie=", ann.Call(t, "acme_whoami", "{}", "Cookie", "mcp-gateway-visit=x").Text(t))
			beas := b.elicited(t, bea.Call(t, "acme_whoami", "{}"))
			assert.NotEqual(t, asked.ElicitationID, beas.ElicitationID)
		}
		newPerson(t, "bea").give(b.elicited(t, bea.Call(t, "acme_whoami", "{}")), "beas-key")
		assert.Equal(t, "key=beas-key authorization= cookie=", bea.Call(t, "acme_whoami", "{}").Text(t))
		assert.Equal(t, "key=anns-key authorization= cookie=", b.as(t, "ann").Call(t, "acme_whoami", "{}").Text(t), "another session is the same user's")
		for _, call := range b.acme.AllCalls() {
			want := map[string]string{ann.Name: "anns-key", bea.Name: "beas-key"}[call.Client]
			if want == "" {
				want = "readers"
			}
			assert.Equal(t, want, call.Header.Get("X-Api-Key"), call.Client)
		}

		b.refusesAndRevokes(t, ann)
		b.pagesCannotBeForged(t)
		b.outlives(t)
		assertNoSecrets(t, b.Gateway, "anns-key", "beas-key", "bad-key", consentSecret)
	})
}

// refusesAndRevokes: what the server refuses is asked for anew, and so is what its user has revoked.
func (b *consentBed) refusesAndRevokes(t *testing.T, ann *testbed.Client) {
	person := newPerson(t, "ann")
	revoke := func() {
		_, body := person.do(http.MethodGet, b.Base+"/credentials", nil)
		require.Contains(t, body, "Acme API key")
		status, body := person.do(http.MethodPost, b.Base+"/credentials/revoke", fields(t, body, "/credentials/revoke"))
		assert.Equal(t, http.StatusOK, status)
		assert.Contains(t, body, "You have stored nothing")
	}
	revoke()
	person.give(b.elicited(t, ann.Call(t, "acme_whoami", "{}")), "bad-key")
	asked := b.elicited(t, ann.Call(t, "acme_whoami", "{}"))
	_, body := person.do(http.MethodGet, asked.URL, nil)
	assert.Contains(t, body, "The server did not accept what you have stored")
	person.give(asked, "anns-key")
	assert.Contains(t, ann.Call(t, "acme_whoami", "{}").Text(t), "key=anns-key")
	revoke()
	b.elicited(t, ann.Call(t, "acme_whoami", "{}"))
}

// pagesCannotBeForged: the way to the pages is a way to nothing else, whatever a request says.
func (b *consentBed) pagesCannotBeForged(t *testing.T) {
	p := newPerson(t, "ann")
	forged := []string{
		"X-Mcp-Router-Key", "x", "X-Mcp-Cluster", "acme", "X-Mcp-Servername", "acme", "X-Envoy-Original-Path", "/mcp", "Mcp-Session-Id", "x",
		"Authorization", b.issuer.Token(t, "bea", nil),
	}
	for _, path := range []string{"/credentials", "/credentials/..%2fmcp", "/credentials/../credentials", "/credentials//mcp", "/credentials/for/x"} {
		status, body := p.do(http.MethodGet, b.Base+path, nil, forged...)
		assert.Contains(t, []int{http.StatusOK, http.StatusNotFound, http.StatusGone, http.StatusBadRequest}, status, path)
		assert.NotContains(t, body, "beas", path)
		assert.NotContains(t, body, "Logged in as <strong>bea", "a token logs nobody in on the pages")
	}
	status, _ := p.do(http.MethodPost, b.Base+"/credentials", url.Values{"jsonrpc": {"2.0"}}, forged...)
	assert.Equal(t, http.StatusNotFound, status)
	status, _ = p.do(http.MethodGet, b.Base+"/credentialsx", nil)
	assert.Equal(t, http.StatusNotFound, status)
	// No page of another origin can read them.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, b.Base+"/credentials", nil)
	require.NoError(t, err)
	req.Header.Set("Origin", "http://localhost:1234")
	req.Header.Set("Access-Control-Request-Method", "GET")
	resp, err := p.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Empty(t, resp.Header.Get("Access-Control-Allow-Origin"))
}

// outlives: what is stored is there after a restart, and in no file in clear.
func (b *consentBed) outlives(t *testing.T) {
	file, err := os.ReadFile(b.store)
	require.NoError(t, err)
	for _, hidden := range []string{"beas-key", "bea", b.issuer.URL} {
		assert.NotContains(t, string(file), hidden)
	}
	if b.Mode == testbed.Standalone {
		return // it would take its port along
	}
	b.Process.Signal(syscall.SIGTERM)
	<-b.Process.Exited()
	b.StartProcess(t)
	b.AwaitReady(t)
	b.AwaitTools(t, "acme_whoami")
	assert.Contains(t, b.as(t, "bea").Call(t, "acme_whoami", "{}").Text(t), "key=beas-key")
}

// TestConsentWithoutPages: where nobody can be asked, the tools are shown and a call says what is missing, to the client and to the operator.
func TestConsentWithoutPages(t *testing.T) {
	t.Parallel()
	up := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "whoami"}}})
	g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{
		spec("acme", up.URL, withCredential(config.CredentialSpec{PerUser: &config.PerUserSpec{Title: "Acme API key"}})),
	}})
	g.AwaitTools(t, "acme_whoami")
	a := testbed.Connect(t, g.Endpoint).Call(t, "acme_whoami", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, a)
	assert.Contains(t, a.Error(t).Message, "needs a credential of each user's own")
	problems := g.Status(t).Problems
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0].Message, "--consent-client-id")
	assert.Equal(t, http.StatusNotFound, testbed.Get(t, g.Base+"/credentials").Status)
}
