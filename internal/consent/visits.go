package consent

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// visitLife is how long a login on the pages lasts.
	visitLife = 15 * time.Minute
	// maxVisits bounds all logins that last, maxUserVisits those of one user, whose oldest makes room for another.
	maxVisits     = 10_000
	maxUserVisits = 8
)

// visit is a browser in which a user is logged in.
type visit struct {
	user    User
	name    string // for the user's own eyes
	forms   []byte // the key by which forms are known to come from our pages
	expires time.Time
}

// form is the proof that a form for one thing came from a page of this visit.
func (v *visit) form(what ...string) string {
	return base64.RawURLEncoding.EncodeToString(mac(v.forms, what...))
}

func (v *visit) made(form string, what ...string) bool {
	return subtle.ConstantTimeCompare([]byte(form), []byte(v.form(what...))) == 1
}

// visits are known by a digest of what the browser has.
type visits struct {
	mu    sync.Mutex
	byKey map[[sha256.Size]byte]*visit
}

// begin returns what the browser is to keep, empty if there are too many visits.
func (v *visits) begin(user User, name string, now time.Time) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byKey == nil {
		v.byKey = map[[sha256.Size]byte]*visit{}
	}
	var oldest [sha256.Size]byte
	mine := 0
	for key, one := range v.byKey {
		switch {
		case !now.Before(one.expires):
			delete(v.byKey, key)
		case one.user == user:
			if mine++; mine == 1 || one.expires.Before(v.byKey[oldest].expires) {
				oldest = key
			}
		}
	}
	if mine >= maxUserVisits {
		delete(v.byKey, oldest)
	}
	if len(v.byKey) >= maxVisits {
		return ""
	}
	token := newToken()
	v.byKey[sha256.Sum256([]byte(token))] = &visit{user: user, name: name, forms: randomKey(), expires: now.Add(visitLife)}
	return token
}

func (v *visits) find(token string, now time.Time) *visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	one := v.byKey[sha256.Sum256([]byte(token))]
	if one == nil || !now.Before(one.expires) {
		return nil
	}
	return one
}

func (v *visits) end(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.byKey, sha256.Sum256([]byte(token)))
}

const (
	visitCookie = "mcp-gateway-visit"
	loginCookie = "mcp-gateway-login"
)

// secure tells whether users reach the pages by https.
func (c *Consent) secure() bool { return c.opts.Public.Scheme == "https" }

// cookieName makes a browser hold a cookie to this very host where it can.
func (c *Consent) cookieName(name string) string {
	if c.secure() {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie that lasts as long as the browser does, but not longer than life. With no value it is taken away. It is lax and not
// strict because a browser that comes back from the login, or from a link in another program, would not send it.
func (c *Consent) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	cookie := &http.Cookie{
		Name: c.cookieName(name), Value: value, Path: Path, MaxAge: int(life / time.Second),
		Secure: c.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if c.secure() {
		cookie.Path = "/" // the prefix of the name demands it
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// cookie is the value of a cookie. One that is there twice was set by somebody else too.
func (c *Consent) cookie(r *http.Request, name string) string {
	found := r.CookiesNamed(c.cookieName(name))
	if len(found) != 1 {
		return ""
	}
	return found[0].Value
}

// visitor is the user who is logged in, nil if none is. Who logged in at another issuer than that in force is not.
func (c *Consent) visitor(r *http.Request) *visit {
	v := c.visits.find(c.cookie(r, visitCookie), time.Now())
	if v == nil || v.user.Issuer != c.opts.Issuer() {
		return nil
	}
	return v
}

// sameSite tells whether a form can have been sent from a page of ours, as far as the browser says where it was.
func (c *Consent) sameSite(r *http.Request) bool {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	own := c.opts.Public.Scheme + "://" + c.opts.Public.Host
	// Pages without referrer have the origin null.
	return (site == "" || site == "same-origin") && (origin == "" || origin == "null" || strings.EqualFold(origin, own))
}

const (
	triesWindow = 10 * time.Minute
	maxTries    = 30
	maxTriers   = 20_000
)

// tries count what users send and what they ask for in vain.
type tries struct {
	mu     sync.Mutex
	byUser map[User]*window
}

type window struct {
	count int
	ends  time.Time
}

// another counts one more, and returns how long the user has to wait if that is one too many.
func (t *tries) another(u User, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byUser == nil {
		t.byUser = map[User]*window{}
	}
	if len(t.byUser) >= maxTriers {
		for user, w := range t.byUser {
			if !now.Before(w.ends) {
				delete(t.byUser, user)
			}
		}
	}
	w := t.byUser[u]
	if w == nil || !now.Before(w.ends) {
		w = &window{ends: now.Add(triesWindow)}
		t.byUser[u] = w
	}
	if w.count >= maxTries {
		return w.ends.Sub(now)
	}
	w.count++
	return 0
}
