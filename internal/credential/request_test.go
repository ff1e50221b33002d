package credential

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// What goes over the wire, byte by byte.
func TestRequests(t *testing.T) {
	as := granting(300)
	m, _ := manage(t, as, Options{})
	own := server("own", config.ClientCredentials, oauth())
	exchanged := server("exchanged", config.TokenExchange, oauth(func(c *config.OAuthClient) {
		c.Resource, c.Scopes = "https://weather.example.com/mcp", nil
	}))
	head := func(length int) string {
		return strings.ReplaceAll(fmt.Sprintf(`POST /token HTTP/1.1
Host: idp.example.com
User-Agent: mcp-gateway
Content-Length: %d
Accept: application/json
Authorization: Basic bWNwK2dhdGV3YXk6czNjcjN0JTJGJUMzJUE0
Content-Type: application/x-www-form-urlencoded

`, length), "\n", "\r\n")
	}

	assert.Equal(t, "token-1", mustToken(t, m.Shared(&own)))
	body := "audience=weather-server&grant_type=client_credentials&scope=weather.read+time"
	assert.Equal(t, head(len(body))+body, as.request(0))

	assert.Equal(t, "token-2", mustToken(t, m.Caller(&exchanged, config.NewSecret("caller+token=="))))
	body = "audience=weather-server&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&resource=https%3A%2F%2Fweather.example.com%2Fmcp" +
		"&subject_token=caller%2Btoken%3D%3D&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
	assert.Equal(t, head(len(body))+body, as.request(1))

	assert.Equal(t, "token-3", mustToken(t, m.Shared(&exchanged)), "lists are read with a token of the gateway's own")
	assert.Contains(t, as.request(2), "grant_type=client_credentials&resource=https")
}

func TestWhoGetsWhat(t *testing.T) {
	m, _ := manage(t, granting(300), Options{})
	static := config.Server{Credential: &config.Credential{}}
	passed := config.Server{Credential: &config.Credential{Kind: config.ClientToken}}
	listed := server("listed", config.TokenExchange, oauth())
	listed.Credential.Discovery = &config.Credential{}
	token := config.NewSecret("the-callers")
	for _, s := range []*config.Server{{}, &static, &passed, &listed} {
		assert.Nil(t, m.Shared(s))
	}
	for _, s := range []*config.Server{{}, &static} {
		assert.Nil(t, m.Caller(s, token))
	}
	assert.Equal(t, "the-callers", mustToken(t, m.Caller(&passed, token)))
	assert.Nil(t, m.Caller(&passed, config.Secret{}))
	_, err := m.Caller(&listed, config.Secret{}).Token(t.Context())
	require.ErrorIs(t, err, ErrNoSubject)
}

// Errors tell what was wrong, and never a secret, even where the authorization server repeats it.
func TestErrors(t *testing.T) {
	const subject = "callers-own-t0ken"
	answers := map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request, _ int)
		want   string
		code   string
		caller bool
	}{
		"invalid_client": {
			func(w http.ResponseWriter, r *http.Request, _ int) {
				_, password, _ := r.BasicAuth()
				refuse(w, 401, "invalid_client", "bad secret "+password+" or "+clientSecret)
			}, "answered with HTTP status 401: invalid_client: bad secret [redacted] or [redacted]", "invalid_client", false,
		},
		"invalid_grant": {
			func(w http.ResponseWriter, r *http.Request, _ int) {
				refuse(w, 400, "invalid_grant", "token\n"+r.PostFormValue("subject_token"))
			}, "answered with HTTP status 400: invalid_grant: token [redacted]", "invalid_grant", true,
		},
		"invalid_target": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 400, "invalid_target", "") },
			"answered with HTTP status 400: invalid_target", "invalid_target", true,
		},
		"invalid_request, by RFC 8693 a bad subject token": {
			func(w http.ResponseWriter, _ *http.Request, _ int) {
				refuse(w, 400, "invalid_request", "Invalid token")
			},
			"answered with HTTP status 400: invalid_request: Invalid token", "invalid_request", true,
		},
		"a failure that looks like a refusal": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 503, "invalid_grant", "") },
			"answered with HTTP status 503: invalid_grant", "", false,
		},
		"too many requests": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 429, "access_denied", "") },
			"answered with HTTP status 429: access_denied", "", false,
		},
		"a page": {
			func(w http.ResponseWriter, r *http.Request, _ int) {
				http.Error(w, r.PostFormValue("subject_token"), http.StatusBadGateway)
			},
			"answered with HTTP status 502", "", false,
		},
		"a redirect": {
			func(w http.ResponseWriter, r *http.Request, _ int) {
				http.Redirect(w, r, "/"+subject, http.StatusFound)
			},
			"answered with HTTP status 302", "", false,
		},
		"another type": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { w.Header().Set("Content-Type", "text/html") },
			`answered with content type "text/html", not "application/json": is this its token endpoint?`, "", false,
		},
		"no JSON": {
			func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, subject)
			}, "answered with what is no token response", "", false,
		},
		"no token": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "", 1) },
			"answered without an access_token", "", false,
		},
		"a token that is no header": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "a b", 1) },
			"gave a token that no header can carry: longer than 16384 bytes, or not visible ASCII", "", false,
		},
		"an old token": {
			func(w http.ResponseWriter, _ *http.Request, _ int) { grantToken(w, "token", 0) },
			"gave a token that has expired already", "", false,
		},
		"a bound token": {
			func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"access_token":"t","token_type":"DPoP"}`)
			}, `gave a token of type "DPoP"; only "Bearer" can be used`, "", false,
		},
		"too much": {
			func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, strings.Repeat(" ", maxAnswer+1))
			}, "answered with more than 1048576 bytes", "", false,
		},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			m, log := manage(t, &authorizationServer{answer: tt.answer}, Options{})
			s := server("weather", config.TokenExchange, oauth(func(c *config.OAuthClient) { c.TokenURL += "?tenant=secret" }))
			m.Apply(servers(s))
			_, err := m.Caller(&s, config.NewSecret(subject)).Token(t.Context())
			require.EqualError(t, err, `no token from "https://idp.example.com/token": `+tt.want)
			var as *Error
			require.ErrorAs(t, err, &as)
			assert.Equal(t, tt.code, as.Code)
			assert.Equal(t, tt.caller, as.CallerRefused())
			_, shared := m.Shared(&s).Token(t.Context())
			require.Error(t, shared)
			m.Close()
			for _, secret := range []string{clientSecret, "s3cr3t", subject, "tenant=secret"} {
				for _, text := range []string{fmt.Sprintf("%v %+v %v", err, as, shared), log.logged()} {
					assert.NotContains(t, text, secret)
				}
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	l := httptest.NewServer(nil)
	url := l.URL
	l.Close()
	m, _ := manage(t, nil, Options{})
	s := server("weather", config.ClientCredentials, oauth(func(c *config.OAuthClient) { c.TokenURL = url }))
	_, err := m.Shared(&s).Token(t.Context())
	require.EqualError(t, err, fmt.Sprintf("no token from %q: cannot connect to %s: connect: connection refused", url, strings.TrimPrefix(url, "http://")))
}

// A silent authorization server holds nobody up for longer than the caller wants to wait, and not for ever.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := granting(300)
		as.took = 1000 * askTimeout
		m, _ := manage(t, transport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), Options{})
		s := server("weather", config.ClientCredentials, oauth())
		short, cancel := context.WithTimeout(t.Context(), askTimeout/3)
		defer cancel()
		_, err := m.Shared(&s).Token(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = m.Shared(&s).Token(t.Context())
		require.EqualError(t, err, `no token from "https://idp.example.com/token": no answer in time`)
	})
}

type transport func(r *http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNoRedirectIsFollowed(t *testing.T) {
	reached := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer elsewhere.Close()
	as := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer as.Close()
	m, _ := manage(t, nil, Options{})
	s := server("weather", config.ClientCredentials, oauth(func(c *config.OAuthClient) { c.TokenURL = as.URL }))
	_, err := m.Shared(&s).Token(t.Context())
	require.ErrorContains(t, err, "HTTP status 307")
	assert.False(t, reached, "the secret was taken elsewhere")
}

// A token response is foreign bytes: whatever it is, it becomes a token that a header can carry, or an error.
func FuzzGranted(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":300}`, `{"access_token":"a","token_type":"bearer","expires_in":"300"}`,
		`{"access_token":"a\n","token_type":"Bearer"}`, `{"expires_in":1e99}`, `[]`, ``, `{"access_token":"a","token_type":"Bearer","expires_in":99999999999999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		now := timeOf(0)
		g, err := (&request{server: "https://idp"}).granted(body, now)
		if err != nil {
			assert.Nil(t, g)
			return
		}
		token := g.token.Reveal()
		assert.NotEmpty(t, token)
		assert.NotContains(t, token, "\n")
		assert.True(t, g.renew.After(now) && !g.expires.Before(g.renew) || g.expires.After(now))
	})
}
