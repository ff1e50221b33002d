package consent

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed pages
var pages embed.FS

// views are the pages' looks.
type views struct {
	pages map[string]*template.Template
	style []byte
}

func newViews() (*views, error) {
	v := &views{pages: map[string]*template.Template{}}
	for _, name := range []string{"ask", "list", "message"} {
		page, err := template.New("base.html").Funcs(template.FuncMap{"when": when}).ParseFS(pages, "pages/base.html", "pages/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("a page cannot be read: %w", err)
		}
		v.pages[name] = page
	}
	var err error
	v.style, err = pages.ReadFile("pages/style.css")
	return v, err
}

// when is a time for people, in the one zone that all have in common.
func when(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func (v *views) serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=300") // it says nothing of anybody
	_, _ = w.Write(v.style)
}

// visitorView is who is logged in, and the form to be another.
type visitorView struct{ Name, Leave, For, Form string }

func (c *Consent) visitorView(v *visit, request string) *visitorView {
	return &visitorView{Name: v.name, Leave: Path + "/logout", For: request, Form: v.form("logout", request)}
}

// askPage is ask.html.
type askPage struct {
	Visitor           *visitorView
	Server            Server
	Description       []piece
	Problem           string
	Action, Form      string
	Max               int
	Refused, Replaces bool
}

// listPage is list.html.
type listPage struct {
	Visitor *visitorView
	Items   []listItem
	Revoke  string
	Revoked bool
}

type listItem struct {
	Name, Title, Form string
	Stored, Refused   time.Time
}

// message is message.html.
type message struct {
	Visitor     *visitorView
	Status      int
	Title, Text string
	// Link is a page of ours that may come next.
	Link, LinkText string
}

// again lets the user log in once more for a request.
func (m message) again(request string) message {
	m.Link, m.LinkText = Path+"/login", "Log in"
	if request != "" {
		m.Link += "?for=" + url.QueryEscape(request)
	}
	return m
}

// piece is a part of a text. One with a link is the link's text too.
type piece struct{ Text, Link string }

// linkify finds the web addresses in a text.
func linkify(text string) []piece {
	var out []piece
	for word := range strings.SplitAfterSeq(text, " ") {
		bare := strings.TrimRight(word, " .,;:!?)")
		if u, err := url.Parse(bare); err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil {
			out = append(out, piece{Text: bare, Link: u.String()}, piece{Text: word[len(bare):]})
			continue
		}
		out = append(out, piece{Text: word})
	}
	return out
}

// say answers with a message.
func (c *Consent) say(w http.ResponseWriter, r *http.Request, m message) {
	c.render(w, r, m.Status, "message", m)
}

func (c *Consent) render(w http.ResponseWriter, r *http.Request, status int, name string, page any) {
	var out bytes.Buffer
	if err := c.views.pages[name].Execute(&out, page); err != nil {
		c.opts.Logger.ErrorContext(r.Context(), "a page cannot be shown", "page", name, "error", err)
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}
