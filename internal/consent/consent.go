// Package consent asks users for the credentials that some servers want of each of them, on web pages of the gateway's own, and keeps what they
// give. A request begins with a call that cannot be made, has a link that is good for a short time and for one user, and ends when that very
// user, logged in on the page by OpenID Connect, has given the credential. Whoever else opens the link is shown nothing.
//
// The package must not know MCP, sessions, Envoy, nor how a stored credential is sent.
package consent

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Path is where all pages are, under the gateway's public URL.
const Path = wire.PathCredentials

// User is somebody by the words of an issuer whose tokens were verified.
type User struct{ Issuer, Subject string }

// known tells whether this is anybody at all.
func (u User) known() bool { return u.Issuer != "" && u.Subject != "" }

// Server is one that wants a credential of each user, as the user is told of it.
type Server struct {
	Name string
	// Title is what is asked for, Description where to get it.
	Title, Description string
	// Address is where it will be sent.
	Address string
	// Prefix is what will be sent before it, which users need not write.
	Prefix string
}

// Options are the settings of a Consent.
type Options struct {
	// Public is the gateway's URL as users know it, without a path.
	Public *url.URL
	Store  Store
	// Key has 32 bytes, by which a browser keeps what belongs to a login until it comes back. Replicas share it.
	Key []byte
	// ClientID and ClientSecret are what the gateway is to the issuer where users log in; the secret may be empty.
	ClientID     string
	ClientSecret config.Secret
	// Issuer is where users log in, empty where there is none now.
	Issuer func() string
	// Server finds a server that wants credentials of users.
	Server func(name string) (Server, bool)
	// Changed is told that what a user stored for a server is another, or is gone.
	Changed func(u User, server string)
	Logger  *slog.Logger
	// Transport makes the requests to the issuer; nil means one that heeds no proxy of the environment.
	Transport http.RoundTripper
}

// Consent is the http.Handler of the pages, and what knows the stored credentials.
type Consent struct {
	opts     Options
	requests requests
	visits   visits
	tries    tries
	login    login
	mux      *http.ServeMux
	views    *views
}

// New makes the pages. It does not connect.
func New(o Options) (*Consent, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func(User, string) {}
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.ClientID == "" {
		return nil, errors.New("the pages on which users give credentials need the id of a client of the issuer")
	}
	box, err := newBox(o.Key)
	if err != nil {
		return nil, err
	}
	c := &Consent{opts: o, login: newLogin(box, o.Transport)}
	if c.views, err = newViews(); err != nil {
		return nil, err
	}
	c.routes()
	return c, nil
}

func newTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  issuerTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// Find is what a user has stored for a server, unless the server has refused it. Without any, ok is false.
func (c *Consent) Find(u User, server string) (value config.Secret, ok bool, err error) {
	kept, err := c.opts.Store.Get(u, server)
	if err != nil || kept == nil || !kept.Refused.IsZero() {
		return config.Secret{}, false, err
	}
	return kept.Value, true, nil
}

// Refused says that a server does not accept what the user has stored for it. Nothing happens if that is another one by now.
func (c *Consent) Refused(u User, server string, value config.Secret) {
	marked, err := c.opts.Store.Refuse(u, server, value, time.Now())
	switch {
	case err != nil:
		c.opts.Logger.Error("cannot write down that a server refused a credential", "server", server, "error", err)
	case marked:
		c.opts.Logger.Info("a server refused a user's credential", "server", server)
	}
}
