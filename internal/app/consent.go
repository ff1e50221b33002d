package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/consent"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// envConsentSecret is the environment variable with the secret of the client by which users log in.
const envConsentSecret = "MCP_GATEWAY_CONSENT_CLIENT_SECRET" //nolint:gosec // the name of one

const (
	flagConsentClient = "consent-client-id"
	flagConsentSecret = "consent-client-secret-file"
	flagConsentStore  = "consent-store-file"
)

// consentSettings are about the pages on which users give credentials of their own.
type consentSettings struct{ clientID, secretFile, storeFile string }

var (
	errNoConsent = errors.New("the gateway has no pages on which users could give credentials: set --" + flagConsentClient)
	errNoUsers   = errors.New("the policies have no authentication, so that callers cannot be told apart")
)

func (s *consentSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.clientID, flagConsentClient, "", "`id` of the client by which users log in at the issuer of the policies, to give the credentials that servers want of each of them; empty means that nobody can. Its redirect URI is the --"+flagPublic+" with "+wire.PathCredentials+"/callback")
	f.StringVar(&s.secretFile, flagConsentSecret, "", "`file` with that client's secret. Or the environment variable "+envConsentSecret+"; with neither, it is a public client")
	f.StringVar(&s.storeFile, flagConsentStore, "", "`file` for the credentials that users give, encrypted with a key that is derived from the session key; empty means that they are kept in memory for this run")
}

// secret is that of the client, empty for a public one.
func (s *consentSettings) secret(lookup func(string) (string, bool)) (config.Secret, error) {
	given, _ := lookup(envConsentSecret)
	if s.secretFile == "" {
		return config.NewSecret(given), nil
	}
	if given != "" {
		return config.Secret{}, usagef("both --%s and %s are given: keep one of them", flagConsentSecret, envConsentSecret)
	}
	text, err := os.ReadFile(s.secretFile)
	if err != nil {
		return config.Secret{}, fmt.Errorf("--%s: %w", flagConsentSecret, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return config.Secret{}, fmt.Errorf("--%s: the file %q is empty", flagConsentSecret, s.secretFile)
	}
	return config.NewSecret(secret), nil
}

// store is where credentials are kept.
func (s *consentSettings) store(key session.Key, generated bool) (consent.Store, error) {
	if s.storeFile == "" {
		return consent.NewMemory()
	}
	if generated {
		return nil, usagef("--%s needs --%s or %s: with a key that is made for this run, nobody could read the file after it", flagConsentStore, flagKey, envSessionKey)
	}
	store, err := consent.OpenFile(s.storeFile, key.Derive("credential-store"))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flagConsentStore, err)
	}
	return store, nil
}

// assembleConsent makes the pages, if they are wanted.
func (g *gateway) assembleConsent(public *url.URL, key session.Key, generated bool) error {
	s := &g.settings.consent
	if s.clientID == "" {
		if s.secretFile != "" || s.storeFile != "" {
			return usagef("--%s and --%s go with --%s only", flagConsentSecret, flagConsentStore, flagConsentClient)
		}
		return nil
	}
	if g.policies == nil {
		return usagef("--%s needs --%s with authentication: users log in where their clients get tokens", flagConsentClient, flagValues)
	}
	secret, err := s.secret(os.LookupEnv)
	if err != nil {
		return err
	}
	store, err := s.store(key, generated)
	if err != nil {
		return err
	}
	g.consentStore, _ = store.(io.Closer)
	g.consent, err = consent.New(consent.Options{
		Public: public, Store: store, Key: key.Derive("credential-login"), ClientID: s.clientID, ClientSecret: secret, Issuer: g.policies.Issuer,
		Server: g.asksUsers, Logger: g.logger,
		Changed: func(u consent.User, server string) {
			g.broker.CredentialChanged(session.SubjectFrom(u.Issuer, u.Subject), server)
		},
	})
	return err
}

// asksUsers finds a server that wants credentials of users.
func (g *gateway) asksUsers(name string) (consent.Server, bool) {
	servers := g.watched.current().Servers
	i := slices.IndexFunc(servers, func(s config.Server) bool { return s.Name == name })
	if i < 0 || !wantsUsers(&servers[i]) {
		return consent.Server{}, false
	}
	s := &servers[i]
	address := s.Host
	if port := map[string]uint16{"http": 80, "https": 443}[s.Scheme]; s.Port != port {
		address = net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	}
	return consent.Server{
		Name: s.Name, Title: s.Credential.Title, Description: s.Credential.Description, Address: address, Prefix: s.Credential.Prefix,
	}, true
}

func wantsUsers(s *config.Server) bool {
	return s.Enabled && s.Credential != nil && s.Credential.Kind == config.PerUser
}

// user is the verified caller with an Authorization header.
func (g *gateway) user(ctx context.Context, authorization string) (consent.User, error) {
	if g.consent == nil {
		return consent.User{}, errNoConsent
	}
	id, err := g.policies.verifier.Verify(ctx, authorization)
	switch {
	case err != nil:
		return consent.User{}, err
	case id == nil:
		return consent.User{}, errNoUsers
	case id.Subject == "":
		return consent.User{}, errNoSubject
	}
	return consent.User{Issuer: id.Issuer, Subject: id.Subject}, nil
}

// elicit begins to ask a caller, who has a session or, in the newer revisions, none.
func (g *gateway) elicit(ctx context.Context, s *session.Session, authorization config.Secret, server string) (broker.Elicitation, error) {
	u, err := g.user(ctx, authorization.Reveal())
	if err != nil {
		return broker.Elicitation{}, err
	}
	need := consent.Need{User: u, Server: server}
	if s == nil {
		client := sha256.Sum256([]byte(u.Issuer + "\x00" + u.Subject))
		need.Client, need.Completed = string(client[:]), func(string) {}
	} else {
		if s.Subject() != session.SubjectFrom(u.Issuer, u.Subject) {
			return broker.Elicitation{}, errNoSubject
		}
		client := sha256.Sum256([]byte(s.Token())) // which lasts longer here than the session may
		need.Client, need.Completed = string(client[:]), func(id string) { g.broker.Elicited(s, id) }
	}
	r, err := g.consent.Ask(need)
	return broker.Elicitation(r), err
}

// credentials has the tokens of all servers: those of authorization servers, and what users have given.
type credentials struct {
	*credential.Manager

	g *gateway
}

// Caller implements upstream.Credentials.
func (c credentials) Caller(s *config.Server, token config.Secret) credential.Tokens {
	if s.Credential != nil && s.Credential.Kind == config.PerUser {
		return given{g: c.g, server: s.Name, token: token}
	}
	return c.Manager.Caller(s, token)
}

// given is what the caller with a token has given for a server.
type given struct {
	g      *gateway
	server string
	token  config.Secret
}

// Token implements credential.Tokens.
func (o given) Token(ctx context.Context) (config.Secret, error) {
	u, err := o.g.user(ctx, "Bearer "+o.token.Reveal())
	switch {
	case errors.Is(err, errNoConsent), errors.Is(err, errNoUsers):
		return config.Secret{}, credential.ErrNotGiven // why nobody can be asked is told where that is tried
	case err != nil:
		return config.Secret{}, credential.ErrNoSubject
	}
	value, ok, err := o.g.consent.Find(u, o.server)
	if err == nil && !ok {
		err = credential.ErrNotGiven
	}
	return value, err
}

// Rejected implements credential.Tokens.
func (o given) Rejected(value config.Secret) {
	if u, err := o.g.user(context.Background(), "Bearer "+o.token.Reveal()); err == nil {
		o.g.consent.Refused(u, o.server, value)
	}
}

// Forbidden implements credential.Judged.
func (o given) Forbidden(value config.Secret) { o.Rejected(value) }

// public serves the pages, and leaves all else to the broker.
func (g *gateway) public(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != wire.PathCredentials && !strings.HasPrefix(r.URL.Path, wire.PathCredentials+"/"):
		g.broker.ServeHTTP(w, r.WithContext(upstream.WithTrace(r.Context(), r.Header)))
	case g.consent == nil:
		http.NotFound(w, r)
	default:
		g.consent.ServeHTTP(w, r)
	}
}

// consentProblems are servers that nobody can call, because nobody can be asked for what they want.
func (g *gateway) consentProblems(cfg *config.Config) []catalog.Problem {
	why := errNoConsent
	if g.consent != nil {
		if g.policies.Issuer() != "" {
			return nil
		}
		why = errNoUsers
	}
	var out []catalog.Problem
	for i := range cfg.Servers {
		if s := &cfg.Servers[i]; wantsUsers(s) {
			out = append(out, catalog.Problem{Server: s.Name, Message: "perUser: its tools are shown but cannot be called: " + why.Error()})
		}
	}
	return out
}
