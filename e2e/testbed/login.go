package testbed

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// This file makes an Issuer one where users log in: by the code flow with PKCE, with any name and no password. In a browser it has a form for
// that; a test follows the link to it with "&user=NAME" behind.

// login is one that waits for its code to come back.
type login struct{ client, redirect, nonce, challenge, user string }

// loginPage is the form. It sends back what it was asked with.
const loginPage = `<!DOCTYPE html><html lang="en"><meta name="viewport" content="width=device-width"><title>Log in</title><h1>Log in</h1><form>
{{range $name, $values := .}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<label>User <input id="user" name="user"></label> <button id="login">Log in</button></form></html>`

// authorize is called with the lock held.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("user") == "" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = template.Must(template.New("login").Parse(loginPage)).Execute(w, q)
		return
	}
	openID := strings.Contains(q.Get("scope"), "openid")
	if q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("state") == "" || openID && q.Get("nonce") == "" {
		http.Error(w, "want the code flow with PKCE, a state and, for OpenID Connect, a nonce", http.StatusBadRequest)
		return
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	code := base64.RawURLEncoding.EncodeToString(b[:])
	if i.logins == nil {
		i.logins = map[string]login{}
	}
	i.logins[code] = login{q.Get("client_id"), q.Get("redirect_uri"), q.Get("nonce"), q.Get("code_challenge"), q.Get("user")}
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.URL}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token is called with the lock held. A code is good once.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	code := r.PostFormValue("code")
	l, ok := i.logins[code]
	delete(i.logins, code)
	client, secret, _ := r.BasicAuth()
	if client == "" {
		client = r.PostFormValue("client_id")
	}
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || client != l.client || secret != i.ClientSecret || r.PostFormValue("redirect_uri") != l.redirect ||
		subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(challenge[:])), []byte(l.challenge)) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
		return
	}
	id, err := i.keys[len(i.keys)-1].sign(nil, map[string]any{
		"iss": i.URL, "aud": l.client, "sub": subjectOf(l.user), "preferred_username": l.user, "nonce": l.nonce,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	access := "of-no-use"
	if r.PostFormValue("resource") != "" { // RFC 8707: it is wanted for something
		access, err = i.keys[len(i.keys)-1].sign(nil, i.Claims(l.user, nil))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 60, "id_token": id})
}

// subjectOf is the "sub" of a user in all tokens.
func subjectOf(user string) string { return "id-of-" + user }
