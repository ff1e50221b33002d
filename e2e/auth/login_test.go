package auth_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// authorizationServer is what the tests read of RFC 8414's metadata.
type authorizationServer struct {
	Issuer                        string   `json:"issuer"`
	AuthorizationEndpoint         string   `json:"authorization_endpoint"`
	TokenEndpoint                 string   `json:"token_endpoint"`
	RegistrationEndpoint          string   `json:"registration_endpoint"`
	CodeChallengeMethodsSupported []string `json:"code_challenge_methods_supported"`
}

// codeFlow is one login with a code and PKCE (RFC 7636), as a public client does it.
type codeFlow struct {
	server   authorizationServer
	client   string
	redirect string
	scope    string
	resource string // RFC 8707
	verifier string // made by page unless it is given
}

// page asks for the login page. A server that refuses at once redirects instead.
func (f *codeFlow) page(t *testing.T, browser *http.Client, change ...func(url.Values)) (status int, location *url.URL, body string) {
	t.Helper()
	if f.verifier == "" {
		f.verifier = rand.Text() + rand.Text()
	}
	challenge := sha256.Sum256([]byte(f.verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {f.client}, "redirect_uri": {f.redirect}, "scope": {f.scope}, "state": {"the state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	if f.resource != "" {
		query.Set("resource", f.resource)
	}
	for _, c := range change {
		c(query)
	}
	return browse(t, browser, http.MethodGet, f.server.AuthorizationEndpoint+"?"+query.Encode(), nil)
}

// browser keeps cookies and shows redirects in place of following them.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func browse(t *testing.T, browser *http.Client, method, target string, form url.Values) (status int, location *url.URL, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	location, _ = resp.Location() // none where there is no redirect
	return resp.StatusCode, location, string(out)
}

// login fills in the login page and returns the code.
func (f *codeFlow) login(t *testing.T, user, password string) (code string) {
	t.Helper()
	b := browser(t)
	status, _, page := f.page(t, b)
	require.Equal(t, http.StatusOK, status, page)
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(page)
	require.NotNil(t, action, page)
	status, location, page := browse(t, b, http.MethodPost, html.UnescapeString(action[1]), url.Values{"username": {user}, "password": {password}})
	require.Equal(t, http.StatusFound, status, page)
	require.True(t, strings.HasPrefix(location.String(), f.redirect+"?"), location)
	answer := location.Query()
	require.Empty(t, answer.Get("error"), location)
	require.Equal(t, "the state", answer.Get("state"))
	require.Equal(t, f.server.Issuer, answer.Get("iss"), "RFC 9207: the answer says who gives it")
	return answer.Get("code")
}

// exchange is the form that asks for the token of a code.
func (f *codeFlow) exchange(code string) url.Values {
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {f.client}, "redirect_uri": {f.redirect}, "code": {code}, "code_verifier": {f.verifier},
	}
	if f.resource != "" {
		form.Set("resource", f.resource)
	}
	return form
}
