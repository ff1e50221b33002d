package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/policy"
)

const (
	flagPage        = "status-page-address"
	flagPageUsers   = "status-page-users"
	flagPageGroups  = "status-page-groups"
	flagPageRoles   = "status-page-roles"
	flagPageCookie  = "status-page-cookie"
	flagPageSignOut = "status-page-sign-out"
)

// pageSettings are about the status page for those who have to say who they are.
type pageSettings struct {
	address              string
	users, groups, roles []string
	cookie               string
	signOut              string
}

func (s *pageSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.address, flagPage, "", "`address` for the status page and /status once more, for those who come with a token of the issuer of the policies and are named by --"+flagPageUsers+", --"+flagPageGroups+" and --"+flagPageRoles+": host:port or unix:/path; empty means none")
	f.StringSliceVar(&s.users, flagPageUsers, nil, "`users` who may see that page, as the policies have them, separated by commas")
	f.StringSliceVar(&s.groups, flagPageGroups, nil, "`groups` whose members may see it; where users, groups and roles are given, a caller must be of one of each")
	f.StringSliceVar(&s.roles, flagPageRoles, nil, "`roles` with which one may see it")
	f.StringVar(&s.cookie, flagPageCookie, "", "`name` of a cookie in which the token may be as well, where a login in front keeps it there")
	f.StringVar(&s.signOut, flagPageSignOut, "", "`path` at which one signs out of the login in front, such as /oauth2/sign_out: the pages have a link to it; empty means no link")
}

// check refuses a page that everybody could see.
func (s *pageSettings) check() error {
	who := slices.Concat(s.users, s.groups, s.roles)
	switch {
	case s.address == "" && (len(who) > 0 || s.cookie != "" || s.signOut != ""):
		return fmt.Errorf("--%s, --%s, --%s, --%s and --%s go with --%s only", flagPageUsers, flagPageGroups, flagPageRoles, flagPageCookie, flagPageSignOut, flagPage)
	case s.address == "":
		return nil
	case len(who) == 0:
		return fmt.Errorf("--%s: nobody is named who may see the page: give --%s, --%s or --%s", flagPage, flagPageUsers, flagPageGroups, flagPageRoles)
	case s.signOut != "" && (!strings.HasPrefix(s.signOut, "/") || strings.HasPrefix(s.signOut, "//")):
		return fmt.Errorf("--%s: %q is not a path: want one such as /oauth2/sign_out", flagPageSignOut, s.signOut)
	case slices.Contains(who, ""):
		return fmt.Errorf("--%s, --%s and --%s: a name is empty", flagPageUsers, flagPageGroups, flagPageRoles)
	}
	return checkAddress(flagPage, s.address)
}

// servePage makes the status page that wants to know who asks.
func (g *gateway) servePage(pages http.Handler) error {
	s := &g.settings.page
	if g.policies == nil {
		return usagef("--%s needs --%s or --%s with authentication, which says whose tokens are believed", flagPage, flagValues, flagPoliciesMap)
	}
	refusal, err := admin.NewRefusalPage(s.signOut)
	if err != nil {
		return err
	}
	g.pageServer = &http.Server{
		Handler: &guarded{
			next: pages, refusal: refusal, cookie: s.cookie, rule: policy.Rule{Users: s.users, Groups: s.groups, Roles: s.roles},
			identify: g.policies.verifier.Verify, logger: g.logger,
		},
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxHeaderBytes: maxPageHeaders,
		ErrorLog: slog.NewLogLogger(g.logger.Handler(), slog.LevelWarn),
	}
	return nil
}

// maxPageHeaders leaves room for large tokens.
const maxPageHeaders = 64 << 10

// guarded lets those in of whom a good token says that the rule is for them. Whatever is missing or not known yet keeps everybody out.
type guarded struct {
	next     http.Handler
	refusal  *admin.RefusalPage
	cookie   string
	rule     policy.Rule
	identify func(ctx context.Context, authorization string) (*policy.Identity, error)
	logger   *slog.Logger
}

var (
	errNoAuthentication = errors.New("the policies have no authentication, so that nobody can be told from others")
	errNotNamed         = errors.New("the caller is not among those who may see the page")
	errTwoTokens        = errors.New("the request has more than one token")
)

// ServeHTTP implements http.Handler.
func (p *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	authorization, err := p.token(r)
	var id *policy.Identity
	if err == nil {
		id, err = p.identify(r.Context(), authorization)
	}
	switch {
	case err != nil:
		p.refuse(w, r, http.StatusUnauthorized, "", err)
	case id == nil:
		p.refuse(w, r, http.StatusForbidden, "", errNoAuthentication)
	case p.rule.Everyone() || !p.rule.For(id):
		p.refuse(w, r, http.StatusForbidden, id.User, errNotNamed)
	default:
		r.Header.Del("Authorization")
		r.Header.Del("Cookie")
		p.next.ServeHTTP(w, r)
	}
}

// token is what a request has in place of an Authorization header, or as one.
func (p *guarded) token(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	var cookies []*http.Cookie
	if p.cookie != "" {
		cookies = r.CookiesNamed(p.cookie)
	}
	switch {
	case len(headers) > 1, len(headers) == 0 && len(cookies) > 1:
		return "", errTwoTokens
	case len(headers) == 1:
		return headers[0], nil
	case len(cookies) == 1:
		return "Bearer " + cookies[0].Value, nil
	}
	return "", nil // whoever identifies says what is missing
}

func (p *guarded) refuse(w http.ResponseWriter, r *http.Request, status int, user string, why error) {
	p.logger.DebugContext(r.Context(), "status page refused", "status", status, "error", why)
	h := w.Header()
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		if status == http.StatusUnauthorized {
			p.refusal.Unknown(w)
		} else {
			p.refusal.NotFor(w, user)
		}
		return
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why.Error()}) // the client may have left
}
