package consent

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// maxForm is more than a form of ours has: each byte of a credential takes at most three in it.
const maxForm = 4 * MaxValue

func (c *Consent) routes() {
	c.mux = http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) {
		method, path, _ := strings.Cut(pattern, " ")
		c.mux.HandleFunc(method+" "+Path+path, h)
	}
	handle("GET ", c.list)
	handle("GET /{$}", c.list)
	handle("GET /style.css", c.views.serveStyle)
	handle("GET /login", c.enter)
	handle("GET /callback", c.callback)
	handle("GET /for/{id}", c.show)
	handle("POST /for/{id}", c.submit)
	handle("POST /revoke", c.revoke)
	handle("POST /logout", c.leave)
	c.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { c.say(w, r, messageNothing) })
}

// ServeHTTP serves the pages.
func (c *Consent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.mux.ServeHTTP(w, r)
}

// show is the page of one request.
func (c *Consent) show(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	open := c.requests.find(id, time.Now())
	v := c.visitor(r)
	switch {
	case open == nil && v == nil:
		c.say(w, r, messageGone)
	case open == nil:
		if c.mayTry(w, r, v) {
			c.say(w, r, messageGone)
		}
	case v == nil:
		c.begin(w, r, id, false)
	case v.user != open.User:
		if c.mayTry(w, r, v) {
			c.strange(w, r, v, open)
		}
	default:
		c.ask(w, r, v, open, "")
	}
}

// strange answers somebody who has opened another's link, which may have been sent to trick one of the two.
func (c *Consent) strange(w http.ResponseWriter, r *http.Request, v *visit, open *request) {
	c.opts.Logger.WarnContext(r.Context(), "a link to give a credential was opened by another user than the one it is for", "server", open.Server)
	m := messageOther
	m.Visitor = c.visitorView(v, open.id)
	c.say(w, r, m)
}

func (c *Consent) ask(w http.ResponseWriter, r *http.Request, v *visit, open *request, problem string) {
	server, ok := c.opts.Server(open.Server)
	if !ok {
		c.say(w, r, messageNotWanted)
		return
	}
	kept, err := c.opts.Store.Get(v.user, open.Server)
	if err != nil {
		c.broken(w, r, err)
		return
	}
	page := askPage{
		Server: server, Description: linkify(server.Description), Problem: problem, Visitor: c.visitorView(v, open.id),
		Action: Path + "/for/" + open.id, Form: v.form("store", open.id), Max: MaxValue,
	}
	if kept != nil {
		page.Refused, page.Replaces = !kept.Refused.IsZero(), kept.Refused.IsZero()
	}
	status := http.StatusOK
	if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	c.render(w, r, status, "ask", page)
}

// submit takes a credential.
func (c *Consent) submit(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	v := c.sender(w, r, "store", id)
	if v == nil {
		return
	}
	open := c.requests.find(id, time.Now())
	if open == nil {
		c.say(w, r, messageGone)
		return
	}
	if v.user != open.User {
		c.strange(w, r, v, open)
		return
	}
	server, ok := c.opts.Server(open.Server)
	if !ok {
		c.say(w, r, messageNotWanted)
		return
	}
	value, problem := clean(r.PostFormValue("credential"), server.Prefix)
	if problem != "" {
		c.ask(w, r, v, open, problem)
		return
	}
	taken := c.requests.take(id, time.Now())
	if len(taken) == 0 {
		c.say(w, r, messageGone)
		return
	}
	err := c.opts.Store.Put(v.user, open.Server, Kept{Value: value, Stored: time.Now()})
	if err != nil {
		c.requests.restore(taken)
		c.broken(w, r, err)
		return
	}
	c.opts.Logger.InfoContext(r.Context(), "a user gave a credential", "server", open.Server)
	c.opts.Changed(v.user, open.Server)
	for _, t := range taken {
		if t.Completed != nil {
			t.Completed(t.id)
		}
	}
	c.say(w, r, messageStored)
}

// clean makes what a user pasted what can be sent, or says what is wrong with it without repeating it.
func clean(pasted, prefix string) (value config.Secret, problem string) {
	text := strings.TrimSpace(pasted)
	if n := len(prefix); n > 0 && len(text) > n && strings.EqualFold(text[:n], prefix) {
		text = strings.TrimSpace(text[n:])
	}
	switch {
	case text == "":
		return value, "There is nothing in the field."
	case len(text) > MaxValue:
		return value, "This is too long: at most " + strconv.Itoa(MaxValue) + " bytes can be stored."
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }):
		return value, "This has line breaks or other characters that no request can carry. Copy it again, without anything around it."
	}
	return config.NewSecret(text), ""
}

// list is the page of what a user has stored.
func (c *Consent) list(w http.ResponseWriter, r *http.Request) {
	v := c.visitor(r)
	if v == nil {
		c.begin(w, r, "", false)
		return
	}
	kept, err := c.opts.Store.List(v.user)
	if err != nil {
		c.broken(w, r, err)
		return
	}
	page := listPage{Visitor: c.visitorView(v, ""), Revoke: Path + "/revoke", Revoked: r.URL.Query().Has("revoked")}
	for _, k := range kept {
		item := listItem{Name: k.Server, Stored: k.Stored, Refused: k.Refused, Form: v.form("revoke", k.Server)}
		if server, ok := c.opts.Server(k.Server); ok {
			item.Title = server.Title
		}
		page.Items = append(page.Items, item)
	}
	c.render(w, r, http.StatusOK, "list", page)
}

func (c *Consent) revoke(w http.ResponseWriter, r *http.Request) {
	server := formValue(w, r, "server")
	v := c.sender(w, r, "revoke", server)
	if v == nil {
		return
	}
	if err := c.opts.Store.Delete(v.user, server); err != nil {
		c.broken(w, r, err)
		return
	}
	c.opts.Logger.InfoContext(r.Context(), "a user took a credential back", "server", server)
	c.opts.Changed(v.user, server)
	http.Redirect(w, r, Path+"?revoked", http.StatusSeeOther)
}

// leave ends a visit. It leads to no other host, which the pages' own policy would forbid to a form.
func (c *Consent) leave(w http.ResponseWriter, r *http.Request) {
	request := formValue(w, r, "for")
	if c.sender(w, r, "logout", request) == nil {
		return
	}
	c.visits.end(c.cookie(r, visitCookie))
	c.setCookie(w, visitCookie, "", 0)
	c.say(w, r, messageLeft.again(request))
}

// enter begins a login for whoever wants to be another user than the issuer takes the browser for.
func (c *Consent) enter(w http.ResponseWriter, r *http.Request) {
	request := r.URL.Query().Get("for")
	if c.requests.find(request, time.Now()) == nil {
		request = ""
	}
	c.begin(w, r, request, true)
}

// sender is the user who sent a form. It answers by itself where there is none, or the form is not from a page of that user's.
func (c *Consent) sender(w http.ResponseWriter, r *http.Request, what ...string) *visit {
	if !c.sameSite(r) {
		c.say(w, r, messageForged)
		return nil
	}
	v := c.visitor(r)
	if v == nil {
		c.say(w, r, messageExpired)
		return nil
	}
	if !c.mayTry(w, r, v) {
		return nil
	}
	form := formValue(w, r, "form")
	if r.PostForm == nil {
		c.say(w, r, messageTooLarge)
		return nil
	}
	if !v.made(form, what...) {
		c.say(w, r, messageForged)
		return nil
	}
	return v
}

// mayTry answers who has tried too often.
func (c *Consent) mayTry(w http.ResponseWriter, r *http.Request, v *visit) bool {
	wait := c.tries.another(v.user, time.Now())
	if wait == 0 {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	c.say(w, r, messageTooOften)
	return false
}

// formValue reads one field of a form's body. The form is nil if there is no readable one.
func formValue(w http.ResponseWriter, r *http.Request, name string) string {
	if r.PostForm == nil {
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // what is none is not that
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if kind != "application/x-www-form-urlencoded" || r.ParseForm() != nil {
			r.PostForm = nil
			return ""
		}
	}
	return r.PostForm.Get(name)
}

// broken answers for a failure of the store.
func (c *Consent) broken(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrFull) {
		c.opts.Logger.WarnContext(r.Context(), "the store of credentials is full")
		c.say(w, r, messageFull)
		return
	}
	c.opts.Logger.ErrorContext(r.Context(), "the store of credentials fails", "error", err)
	c.say(w, r, messageBroken)
}
