package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/authn"
	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/protectedresource"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

var (
	errRepeatedToken = errors.New("the request has more than one Authorization header")
	errNoSubject     = errors.New("the token names no subject that a session could be bound to, or not in the way of the header's one form")
)

// access reads what callers may have: by the policy values, by the list of a trusted policy engine, or by both, which must then agree.
type access struct {
	policies *policies            // nil without values
	grants   *authn.GrantVerifier // nil without a policy engine
}

// newAccess returns nil where everything is for everyone.
func newAccess(s *settings, p *policies) (*access, error) {
	a := &access{policies: p}
	if s.authorizerKeyFile != "" {
		key, err := os.ReadFile(s.authorizerKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flagGrants, err)
		}
		if a.grants, err = authn.NewGrantVerifier(authn.GrantOptions{PublicKeyPEM: key, Issuer: s.authorizerIssuer}); err != nil {
			return nil, fmt.Errorf("--%s %q: %w", flagGrants, s.authorizerKeyFile, err)
		}
	}
	if a.policies == nil && a.grants == nil {
		return nil, nil
	}
	return a, nil
}

// all is what every one of its parts allows.
type all []func(policy.Request) bool

// Allows implements broker.Access.
func (a all) Allows(r policy.Request) bool {
	for _, allows := range a {
		if !allows(r) {
			return false
		}
	}
	return true
}

// of is the access of a request's caller.
func (a *access) of(r *http.Request) (broker.Access, error) {
	tokens := r.Header.Values("Authorization")
	if len(tokens) > 1 {
		return nil, errRepeatedToken
	}
	parts, err := a.byToken(r.Context(), strings.Join(tokens, ""))
	if err != nil {
		return nil, err
	}
	for _, engine := range a.engines() {
		parts = append(parts, granted(engine, r.Header.Values(wire.HeaderAuthorized)).Allows)
	}
	return parts, nil
}

// byToken is the access that the policy values give the caller with a token.
func (a *access) byToken(ctx context.Context, authorization string) (all, error) {
	if a.policies == nil {
		return nil, nil
	}
	if a.policies.Unknown() {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, Message: "who may call what is not known yet; try again in a moment"}
	}
	set, _ := a.policies.state()
	// The scheme may be written in either way, as at Envoy.
	if token, ok := strings.CutPrefix(authorization, "bearer "); ok {
		authorization = "Bearer " + token
	}
	id, err := a.policies.verifier.Verify(ctx, authorization)
	if err != nil {
		return nil, err
	}
	// The router binds sessions to what it reads of a token that is not verified yet. Nobody gets a session with a token of which it reads another
	// caller than there is, or none.
	if id != nil && (id.Subject == "" || session.SubjectOf(authorization) != session.SubjectFrom(id.Issuer, id.Subject)) {
		return nil, errNoSubject
	}
	decide := set.Decider(id)
	return all{func(r policy.Request) bool { return decide(r).Allowed }}, nil
}

// resourceMetadataURL is where clients read how to get a token.
func resourceMetadataURL(public *url.URL) string {
	return public.JoinPath(wire.PathProtectedResource, wire.PathMCP).String()
}

// assemblePolicies makes what decides on access.
func (g *gateway) assemblePolicies(public *url.URL, scopes []string) (err error) {
	o := policiesOptions{File: g.settings.envoy.values, Elsewhere: g.settings.controlPlane != ""}
	if o.Document, err = g.policiesDocument(); err != nil {
		return err
	}
	if o.File != "" || o.Document != nil {
		if o.Elsewhere && o.Document == nil {
			g.logger.Warn("an Envoy that this process does not feed enforces none of the policy values: let the mesh have policies that say the same", "file", o.File)
		}
		o.Logger, o.Metrics = g.logger, g.metrics.Policies()
		o.ResourceMetadata, o.Scopes, o.Keys = resourceMetadataURL(public), scopes, authn.KeysOptions{Logger: g.logger}
		if g.feed != nil {
			o.Feed = g.feed
		}
		if g.policies, err = newPolicies(o); err != nil {
			return err
		}
	}
	g.access, err = newAccess(g.settings, g.policies)
	return err
}

// policiesDocument is the ConfigMap with the policy values, nil where they are not in one.
func (g *gateway) policiesDocument() (*kubesource.Document, error) {
	s := g.settings
	switch {
	case s.kube.policiesConfigMap == "":
		return nil, nil
	case s.envoy.values != "":
		return nil, usagef("--%s and --%s exclude each other: the policies are in one place", flagValues, flagPoliciesMap)
	}
	cluster, _, err := kubesource.Cluster(s.kube.kubeconfig)
	if err != nil {
		return nil, err
	}
	d, err := kubesource.NewDocument(cluster, s.kube.policiesConfigMap, kubesource.PoliciesKey, g.logger)
	if err != nil {
		return nil, usagef("--%s %w", flagPoliciesMap, err)
	}
	return d, nil
}

// brokerOptions adds what the broker needs to know of callers.
func (g *gateway) brokerOptions(o broker.Options) broker.Options {
	if g.access != nil {
		o.Access = g.access.of
	}
	if g.policies != nil {
		o.Challenge = g.policies.Challenge
	}
	if g.consent != nil {
		o.Elicit = g.elicit
	}
	return o
}

// replay makes a call again, if its caller may still make it. A policy engine has judged this very request already.
func (g *gateway) replay(ctx context.Context, c *router.Call) (*http.Response, error) {
	var may broker.Access
	if g.access != nil {
		parts, err := g.access.byToken(ctx, c.Authorization)
		if err != nil {
			return nil, &jsonrpc.Error{Code: http.StatusUnauthorized, Status: http.StatusUnauthorized, ID: c.ID, Message: "the access token is not accepted"}
		}
		may = parts
	}
	return g.broker.Replay(upstream.WithTraceparent(ctx, c.Traceparent), c.Session, c.Server, may, c.Authorization, c.Body)
}

// resourceMetadata serves the metadata by which clients find the authorization server: what is configured or else the issuer in force.
func (g *gateway) resourceMetadata(m protectedresource.Metadata, public *url.URL) http.Handler {
	_, configured := os.LookupEnv(protectedresource.EnvAuthorizationServers)
	if configured || g.policies == nil {
		return protectedresource.Handler(m, public, g.virtualServerAt)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := m
		if issuer := g.policies.Issuer(); issuer != "" {
			now.AuthorizationServers = []string{issuer}
		}
		protectedresource.Handler(now, public, g.virtualServerAt).ServeHTTP(w, r)
	})
}

// virtualServerAt tells the name of the virtual server whose path has a last segment.
func (g *gateway) virtualServerAt(segment string) (name string, ok bool) {
	view := g.publisher.Snapshot().VirtualServerAt(segment)
	if view == nil {
		return "", false
	}
	return view.Name(), true
}
