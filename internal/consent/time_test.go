package consent

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// still is a Consent that nobody opens.
func still(t *testing.T) *Consent {
	t.Helper()
	store, err := NewMemory()
	require.NoError(t, err)
	c, err := New(Options{
		Public: &url.URL{Scheme: "https", Host: "mcp.example.com"}, Store: store, Key: randomKey(), ClientID: clientID,
		Issuer: func() string { return alice.Issuer }, Server: func(name string) (Server, bool) { return Server{Name: name, Title: "a key"}, true },
	})
	require.NoError(t, err)
	return c
}

func TestLinksExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t)
		ask := func() string {
			r, err := c.Ask(Need{User: alice, Server: "acme", Client: "c"})
			require.NoError(t, err)
			return r.ID
		}
		first := ask()
		time.Sleep(requestLife/2 - time.Second)
		assert.Equal(t, first, ask())
		time.Sleep(time.Second)
		second := ask()
		assert.NotEqual(t, first, second, "who is asked has time")
		time.Sleep(requestLife/2 - time.Second)
		assert.NotNil(t, c.requests.find(first, time.Now()))
		time.Sleep(time.Second)
		assert.Nil(t, c.requests.find(first, time.Now()))
		assert.Empty(t, c.requests.take(first, time.Now()))
		assert.NotNil(t, c.requests.find(second, time.Now()))
		time.Sleep(requestLife)
		ask()
		assert.Len(t, c.requests.byID, 1, "what has expired is forgotten")
		assert.Len(t, c.requests.byUser[alice], 1)
	})
}

func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t)
		var first string
		for i := range maxUserRequests + 1 {
			r, err := c.Ask(Need{User: alice, Server: "acme", Client: string(rune('a' + i))})
			require.NoError(t, err)
			if i == 0 {
				first = r.ID
			}
		}
		assert.Len(t, c.requests.byID, maxUserRequests)
		assert.Nil(t, c.requests.find(first, time.Now()), "the oldest made room")
		for i := range maxRequests - maxUserRequests {
			_, err := c.Ask(Need{User: User{alice.Issuer, string(rune(i + 1))}, Server: "acme"})
			require.NoError(t, err)
		}
		_, err := c.Ask(Need{User: bob, Server: "acme"})
		require.ErrorIs(t, err, ErrTooMany)
		time.Sleep(requestLife)
		_, err = c.Ask(Need{User: bob, Server: "acme"})
		require.NoError(t, err)
	})
}

func TestVisitsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v visits
		first := v.begin(alice, "alice", time.Now())
		assert.Equal(t, alice, v.find(first, time.Now()).user)
		for range maxUserVisits {
			time.Sleep(time.Second)
			v.begin(alice, "alice", time.Now())
		}
		assert.Nil(t, v.find(first, time.Now()), "the oldest made room")
		last := v.begin(bob, "bob", time.Now())
		time.Sleep(visitLife - time.Second)
		assert.NotNil(t, v.find(last, time.Now()))
		time.Sleep(time.Second)
		assert.Nil(t, v.find(last, time.Now()))
		v.begin(bob, "bob", time.Now())
		assert.Len(t, v.byKey, 1, "what has ended is forgotten")
	})
}

func TestTriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr tries
		for range maxTries {
			assert.Zero(t, tr.another(alice, time.Now()))
		}
		assert.Equal(t, triesWindow, tr.another(alice, time.Now()))
		assert.Zero(t, tr.another(bob, time.Now()))
		time.Sleep(triesWindow)
		assert.Zero(t, tr.another(alice, time.Now()))
	})
}

// TestLoginsExpire: a login that takes too long is none, whatever the browser still has.
func TestLoginsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t)
		text, err := json.Marshal(attempt{State: "s", Issuer: alice.Issuer, Expires: time.Now().Add(loginLife)})
		require.NoError(t, err)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path+"/callback?state=s&code=c", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-" + loginCookie, Value: base64.RawURLEncoding.EncodeToString(c.login.box.seal(text, "login"))})
		time.Sleep(loginLife - time.Second)
		assert.NotNil(t, c.attempt(r))
		time.Sleep(time.Second)
		assert.Nil(t, c.attempt(r))
	})
}
