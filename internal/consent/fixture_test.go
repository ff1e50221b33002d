package consent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	clientID     = "mcp-gateway"
	clientSecret = "cl13nt-s3cr3t"
	// acmeKey is what users paste.
	acmeKey = "acme-k3y-of-alice"
)

// idp is an OpenID provider. Whoever comes to its login page is logged in as the user that the browser says.
type idp struct {
	t      testing.TB
	server *httptest.Server
	key    *ecdsa.PrivateKey

	mu     sync.Mutex // guards the rest
	codes  map[string]url.Values
	claims map[string]any // in place of those of a good id token
	signer *ecdsa.PrivateKey
	asked  []url.Values // at the login page
	tokens int          // requests to the token endpoint
	down   bool
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p := &idp{t: t, key: key, signer: key, codes: map[string]url.Values{}}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

func (p *idp) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		assert.NoError(p.t, json.NewEncoder(w).Encode(v))
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer(map[string]any{
			"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys", "authorization_endpoint": p.server.URL + "/login", "token_endpoint": p.server.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "authorization_response_iss_parameter_supported": true,
		})
	case "/keys":
		answer(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	case "/login":
		p.login(w, r)
	case "/token":
		p.token(w, r, answer)
	default:
		http.NotFound(w, r)
	}
}

func (p *idp) login(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p.asked = append(p.asked, q)
	code := newToken()
	user, _ := r.Cookie("user")
	q.Set("user", user.Value)
	p.codes[code] = q
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.server.URL}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *idp) token(w http.ResponseWriter, r *http.Request, answer func(any)) {
	p.tokens++
	id, secret, _ := r.BasicAuth()
	code := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if id != clientID || secret != clientSecret || code == nil || code.Get("code_challenge_method") != "S256" ||
		code.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) || code.Get("redirect_uri") != r.PostFormValue("redirect_uri") {
		w.WriteHeader(http.StatusBadRequest)
		answer(map[string]string{"error": "invalid_grant", "error_description": "not with " + secret})
		return
	}
	claims := map[string]any{
		"iss": p.server.URL, "aud": clientID, "sub": "id-of-" + code.Get("user"), "preferred_username": code.Get("user"), "nonce": code.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	maps.Copy(claims, p.claims)
	raw, err := p.sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(map[string]any{"access_token": "t", "token_type": "Bearer", "id_token": raw})
}

func (p *idp) sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.signer, KeyID: "k"}}, nil)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// bed is the pages behind a server, with an issuer.
type bed struct {
	t       testing.TB
	idp     *idp
	consent *Consent
	store   Store
	url     string
	log     *strings.Builder

	mu        sync.Mutex // guards the rest
	servers   map[string]Server
	issuer    string
	changed   []string
	completed []string
}

func newBed(t testing.TB, options ...func(*Options)) *bed {
	t.Helper()
	b := &bed{t: t, idp: newIDP(t), log: &strings.Builder{}, servers: map[string]Server{
		"acme": {Name: "acme", Title: "Acme API key", Description: "Get one at https://acme.example.com/keys.", Address: "acme.example.com", Prefix: "Bearer "},
	}}
	b.issuer = b.idp.server.URL
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.consent.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	b.url = server.URL
	public, err := url.Parse(server.URL)
	require.NoError(t, err)
	b.store, err = NewMemory()
	require.NoError(t, err)
	o := Options{
		Public: public, Store: b.store, Key: randomKey(), ClientID: clientID, ClientSecret: config.NewSecret(clientSecret),
		Issuer: func() string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.issuer
		},
		Server: func(name string) (Server, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			s, ok := b.servers[name]
			return s, ok
		},
		Changed: func(u User, server string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changed = append(b.changed, u.Subject+" "+server)
		},
		Logger: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range options {
		change(&o)
	}
	b.store = o.Store
	b.consent, err = New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, secret := range []string{acmeKey, clientSecret} {
			assert.NotContains(t, b.log.String(), secret, "the log shows a secret")
		}
	})
	return b
}

func (b *bed) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *bed) user(name string) User { return User{Issuer: b.idp.server.URL, Subject: "id-of-" + name} }

// asks begins a request for the server acme.
func (b *bed) asks(user, client string) Request {
	b.t.Helper()
	r, err := b.consent.Ask(Need{User: b.user(user), Server: "acme", Client: client, Completed: func(id string) {
		b.change(func() { b.completed = append(b.completed, id) })
	}})
	require.NoError(b.t, err)
	return r
}

// has asserts what a user has stored for acme; empty means nothing that can be used.
func (b *bed) has(user, value string) {
	b.t.Helper()
	got, ok, err := b.consent.Find(b.user(user), "acme")
	require.NoError(b.t, err)
	assert.Equal(b.t, value != "", ok)
	assert.Equal(b.t, value, got.Reveal())
}

// browser is a person's. It follows redirects and keeps cookies.
type browser struct {
	t      testing.TB
	client *http.Client
}

// browser opens one in which a user is logged in at the issuer.
func (b *bed) browser(user string) *browser {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(b.t, err)
	at, err := url.Parse(b.idp.server.URL)
	require.NoError(b.t, err)
	w := &browser{t: b.t, client: &http.Client{Jar: jar}}
	w.at(at, user)
	return w
}

// at changes who is logged in at the issuer.
func (w *browser) at(issuer *url.URL, user string) {
	// Cookies know no ports: this one goes to the pages too, which must not mind.
	w.client.Jar.SetCookies(issuer, []*http.Cookie{{Name: "user", Value: user, Path: "/login"}})
}

// page is an answer.
type page struct {
	status int
	header http.Header
	url    string
	body   string
}

func (w *browser) do(req *http.Request) page {
	w.t.Helper()
	resp, err := w.client.Do(req)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return page{resp.StatusCode, resp.Header, resp.Request.URL.String(), string(body)}
}

func (w *browser) open(address string) page {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	require.NoError(w.t, err)
	return w.do(req)
}

// send posts a form as a browser does from a page of the same origin. The headers come in pairs.
func (w *browser) send(address string, form url.Values, headers ...string) page {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "null")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.do(req)
}

// form reads the hidden fields of the form that has an action.
func (p page) form(t testing.TB, action string) url.Values {
	t.Helper()
	_, rest, found := strings.Cut(p.body, `action="`+action+`"`)
	require.True(t, found, "no form for %s in %s", action, p.body)
	rest, _, _ = strings.Cut(rest, "</form>")
	form := url.Values{}
	for _, m := range regexp.MustCompile(`type="hidden" name="([^"]*)" value="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
		form.Set(m[1], m[2])
	}
	return form
}

// give does what a person does who opens a link and pastes a credential.
func (w *browser) give(r Request, value string) page {
	w.t.Helper()
	p := w.open(r.URL)
	require.Equal(w.t, http.StatusOK, p.status, p.body)
	form := p.form(w.t, Path+"/for/"+r.ID)
	form.Set("credential", value)
	return w.send(r.URL, form)
}
