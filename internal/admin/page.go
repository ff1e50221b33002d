package admin

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// pages are the status pages. They bring all that they need along, since a gateway may stand where there is no Internet.
//
//go:embed pages
var pages embed.FS

// site serves the status pages.
type site struct {
	*Options
	views map[string]*template.Template
	index indexes
}

// frame is what every page has.
type frame struct {
	Heading, Section, Version string
	NotReady                  []string
	Kinds                     []kindCount
	Access                    bool
	SignOut                   string
}

// kindCount is an entry of the menu.
type kindCount struct {
	Kind  itemKind
	Count int
}

func newSite(o *Options) (*site, error) {
	s := &site{Options: o, views: map[string]*template.Template{}}
	base, err := template.New("base.html").Funcs(functions()).ParseFS(pages, "pages/base.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(pages, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "pages/"), ".html")
		if name == "base" {
			continue
		}
		view, err := base.Clone()
		if err == nil {
			view, err = view.ParseFS(pages, path)
		}
		if err != nil {
			return nil, err
		}
		s.views[name] = view
	}
	return s, nil
}

func functions() template.FuncMap {
	return template.FuncMap{
		"when":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"shown": func(c ToolCalls, k Known) shownCalls { return shownCalls{c, k} },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"took": func(d time.Duration) string {
			if d < time.Millisecond {
				return "under 1 ms"
			}
			if d < time.Second {
				return fmt.Sprintf("%d ms", d.Milliseconds())
			}
			return fmt.Sprintf("%.1f s", d.Seconds())
		},
		"plural": func(n int, one, many string) string {
			if n == 1 {
				return "1 " + one
			}
			return fmt.Sprintf("%d %s", n, many)
		},
	}
}

func (s *site) routes(mux *http.ServeMux) {
	handle := func(pattern string, h http.HandlerFunc) { mux.Handle("GET "+pattern, s.secured(h)) }
	handle("/{$}", s.overview)
	handle("/servers/{name...}", s.server)
	handle("/items/{kind}", s.list)
	handle("/item/{kind}", s.item)
	handle("/access", s.access)
	handle("/login", s.login)
	for name, kind := range map[string]string{"style.css": "text/css", "page.js": "text/javascript", "console.js": "text/javascript", "login.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		handle("/assets/"+name, func(w http.ResponseWriter, _ *http.Request) { asset(w, name, kind) })
	}
}

func asset(w http.ResponseWriter, name, kind string) {
	data, err := pages.ReadFile("pages/" + name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	_, _ = w.Write(data)
}

// secured gives a page no more than it needs: its own style and scripts, and calls to the endpoint and to who issues tokens for it.
func (s *site) secured(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connect := []string{"'self'"}
		for _, to := range append([]string{s.Endpoint}, s.Issuers()...) {
			if origin, err := originOf(to); err == nil {
				connect = append(connect, origin)
			}
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src "+strings.Join(connect, " ")+
			"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next(w, r)
	})
}

var errNoOrigin = errors.New("no web address")

// originOf refuses what could say more in the policy of a page than an origin.
func originOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"*") {
		return "", errNoOrigin
	}
	return u.Scheme + "://" + u.Host, nil
}

// frame is that of a page.
func (s *site) frame(heading, section string) frame {
	f := frame{Heading: heading, Section: section, Version: s.Version, NotReady: s.NotReady(), Access: s.Values() != nil, SignOut: s.SignOut}
	snap := s.Snapshot()
	for _, kind := range kinds() {
		n := 0
		if snap != nil {
			n = len(snap.Items(kind.kind))
		}
		f.Kinds = append(f.Kinds, kindCount{kind, n})
	}
	return f
}

// render writes a page whole or not at all.
func (s *site) render(w http.ResponseWriter, status int, name string, page any) {
	var out bytes.Buffer
	if err := s.views[name].ExecuteTemplate(&out, "base.html", page); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// missingPage says that there is nothing of a name, or nothing yet.
type missingPage struct {
	frame

	Text string
}

func (s *site) missing(w http.ResponseWriter, text string) {
	s.render(w, http.StatusNotFound, "missing", missingPage{s.frame("Not found", ""), text})
}

func (s *site) login(w http.ResponseWriter, _ *http.Request) {
	s.render(w, http.StatusOK, "login", s.frame("Logging in", ""))
}

// itemKind is a kind of items as the pages call it.
type itemKind struct {
	kind                  catalog.Kind
	Path, Title, Singular string
}

func kinds() []itemKind {
	return []itemKind{
		{catalog.Tool, "tools", "Tools", "tool"},
		{catalog.Prompt, "prompts", "Prompts", "prompt"},
		{catalog.Resource, "resources", "Resources", "resource"},
		{catalog.Template, "templates", "Templates", "template"},
	}
}

func kindAt(path string) (itemKind, bool) {
	for _, k := range kinds() {
		if k.Path == path {
			return k, true
		}
	}
	return itemKind{}, false
}
