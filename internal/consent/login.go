package consent

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	// loginLife is how long a login may take.
	loginLife = 10 * time.Minute
	// issuerTimeout bounds one request to the issuer.
	issuerTimeout = 10 * time.Second
	// providerLife is how long the issuer's metadata are believed.
	providerLife = time.Hour
	// maxLogins bounds how many codes are exchanged at once, maxUsed how many logins are remembered as used.
	maxLogins = 32
	maxUsed   = 10_000
	// maxIssuerAnswer bounds what is read of the issuer's answers, maxParameter what comes back from it in a URL.
	maxIssuerAnswer = 1 << 20
	maxParameter    = 4 << 10
)

// attempt is a login that has begun. The browser keeps it, sealed, so that beginning one costs the gateway nothing.
type attempt struct {
	State, Nonce, Verifier string
	Issuer                 string
	// For is the request whose page comes next, empty for the list.
	For     string
	Expires time.Time
}

// login is what logs users in by OpenID Connect: the code flow with PKCE and a nonce.
type login struct {
	box     box
	client  *http.Client
	running chan struct{}
	fetches singleflight.Group

	mu       sync.Mutex // guards the rest
	provider *provider
	used     map[string]time.Time // states, until they expire
}

type provider struct {
	*oidc.Provider

	issuer  string
	fetched time.Time
	// namesItself tells that the issuer says in its redirects who it is (RFC 9207).
	namesItself bool
}

func newLogin(b box, transport http.RoundTripper) login {
	return login{box: b, running: make(chan struct{}, maxLogins), used: map[string]time.Time{}, client: &http.Client{
		Transport: limited{transport}, Timeout: issuerTimeout,
		// A redirect would take the client's secret elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// limited reads no more of an answer than is sensible.
type limited struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxIssuerAnswer), resp.Body}
	}
	return resp, err
}

// at is the issuer as its metadata describe it.
func (l *login) at(ctx context.Context, issuer string) (*provider, error) {
	l.mu.Lock()
	known := l.provider
	l.mu.Unlock()
	if known != nil && known.issuer == issuer && time.Since(known.fetched) < providerLife {
		return known, nil
	}
	fetched, err, _ := l.fetches.Do(issuer, func() (any, error) {
		return l.discover(context.WithoutCancel(ctx), issuer) // others wait for it too
	})
	if err != nil {
		if known != nil && known.issuer == issuer {
			return known, nil
		}
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.provider = fetched.(*provider)
	return l.provider, nil
}

func (l *login) discover(ctx context.Context, issuer string) (*provider, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), issuer)
	if err != nil {
		return nil, fmt.Errorf("the metadata of the issuer %q cannot be had: %w", issuer, err)
	}
	var more struct {
		JWKSURI     string `json:"jwks_uri"`
		NamesItself bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, fmt.Errorf("the metadata of the issuer %q cannot be read: %w", issuer, err)
	}
	for _, endpoint := range []string{found.Endpoint().AuthURL, found.Endpoint().TokenURL, more.JWKSURI} {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(issuer, "https:")) {
			return nil, fmt.Errorf("the metadata of the issuer %q name %q, which is no endpoint that can be used", issuer, endpoint)
		}
	}
	return &provider{Provider: found, issuer: issuer, fetched: time.Now(), namesItself: more.NamesItself}, nil
}

func (c *Consent) oauth(p *provider) *oauth2.Config {
	cfg := &oauth2.Config{
		ClientID: c.opts.ClientID, ClientSecret: c.opts.ClientSecret.Reveal(), Endpoint: p.Endpoint(),
		RedirectURL: c.opts.Public.JoinPath(Path, "callback").String(), Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
	cfg.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if cfg.ClientSecret == "" {
		cfg.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return cfg
}

// begin sends the browser to the issuer. It comes back for the request, if one is named; anew asks the issuer not to take who is logged in there.
func (c *Consent) begin(w http.ResponseWriter, r *http.Request, request string, anew bool) {
	issuer := c.opts.Issuer()
	if issuer == "" {
		c.say(w, r, messageOff)
		return
	}
	p, err := c.login.at(r.Context(), issuer)
	if err != nil {
		c.opts.Logger.WarnContext(r.Context(), "users cannot log in to give credentials", "error", err)
		c.say(w, r, messageIssuerDown)
		return
	}
	a := attempt{
		State: newToken(), Nonce: newToken(), Verifier: oauth2.GenerateVerifier(), Issuer: issuer, For: request,
		Expires: time.Now().Add(loginLife),
	}
	text, err := json.Marshal(a)
	if err != nil {
		c.say(w, r, messageLoginFailed)
		return
	}
	c.setCookie(w, loginCookie, base64.RawURLEncoding.EncodeToString(c.login.box.seal(text, "login")), loginLife)
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if anew {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"))
	}
	http.Redirect(w, r, c.oauth(p).AuthCodeURL(a.State, options...), http.StatusSeeOther)
}

// attempt is the login that a browser comes back from, nil if it did not begin one, or not this one.
func (c *Consent) attempt(r *http.Request) *attempt {
	sealed, err := base64.RawURLEncoding.DecodeString(c.cookie(r, loginCookie))
	if err != nil || len(sealed) > maxParameter {
		return nil
	}
	text, err := c.login.box.open(sealed, "login")
	if err != nil {
		return nil
	}
	var a attempt
	if json.Unmarshal(text, &a) != nil || a.State == "" {
		return nil
	}
	state := r.URL.Query().Get("state")
	if subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) != 1 || !time.Now().Before(a.Expires) || a.Issuer != c.opts.Issuer() {
		return nil
	}
	return &a
}

// use is false if the login was used before, or is being used.
func (l *login) use(a *attempt, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, used := l.used[a.State]; used {
		return false
	}
	if len(l.used) >= maxUsed {
		for state, expires := range l.used {
			if !now.Before(expires) {
				delete(l.used, state)
			}
		}
		if len(l.used) >= maxUsed {
			return false
		}
	}
	l.used[a.State] = a.Expires
	return true
}

// unuse forgets a login that failed, so that failures, which cost nobody anything, do not fill the memory of what was used.
func (l *login) unuse(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.used, a.State)
}

// callback is where the browser comes back to.
func (c *Consent) callback(w http.ResponseWriter, r *http.Request) {
	a := c.attempt(r)
	if a == nil {
		c.say(w, r, messageLoginUnknown)
		return
	}
	select {
	case c.login.running <- struct{}{}:
		defer func() { <-c.login.running }()
	default:
		c.say(w, r, messageBusy)
		return
	}
	if !c.login.use(a, time.Now()) {
		c.say(w, r, messageLoginUnknown)
		return
	}
	c.setCookie(w, loginCookie, "", 0)
	user, name, err := c.identify(r, a)
	if err != nil {
		c.login.unuse(a)
		c.opts.Logger.WarnContext(r.Context(), "a user's login failed", "error", err)
		c.say(w, r, messageLoginFailed.again(a.For))
		return
	}
	c.visits.end(c.cookie(r, visitCookie))
	token := c.visits.begin(user, name, time.Now())
	if token == "" {
		c.say(w, r, messageBusy)
		return
	}
	c.setCookie(w, visitCookie, token, visitLife)
	// The one thing that a login can lead to is a page of ours.
	next := Path
	if a.For != "" {
		next = Path + "/for/" + url.PathEscape(a.For)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// identify learns from the issuer who has logged in.
func (c *Consent) identify(r *http.Request, a *attempt) (user User, name string, err error) {
	query := r.URL.Query()
	p, err := c.login.at(r.Context(), a.Issuer)
	if err != nil {
		return user, "", err
	}
	code, named := query.Get("code"), query.Get("iss")
	switch {
	case named != "" && named != a.Issuer, named == "" && p.namesItself:
		return user, "", errors.New("the answer is not of the issuer that was asked")
	case query.Get("error") != "":
		return user, "", fmt.Errorf("the issuer answered with the error %q", known(query.Get("error")))
	case code == "" || len(code) > maxParameter:
		return user, "", errors.New("the issuer answered without a code")
	}
	ctx := oidc.ClientContext(r.Context(), c.login.client)
	tokens, err := c.oauth(p).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return user, "", withoutAnswer(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := p.Verifier(&oidc.Config{ClientID: c.opts.ClientID}).Verify(ctx, raw)
	if err != nil {
		return user, "", fmt.Errorf("the issuer's id token is not good: %w", err)
	}
	return c.userOf(id, a)
}

// userOf checks what go-oidc leaves to its callers.
func (c *Consent) userOf(id *oidc.IDToken, a *attempt) (user User, name string, err error) {
	var claims struct {
		AZP               string `json:"azp"`
		PreferredUsername string `json:"preferred_username"`
		Name              string `json:"name"`
	}
	if err := id.Claims(&claims); err != nil {
		return user, "", fmt.Errorf("the issuer's id token cannot be read: %w", err)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1:
		return user, "", errors.New("the issuer's id token is of another login")
	case id.Issuer != a.Issuer || id.Subject == "":
		return user, "", errors.New("the issuer's id token is of another issuer, or of nobody")
	case claims.AZP != "" && claims.AZP != c.opts.ClientID, claims.AZP == "" && len(id.Audience) > 1:
		return user, "", errors.New("the issuer's id token was given to another client")
	}
	name = id.Subject
	for _, better := range []string{claims.PreferredUsername, claims.Name} {
		if better != "" {
			name = better
			break
		}
	}
	return User{Issuer: id.Issuer, Subject: id.Subject}, shorten(name), nil
}

// known keeps texts that anybody can put into a URL out of the log.
func known(code string) string {
	if slices.Contains([]string{
		"access_denied", "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "server_error",
		"temporarily_unavailable", "login_required", "interaction_required", "consent_required", "account_selection_required",
	}, code) {
		return code
	}
	return "another"
}

// withoutAnswer keeps what the issuer said out of an error, but for its code.
func withoutAnswer(err error) error {
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("the issuer did not take the code: HTTP status %d, %q", refused.Response.StatusCode, shorten(refused.ErrorCode))
	}
	return fmt.Errorf("the issuer could not be asked: %w", err)
}

// shorten makes one short line of a text of somebody else's.
func shorten(text string) string {
	const most = 80
	out := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " "))
	if len(out) > most {
		out = append(out[:most-1], '…')
	}
	return string(out)
}
