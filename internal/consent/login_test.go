package consent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// callbackOf lets a browser log in up to the redirect back, and returns where that leads.
func (b *bed) callbackOf(w *browser, start string) *url.URL {
	b.t.Helper()
	var back *url.URL
	w.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == Path+"/callback" {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	w.open(start)
	w.client.CheckRedirect = nil
	require.NotNil(b.t, back)
	return back
}

// TestLoginsThatAreNone: only the answer of the issuer, to a login that this browser began, for the first time, logs anybody in.
func TestLoginsThatAreNone(t *testing.T) {
	tests := map[string]struct {
		change func(b *bed, back *url.URL, q url.Values)
		status int
	}{
		"another state":                  {func(_ *bed, _ *url.URL, q url.Values) { q.Set("state", newToken()) }, http.StatusBadRequest},
		"no state":                       {func(_ *bed, _ *url.URL, q url.Values) { q.Del("state") }, http.StatusBadRequest},
		"no code":                        {func(_ *bed, _ *url.URL, q url.Values) { q.Del("code") }, http.StatusForbidden},
		"another code":                   {func(_ *bed, _ *url.URL, q url.Values) { q.Set("code", "x") }, http.StatusForbidden},
		"another issuer":                 {func(_ *bed, _ *url.URL, q url.Values) { q.Set("iss", "https://evil.example.com") }, http.StatusForbidden},
		"an issuer that does not say so": {func(_ *bed, _ *url.URL, q url.Values) { q.Del("iss") }, http.StatusForbidden},
		"a refusal":                      {func(_ *bed, _ *url.URL, q url.Values) { q.Set("error", "access_denied") }, http.StatusForbidden},
		"a strange refusal":              {func(_ *bed, _ *url.URL, q url.Values) { q.Set("error", "<script>alert(1)</script>") }, http.StatusForbidden},
		"a policy of another issuer":     {func(b *bed, _ *url.URL, _ url.Values) { b.issuer = "https://other.example.com" }, http.StatusBadRequest},
		"an id token of another login":   {claims("nonce", "x"), http.StatusForbidden},
		"an id token without a nonce":    {claims("nonce", nil), http.StatusForbidden},
		"an id token of another issuer":  {claims("iss", "https://evil.example.com"), http.StatusForbidden},
		"an id token for another client": {claims("aud", "other"), http.StatusForbidden},
		"one that another client got":    {claims("azp", "other"), http.StatusForbidden},
		"one for several clients":        {claims("aud", []string{clientID, "other"}), http.StatusForbidden},
		"an id token of nobody":          {claims("sub", ""), http.StatusForbidden},
		"an id token that has expired":   {claims("exp", time.Now().Add(-time.Minute).Unix()), http.StatusForbidden},
		"an id token signed by somebody": {func(b *bed, _ *url.URL, _ url.Values) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(b.t, err)
			b.idp.change(func() { b.idp.signer = key })
		}, http.StatusForbidden},
		"an issuer that is down": {func(b *bed, _ *url.URL, _ url.Values) { b.idp.change(func() { b.idp.down = true }) }, http.StatusForbidden},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			r := b.asks("alice", "c1")
			alice := b.browser("alice")
			back := b.callbackOf(alice, r.URL)
			q := back.Query()
			tt.change(b, back, q)
			back.RawQuery = q.Encode()
			p := alice.open(back.String())
			assert.Equal(t, tt.status, p.status, p.body)
			assert.NotContains(t, p.body, "<script")
			assert.NotContains(t, b.log.String(), "<script")
			assert.Empty(t, b.consent.visits.byKey, "nobody is logged in")
			assert.Empty(t, b.consent.login.used, "what failed takes no room")
		})
	}
}

func claims(name string, value any) func(*bed, *url.URL, url.Values) {
	return func(b *bed, _ *url.URL, _ url.Values) {
		b.idp.change(func() { b.idp.claims = map[string]any{name: value} })
	}
}

// TestLoginOfAnotherBrowser: a login that somebody began logs nobody else in, so that nobody gives a credential in that one's name.
func TestLoginOfAnotherBrowser(t *testing.T) {
	b := newBed(t)
	r := b.asks("mallory", "c1")
	back := b.callbackOf(b.browser("mallory"), r.URL)
	victim := b.browser("alice")
	assert.Equal(t, http.StatusBadRequest, victim.open(back.String()).status)
	b.callbackOf(victim, r.URL) // with a login of her own begun, it is another one
	assert.Equal(t, http.StatusBadRequest, victim.open(back.String()).status)
	assert.Empty(t, b.consent.visits.byKey)
	assert.Zero(t, b.idp.tokens, "the code is not even looked at")
}

func TestLoginIsUsedOnce(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	alice := b.browser("alice")
	back := b.callbackOf(alice, r.URL)
	at, err := url.Parse(b.url + Path)
	require.NoError(t, err)
	kept := alice.client.Jar.Cookies(at)
	require.Equal(t, http.StatusOK, alice.open(back.String()).status)
	// Whoever has the address and the cookies of then logs in nevertheless not.
	thief := b.browser("nobody")
	for _, c := range kept {
		c.Path = Path
	}
	thief.client.Jar.SetCookies(at, kept)
	assert.Equal(t, http.StatusBadRequest, thief.open(back.String()).status)
	assert.Equal(t, 1, b.idp.tokens)
	assert.Len(t, b.consent.visits.byKey, 1)
}

// TestLoginLeadsNowhereElse: no address in a request says where a login ends.
func TestLoginLeadsNowhereElse(t *testing.T) {
	b := newBed(t)
	for _, query := range []string{"for=https://evil.example.com", "for=//evil.example.com", "for=/%2e%2e/", "next=https://evil.example.com&for=", "redirect_uri=https://evil.example.com"} {
		p := b.browser("alice").open(b.url + Path + "/login?" + query)
		assert.Equal(t, b.url+Path, p.url, query)
		assert.Equal(t, http.StatusOK, p.status)
	}
	for _, asked := range b.idp.asked {
		assert.Equal(t, b.url+Path+"/callback", asked.Get("redirect_uri"))
	}
}

func TestCookies(t *testing.T) {
	for scheme, prefix := range map[string]string{"http": "", "https": "__Host-"} {
		b := newBed(t, func(o *Options) {
			public := *o.Public
			public.Scheme = scheme
			o.Public = &public
		})
		w := b.browser("alice")
		w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		p := w.open(b.url + Path)
		require.Equal(t, http.StatusSeeOther, p.status)
		cookies := (&http.Response{Header: p.header}).Cookies()
		require.Len(t, cookies, 1)
		c := cookies[0]
		assert.Equal(t, prefix+loginCookie, c.Name)
		assert.True(t, c.HttpOnly)
		assert.Equal(t, http.SameSiteLaxMode, c.SameSite)
		assert.Equal(t, scheme == "https", c.Secure)
		assert.Empty(t, c.Domain)
		assert.LessOrEqual(t, c.MaxAge, int(loginLife/time.Second))
	}
}

// TestNewLoginNewCookie: what a browser had before a login is worth nothing after it.
func TestNewLoginNewCookie(t *testing.T) {
	b := newBed(t)
	alice := b.browser("alice")
	at, err := url.Parse(b.url + Path)
	require.NoError(t, err)
	alice.client.Jar.SetCookies(at, []*http.Cookie{{Name: visitCookie, Value: "chosen-by-somebody", Path: Path}})
	require.Equal(t, http.StatusOK, alice.open(b.url+Path).status)
	first := b.visitOf(alice)
	assert.NotEqual(t, "chosen-by-somebody", first)
	alice.open(b.url + Path + "/login")
	assert.NotEqual(t, first, b.visitOf(alice))
	assert.Nil(t, b.consent.visits.find(first, time.Now()))
	assert.NotNil(t, b.consent.visits.find(b.visitOf(alice), time.Now()))
}

func (b *bed) visitOf(w *browser) string {
	at, err := url.Parse(b.url + Path)
	require.NoError(b.t, err)
	for _, c := range w.client.Jar.Cookies(at) {
		if c.Name == visitCookie {
			return c.Value
		}
	}
	return ""
}

// TestIssuerChanges: who logged in at an issuer that is no longer in force is not logged in.
func TestIssuerChanges(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	alice := b.browser("alice")
	form := alice.open(r.URL).form(t, Path+"/for/"+r.ID)
	form.Set("credential", acmeKey)
	b.change(func() { b.issuer = "" })
	assert.Equal(t, http.StatusUnauthorized, alice.send(r.URL, form).status)
	assert.Equal(t, http.StatusServiceUnavailable, alice.open(r.URL).status)
	b.has("alice", "")
}

func TestIssuerThatCannotBeUsed(t *testing.T) {
	b := newBed(t)
	b.idp.down = true
	assert.Equal(t, http.StatusBadGateway, b.browser("alice").open(b.url+Path).status)
	b.idp.change(func() { b.idp.down = false })
	assert.Equal(t, http.StatusOK, b.browser("alice").open(b.url+Path).status)
}
