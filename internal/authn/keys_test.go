package authn

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

func inForce() *policy.Authentication { return &policy.Authentication{Issuer: issuerURL} }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestKeysAreFetchedAndRotate(t *testing.T) {
	a, b := newSigner(t, "a", "ES256"), newSigner(t, "b", "EdDSA")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		assert.Empty(t, k.Current().Issuer, "nobody's keys before an issuer is in force")

		k.Set(inForce())
		before := k.Changed()
		assert.Equal(t, issuerURL, k.Current().Issuer)
		assert.JSONEq(t, `{"keys":[]}`, string(k.Current().JWKS), "no token is believed yet")
		synctest.Wait()
		require.NoError(t, k.Current().Err)
		assert.True(t, closed(before))
		first := k.Current()
		assert.Equal(t, keySet(t, jwksOf(t, a)).JWKS, first.JWKS)
		assert.Equal(t, time.Now(), first.Fetched)

		quiet := k.Changed()
		time.Sleep(defaultInterval)
		synctest.Wait()
		assert.False(t, closed(quiet), "the same keys are no change")
		assert.Equal(t, time.Now(), k.Current().Fetched)
		assert.Same(t, first.ring, k.Current().ring, "identities verified with the same keys stay cached")

		issuer.publish(t, b, a)
		time.Sleep(defaultInterval)
		synctest.Wait()
		assert.True(t, closed(quiet))
		assert.Equal(t, 2, k.Current().Len())

		issuer.publish(t, b)
		time.Sleep(defaultInterval)
		synctest.Wait()
		assert.Equal(t, keySet(t, jwksOf(t, b)).JWKS, k.Current().JWKS, "a withdrawn key is gone")
	})
}

func TestKeysSurviveAnOutage(t *testing.T) {
	a := newSigner(t, "a", "ES256")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(inForce())
		synctest.Wait()
		good := k.Current()

		issuer.setDown(true)
		time.Sleep(defaultInterval)
		synctest.Wait()
		require.ErrorContains(t, k.Current().Err, "status 503")
		assert.Equal(t, good.JWKS, k.Current().JWKS)
		assert.Equal(t, good.Fetched, k.Current().Fetched)
		k.Missed("new") // must not undercut the pauses

		time.Sleep(24 * time.Hour)
		synctest.Wait()
		assert.Equal(t, good.JWKS, k.Current().JWKS, "for as long as it takes")

		issuer.setDown(false)
		time.Sleep(defaultInterval)
		synctest.Wait()
		require.NoError(t, k.Current().Err)
	})
}

func TestFailedFetchesAreRetriedMoreAndMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t)
		issuer.set(keysURL, "not JSON")
		start := time.Now()
		k := runKeys(t, KeysOptions{Client: issuer.client(), Interval: 10 * time.Second, Pause: time.Second})
		k.Set(inForce())
		time.Sleep(40 * time.Second)
		var at []float64
		for _, when := range issuer.times() {
			at = append(at, when.Sub(start).Seconds())
		}
		assert.Equal(t, []float64{0, 1, 3, 7, 15, 25, 35}, at)
		require.ErrorContains(t, k.Current().Err, "is not JSON")
	})
}

func TestMissedKeyIsFetchedSoon(t *testing.T) {
	a, b := newSigner(t, "a", "ES256"), newSigner(t, "b", "ES256")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(inForce())
		time.Sleep(10 * time.Second)

		k.Missed("a")
		synctest.Wait()
		assert.Len(t, issuer.times(), 1, "this one is there")

		issuer.publish(t, a, b)
		k.Missed("b")
		synctest.Wait()
		assert.Equal(t, 2, k.Current().Len(), "at once, since the last fetch is long ago")
		k.Missed("c")
		synctest.Wait()
		assert.Len(t, issuer.times(), 2, "not yet: there is a pause between two fetches")
		time.Sleep(defaultPause)
		synctest.Wait()
		assert.Len(t, issuer.times(), 3)
	})
}

func TestMadeUpKeyIDsCauseNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, newSigner(t, "a", "ES256"))
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(inForce())
		synctest.Wait()
		for i := range 10 * 60 * 10 { // ten a second, for ten minutes
			k.Missed("made up " + strconv.Itoa(i))
			time.Sleep(100 * time.Millisecond)
		}
		at := issuer.times()
		for i := 1; i < len(at); i++ {
			require.GreaterOrEqual(t, at[i].Sub(at[i-1]), defaultPause)
		}
		assert.LessOrEqual(t, len(at), 10+6, "hardly more than without")

		time.Sleep(2*defaultInterval + 10*time.Second)
		n := len(issuer.times())
		k.Missed("honest")
		synctest.Wait()
		assert.Len(t, issuer.times(), n+1, "when it is over, a new key is found at once again")
	})
}

func TestSwitchingTheIssuer(t *testing.T) {
	a := newSigner(t, "a", "ES256")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(inForce())
		synctest.Wait()
		require.Equal(t, 1, k.Current().Len())

		same := k.Changed()
		k.Set(&policy.Authentication{Issuer: issuerURL, Audiences: []string{"another"}})
		synctest.Wait()
		assert.False(t, closed(same), "only the issuer and the place of its keys matter here")

		// Invariant 5: the keys of one issuer never stand for another's.
		issuer.mu.Lock()
		issuer.hold = true
		issuer.mu.Unlock()
		k.Set(&policy.Authentication{Issuer: "https://other.example", JWKSURI: "https://other.example/keys"})
		assert.True(t, closed(same))
		assert.Equal(t, "https://other.example", k.Current().Issuer)
		assert.Zero(t, k.Current().Len())
		synctest.Wait() // the fetch is under way now

		issuer.mu.Lock()
		issuer.hold = false
		issuer.mu.Unlock()
		k.Set(inForce())
		synctest.Wait()
		assert.Equal(t, 1, k.Current().Len(), "the fetch for the other issuer was given up at once")

		k.Set(nil)
		assert.Equal(t, &KeySet{}, k.Current())
		n := len(issuer.times())
		time.Sleep(time.Hour)
		assert.Len(t, issuer.times(), n, "nothing is fetched for nobody")
	})
}

func TestIssuerWithoutAnyKey(t *testing.T) {
	a := newSigner(t, "a", "ES256")
	synctest.Test(t, func(t *testing.T) {
		issuer := newFakeIssuer(t, a)
		k := runKeys(t, KeysOptions{Client: issuer.client()})
		k.Set(inForce())
		synctest.Wait()
		issuer.set(keysURL, `{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0"}]}`)
		time.Sleep(defaultInterval)
		synctest.Wait()
		require.EqualError(t, k.Current().Err, `the issuer has no key that signs tokens: key "s" is of the type "oct"`)
		assert.Zero(t, k.Current().Len(), "it has withdrawn the others")
	})
}

// realIssuer is one on loopback; the handlers are by path, and "ISSUER" in an answer is its URL.
func realIssuer(t *testing.T, answers map[string]string) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if to, redirect := strings.CutPrefix(answer, "redirect "); redirect {
			http.Redirect(w, r, strings.ReplaceAll(to, "ISSUER", s.URL), http.StatusFound)
			return
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(strings.ReplaceAll(answer, "ISSUER", s.URL)))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestDiscovery(t *testing.T) {
	keys := string(jwksOf(t, newSigner(t, "a", "ES256")))
	const oidc, oauth = "/realms/mcp/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/mcp"
	const good = `{"issuer":"ISSUER/realms/mcp","jwks_uri":"ISSUER/keys"}`
	for name, c := range map[string]struct {
		answers map[string]string
		jwksURI string
		err     string
	}{
		"OpenID Connect":      {answers: map[string]string{oidc: good, "/keys": keys}},
		"RFC 8414":            {answers: map[string]string{oauth: good, "/keys": keys}},
		"configured":          {answers: map[string]string{"/there": keys}, jwksURI: "/there"},
		"redirected":          {answers: map[string]string{oidc: good, "/keys": "redirect ISSUER/new", "/new": keys}},
		"nowhere":             {err: "status 404"},
		"another issuer's":    {answers: map[string]string{oidc: `{"issuer":"ISSUER/realms/mcp/","jwks_uri":"ISSUER/keys"}`, "/keys": keys}, err: "the policies must name that very issuer"},
		"without keys":        {answers: map[string]string{oidc: `{"issuer":"ISSUER/realms/mcp"}`}, err: "no usable jwks_uri"},
		"keys in a file":      {answers: map[string]string{oidc: `{"issuer":"ISSUER/realms/mcp","jwks_uri":"file:///etc/passwd"}`}, err: "no usable jwks_uri"},
		"no metadata":         {answers: map[string]string{oidc: "<html>"}, err: "is not JSON"},
		"no key set":          {answers: map[string]string{"/keys": "{}"}, jwksURI: "/keys", err: `it has no list "keys"`},
		"too large":           {answers: map[string]string{"/keys": strings.Repeat(" ", maxDocument) + keys}, jwksURI: "/keys", err: "is larger than 1048576 bytes"},
		"redirect to another": {answers: map[string]string{"/keys": "redirect https://127.0.0.1/keys"}, jwksURI: "/keys", err: `from "http" to "https" is not followed`},
		"redirects for ever":  {answers: map[string]string{"/keys": "redirect ISSUER/keys"}, jwksURI: "/keys", err: "more than 5 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			s := realIssuer(t, c.answers)
			src := &source{issuer: s.URL + "/realms/mcp"}
			if c.jwksURI != "" {
				src.jwksURI = s.URL + c.jwksURI
			}
			r, err := newFetcher(s.Client()).keys(t.Context(), src)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Len(t, r.keys, 1)
		})
	}
}

func TestMetadataMayNotLeadToPlainHTTP(t *testing.T) {
	issuer := newFakeIssuer(t)
	issuer.set(issuerURL+"/.well-known/openid-configuration", `{"issuer":"`+issuerURL+`","jwks_uri":"http://issuer.example/keys"}`)
	_, err := newFetcher(issuer.client()).keys(t.Context(), &source{issuer: issuerURL})
	require.ErrorContains(t, err, "not protected: want https")
}

func TestMetadataOf(t *testing.T) {
	for issuer, want := range map[string][]string{
		"https://a.example":         {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"https://a.example/":        {"https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/oauth-authorization-server"},
		"http://a.example:8/r/m/":   {"http://a.example:8/r/m/.well-known/openid-configuration", "http://a.example:8/.well-known/oauth-authorization-server/r/m"},
		"kubernetes/serviceaccount": nil,
	} {
		got, err := metadataOf(issuer)
		assert.Equal(t, want, got, issuer)
		assert.Equal(t, want == nil, err != nil, issuer)
	}
}

func TestPlainHTTPIsWarnedAbout(t *testing.T) {
	for _, c := range []struct {
		a    policy.Authentication
		warn bool
	}{
		{policy.Authentication{Issuer: "http://keycloak.example/realms/mcp"}, true},
		{policy.Authentication{Issuer: "https://keycloak.example", JWKSURI: "http://keycloak.example/keys"}, true},
		{policy.Authentication{Issuer: "https://keycloak.example"}, false},
		{policy.Authentication{Issuer: "http://127.0.0.1:8080"}, false},
		{policy.Authentication{Issuer: "http://[::1]:8080"}, false},
		{policy.Authentication{Issuer: "http://keycloak.localhost:8080"}, false},
		{policy.Authentication{Issuer: "http://keycloak.example", JWKSURI: "http://localhost:8080/keys"}, false},
	} {
		var log bytes.Buffer
		k := NewKeys(KeysOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		k.Set(&c.a)
		k.Set(&c.a)
		want := 0
		if c.warn {
			want = 1
		}
		assert.Equal(t, want, strings.Count(log.String(), "plain HTTP"), "%+v", c.a)
	}
}
