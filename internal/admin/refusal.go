package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed refusal.html
var refusalHTML string

// RefusalPage is the page for those to whom the others are not shown. It brings its style along, since they get nothing else.
type RefusalPage struct {
	view    *template.Template
	style   template.CSS
	policy  string
	signOut string
}

// NewRefusalPage makes it. Where one signs out may be empty.
func NewRefusalPage(signOut string) (*RefusalPage, error) {
	view, err := template.New("refusal.html").Parse(refusalHTML)
	if err != nil {
		return nil, err
	}
	style, err := pages.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(style)
	return &RefusalPage{
		view: view, style: template.CSS(style), signOut: signOut, //nolint:gosec // it is our own
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	}, nil
}

// Unknown tells somebody of whom nothing is known, or nothing that is believed.
func (p *RefusalPage) Unknown(w http.ResponseWriter) {
	advice := "Log in where you came from, and open this page again."
	if p.signOut != "" {
		advice = "Sign out, and log in again."
	}
	p.write(w, http.StatusUnauthorized, "You are not logged in", "This gateway's status is for those who are logged in. No login came with your request, or one that is not accepted, such as one that has ended.",
		advice+" If that does not help, whoever runs the gateway finds the reason in its log, at the level debug.")
}

// NotFor tells a user that the pages are for others.
func (p *RefusalPage) NotFor(w http.ResponseWriter, user string) {
	text := "You are logged in, and this gateway shows its status to others."
	if user != "" {
		text = "You are logged in as " + user + ", and this gateway shows its status to others."
	}
	p.write(w, http.StatusForbidden, "You may not see this page", text,
		"Ask whoever runs the gateway to add you to those who may. A new group or role counts once you have logged in again. Or sign out, and log in as somebody else.")
}

func (p *RefusalPage) write(w http.ResponseWriter, status int, heading, text, advice string) {
	var out bytes.Buffer
	if err := p.view.Execute(&out, map[string]any{"Heading": heading, "Text": text, "Advice": advice, "Style": p.style, "SignOut": p.signOut}); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}
