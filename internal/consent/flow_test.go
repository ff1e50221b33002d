package consent

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGive(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	assert.Equal(t, b.url+"/credentials/for/"+r.ID, r.URL)
	assert.Contains(t, r.Message, `The server "acme" needs a credential of your own: Acme API key.`)
	assert.NotContains(t, r.URL, "alice", "a link says nothing of who it is for")
	b.has("alice", "")

	alice := b.browser("alice")
	p := alice.open(r.URL)
	require.Equal(t, http.StatusOK, p.status, p.body)
	assert.Equal(t, r.URL, p.url, "the login leads back to the page")
	for _, text := range []string{
		"<h1>Acme API key</h1>", "<strong>acme</strong>", "acme.example.com", `<a href="https://acme.example.com/keys"`, "Logged in as <strong>alice</strong>",
		`type="password"`, `<label for="credential">`,
	} {
		assert.Contains(t, p.body, text)
	}
	asked := b.idp.asked[0]
	assert.Equal(t, []string{"code", clientID, b.url + "/credentials/callback", "openid profile", "S256"},
		[]string{asked.Get("response_type"), asked.Get("client_id"), asked.Get("redirect_uri"), asked.Get("scope"), asked.Get("code_challenge_method")})
	assert.NotEmpty(t, asked.Get("nonce"))

	done := alice.give(r, "  Bearer "+acmeKey+"\n")
	assert.Equal(t, http.StatusOK, done.status)
	assert.Contains(t, done.body, "You can close this window")
	b.has("alice", acmeKey)
	b.has("bob", "")
	assert.Equal(t, []string{"id-of-alice acme"}, b.changed)
	assert.Equal(t, []string{r.ID}, b.completed)
	assert.Len(t, b.idp.asked, 1, "one login is enough")
	assert.NotContains(t, done.body+p.body, acmeKey)
}

// TestAskAgain: one need has one link as long as that is good for a while, and whoever waits for the same credential is told too.
func TestAskAgain(t *testing.T) {
	b := newBed(t)
	first, second := b.asks("alice", "c1"), b.asks("alice", "c2")
	assert.Equal(t, first, b.asks("alice", "c1"))
	assert.NotEqual(t, first.ID, second.ID, "a link belongs to one client")
	bobs := b.asks("bob", "c1")
	b.browser("alice").give(second, acmeKey)
	assert.ElementsMatch(t, []string{first.ID, second.ID}, b.completed)
	b.has("bob", "")
	assert.Equal(t, http.StatusGone, b.browser("alice").open(first.URL).status, "what is done needs no second time")
	b.browser("bob").give(bobs, "bobs")
	b.has("alice", acmeKey)
	b.has("bob", "bobs")
}

func TestAskWhoCannotBeAsked(t *testing.T) {
	b := newBed(t)
	for _, n := range []Need{{Server: "acme"}, {User: User{Issuer: "i"}, Server: "acme"}, {User: b.user("alice"), Server: "other"}} {
		_, err := b.consent.Ask(n)
		assert.Error(t, err)
	}
}

// TestAnotherUser: whoever opens a link that is another's sees nothing of it, cannot use it, and does not use it up.
func TestAnotherUser(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	bob := b.browser("bob")
	p := bob.open(r.URL)
	assert.Equal(t, http.StatusForbidden, p.status)
	assert.Contains(t, p.body, "This link is for somebody else")
	for _, secret := range []string{"alice", "Acme", "acme", `name="credential"`} {
		assert.NotContains(t, p.body, secret)
	}
	// Not even with a form that was made for another link of the same user.
	own := b.asks("bob", "c2")
	form := bob.open(own.URL).form(t, Path+"/for/"+own.ID)
	form.Set("credential", "bobs")
	assert.Equal(t, http.StatusForbidden, bob.send(r.URL, form).status)
	b.has("alice", "")
	b.has("bob", "")
	assert.Contains(t, b.log.String(), "opened by another user")
	b.browser("alice").give(r, acmeKey)
	b.has("alice", acmeKey)
	b.has("bob", "")
}

// TestBecomeAnother: who is logged in as the wrong user can log out, and the issuer is asked not to take the same one again.
func TestBecomeAnother(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	person := b.browser("bob")
	p := person.send(b.url+Path+"/logout", person.open(r.URL).form(t, Path+"/logout"))
	assert.Contains(t, p.body, "You are logged out here")
	assert.Contains(t, p.body, `href="/credentials/login?for=`+r.ID+`"`)
	at, err := url.Parse(b.idp.server.URL)
	require.NoError(t, err)
	person.at(at, "alice")
	p = person.open(b.url + Path + "/login?for=" + r.ID)
	assert.Equal(t, http.StatusOK, p.status)
	assert.Contains(t, p.body, "<h1>Acme API key</h1>")
	asked := b.idp.asked
	assert.Equal(t, "login", asked[len(asked)-1].Get("prompt"))
}

func TestLinkIsUsedOnce(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	alice := b.browser("alice")
	form := alice.open(r.URL).form(t, Path+"/for/"+r.ID)
	form.Set("credential", acmeKey)
	require.Equal(t, http.StatusOK, alice.send(r.URL, form).status)
	form.Set("credential", "another")
	assert.Equal(t, http.StatusGone, alice.send(r.URL, form).status)
	assert.Equal(t, http.StatusGone, alice.open(r.URL).status)
	assert.Equal(t, http.StatusGone, b.browser("bob").open(r.URL).status)
	b.has("alice", acmeKey)
	assert.Len(t, b.completed, 1)
}

func TestLinkThatNeverWas(t *testing.T) {
	b := newBed(t)
	for _, id := range []string{"x", strings.Repeat("A", 32), "%3Cscript%3E", "..%2f..%2fmcp"} {
		p := b.browser("alice").open(b.url + Path + "/for/" + id)
		assert.Equal(t, http.StatusGone, p.status, id)
		assert.NotContains(t, p.body, "script>")
	}
	assert.Empty(t, b.idp.asked, "nobody logs in for nothing")
}

// TestForgedForms: what did not come from a page of the same user's for the same thing changes nothing.
func TestForgedForms(t *testing.T) {
	b := newBed(t)
	r, other := b.asks("alice", "c1"), b.asks("alice", "c2")
	alice, mallory := b.browser("alice"), b.browser("alice")
	good := alice.open(r.URL).form(t, Path+"/for/"+r.ID).Get("form")
	others := alice.open(other.URL).form(t, Path+"/for/"+other.ID).Get("form")
	elsewhere := mallory.open(r.URL).form(t, Path+"/for/"+r.ID).Get("form")
	tests := map[string]struct {
		form    string
		headers []string
		status  int
	}{
		"no proof":                  {"", nil, http.StatusForbidden},
		"the proof of another link": {others, nil, http.StatusForbidden},
		"the proof of another login of the same user":       {elsewhere, nil, http.StatusForbidden},
		"a page of another origin":                          {good, []string{"Origin", "https://evil.example.com"}, http.StatusForbidden},
		"a page of another site":                            {good, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a page of a neighbour":                             {good, []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		"a form of another type":                            {good, []string{"Content-Type", "text/plain"}, http.StatusRequestEntityTooLarge},
		"a browser that is not logged in":                   {good, []string{"Cookie", ""}, http.StatusUnauthorized},
		"a browser with two logins, one of which is forged": {good, []string{"Cookie", "mcp-gateway-visit=x"}, http.StatusUnauthorized},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			who := alice
			if len(tt.headers) > 0 && tt.headers[0] == "Cookie" && tt.headers[1] == "" {
				who = b.browser("alice")
			}
			p := who.send(r.URL, url.Values{"form": {tt.form}, "credential": {"forged"}}, tt.headers...)
			assert.Equal(t, tt.status, p.status, p.body)
			b.has("alice", "")
		})
	}
	p := alice.send(r.URL, url.Values{"form": {good}, "credential": {acmeKey}}, "Origin", b.url)
	assert.Equal(t, http.StatusOK, p.status, "the link is as good as before")
}

func TestValues(t *testing.T) {
	b := newBed(t)
	alice := b.browser("alice")
	for name, tt := range map[string]struct {
		value  string
		status int
	}{
		"nothing":           {"  ", http.StatusUnprocessableEntity},
		"a line break":      {"a\r\nX-Evil: b", http.StatusUnprocessableEntity},
		"a zero byte":       {"a\x00b", http.StatusUnprocessableEntity},
		"no UTF-8":          {"a\xffb", http.StatusUnprocessableEntity},
		"too long":          {strings.Repeat("a", MaxValue+1), http.StatusUnprocessableEntity},
		"far too long":      {strings.Repeat("a", 5*MaxValue), http.StatusRequestEntityTooLarge},
		"as long as can be": {strings.Repeat("é", MaxValue/2), http.StatusOK},
		"markup":            {`<script>alert("x")</script>`, http.StatusOK},
	} {
		r := b.asks("alice", name)
		p := alice.give(r, tt.value)
		assert.Equal(t, tt.status, p.status, name)
		if tt.status == http.StatusOK {
			b.has("alice", tt.value)
			continue
		}
		assert.NotContains(t, p.body, "X-Evil", "what was sent is not shown again")
		if tt.status == http.StatusUnprocessableEntity {
			assert.Contains(t, p.body, `role="alert"`)
			assert.Equal(t, Path+"/for/"+r.ID, strings.TrimPrefix(p.url, b.url), "the link is as good as before")
		}
	}
}

// TestTextsAreTexts: what the configuration and the issuer say is shown, and nothing of it is markup.
func TestTextsAreTexts(t *testing.T) {
	b := newBed(t)
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	b.servers["acme"] = Server{
		Name: "acme" + evil, Title: "Key" + evil, Address: evil,
		Description: `javascript:alert(1) https://u:p@evil.example.com/ https://ok.example.com/"onmouseover="alert(1) data:text/html,x` + evil,
	}
	r := b.asks("alice", "c1")
	alice := b.browser(url.QueryEscape(evil))
	b.idp.claims = map[string]any{"sub": "id-of-alice", "preferred_username": evil}
	p := alice.open(r.URL)
	require.Equal(t, http.StatusOK, p.status)
	require.Equal(t, http.StatusOK, alice.give(r, acmeKey).status)
	list := alice.open(b.url + Path)
	for _, body := range []string{p.body, list.body} {
		assert.Contains(t, body, "&lt;script&gt;")
		for _, markup := range []string{"<script", "<img", `href="javascript:`, `href="data:`, `href="https://u:p@`, `"onmouseover=`} {
			assert.NotContains(t, body, markup)
		}
	}
}

func TestListAndRevoke(t *testing.T) {
	b := newBed(t)
	alice := b.browser("alice")
	assert.Contains(t, alice.open(b.url+Path).body, "You have stored nothing")
	alice.give(b.asks("alice", "c1"), acmeKey)
	b.browser("bob").give(b.asks("bob", "c1"), "bobs")
	require.NoError(t, b.store.Put(b.user("alice"), "gone", Kept{Value: secret("old"), Stored: time.Now()}))

	p := alice.open(b.url + Path)
	assert.Contains(t, p.body, "<h2>Acme API key</h2>")
	assert.Contains(t, p.body, "<h2>gone</h2>", "what no server wants any more can be revoked too")
	assert.NotContains(t, p.body, acmeKey)
	revoke := Path + "/revoke"

	// A form for one server revokes no other.
	forms := strings.SplitAfter(p.body, "</form>")
	require.Len(t, forms, 4)
	acme := page{body: forms[1]}.form(t, revoke)
	require.Equal(t, "acme", acme.Get("server"))
	assert.Equal(t, http.StatusForbidden, alice.send(b.url+revoke, url.Values{"form": {acme.Get("form")}, "server": {"gone"}}).status)
	assert.Equal(t, http.StatusForbidden, b.browser("bob").open(b.url+Path).give(b, "bob", acme), "nor another user's")
	b.has("alice", acmeKey)

	p = alice.send(b.url+revoke, acme)
	assert.Equal(t, http.StatusOK, p.status)
	assert.Contains(t, p.body, "Revoked.")
	assert.NotContains(t, p.body, "Acme API key")
	b.has("alice", "")
	b.has("bob", "bobs")
	assert.Equal(t, []string{"id-of-alice acme", "id-of-bob acme", "id-of-alice acme"}, b.changed)
}

// give sends somebody else's form as a user who has a page open.
func (p page) give(b *bed, user string, form url.Values) int {
	w := b.browser(user)
	w.open(b.url + Path)
	return w.send(b.url+Path+"/revoke", form).status
}

// TestRefused: what a server refused is not used again, is shown as that, and is replaced by the next.
func TestRefused(t *testing.T) {
	b := newBed(t)
	alice := b.browser("alice")
	alice.give(b.asks("alice", "c1"), acmeKey)
	b.consent.Refused(b.user("alice"), "acme", secret("an older one"))
	b.consent.Refused(b.user("bob"), "acme", secret(acmeKey))
	b.has("alice", acmeKey)
	b.consent.Refused(b.user("alice"), "acme", secret(acmeKey))
	b.has("alice", "")
	assert.Contains(t, alice.open(b.url+Path).body, "Refused by the server on")
	r := b.asks("alice", "c1")
	assert.Contains(t, alice.open(r.URL).body, "The server did not accept what you have stored.")
	alice.give(r, "a new one")
	b.has("alice", "a new one")
	assert.NotContains(t, alice.open(b.url+Path).body, "Refused")
}

// TestHeaders: no page is framed, cached, or tells others where the user was.
func TestHeaders(t *testing.T) {
	b := newBed(t)
	alice := b.browser("alice")
	r := b.asks("alice", "c1")
	for _, p := range []page{alice.open(r.URL), alice.open(b.url + Path), alice.open(b.url + Path + "/for/x"), alice.open(b.url + Path + "/x"), alice.give(r, acmeKey)} {
		h := p.header
		assert.Equal(t, "no-store", h.Get("Cache-Control"), p.url)
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		assert.Equal(t, "DENY", h.Get("X-Frame-Options"))
		csp := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			assert.Contains(t, csp, part)
		}
		assert.NotContains(t, csp, "unsafe")
		assert.NotContains(t, p.body, "style=", "the policy would forbid it")
	}
	style := alice.open(b.url + Path + "/style.css")
	assert.Equal(t, "text/css; charset=utf-8", style.header.Get("Content-Type"))
	assert.Contains(t, style.body, "prefers-color-scheme: dark")
}

func TestTooManyTries(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	bob := b.browser("bob")
	for range maxTries {
		require.Equal(t, http.StatusForbidden, bob.open(r.URL).status)
	}
	p := bob.open(r.URL)
	assert.Equal(t, http.StatusTooManyRequests, p.status)
	assert.NotEmpty(t, p.header.Get("Retry-After"))
	assert.Equal(t, http.StatusTooManyRequests, b.browser("bob").open(r.URL).status, "another login is the same user")
	assert.Equal(t, http.StatusOK, b.browser("alice").give(r, acmeKey).status, "others are none the worse for it")
}

func TestServerThatWantsNothingAnyMore(t *testing.T) {
	b := newBed(t)
	r := b.asks("alice", "c1")
	alice := b.browser("alice")
	form := alice.open(r.URL).form(t, Path+"/for/"+r.ID)
	b.change(func() { delete(b.servers, "acme") })
	form.Set("credential", acmeKey)
	assert.Equal(t, http.StatusGone, alice.send(r.URL, form).status)
	assert.Equal(t, http.StatusGone, alice.open(r.URL).status)
	b.has("alice", "")
}

// TestStoreFails: what could not be stored can be given once more.
func TestStoreFails(t *testing.T) {
	b := newBed(t)
	for i := range maxPerUser {
		require.NoError(t, b.store.Put(b.user("alice"), "s"+string(rune('0'+i)), Kept{Value: secret("x")}))
	}
	r := b.asks("alice", "c1")
	alice := b.browser("alice")
	assert.Equal(t, http.StatusInsufficientStorage, alice.give(r, acmeKey).status)
	assert.Empty(t, b.completed)
	require.NoError(t, b.store.Delete(b.user("alice"), "s0"))
	assert.Equal(t, http.StatusOK, alice.give(r, acmeKey).status)
}
