// Package protectedresource is the OAuth 2.0 Protected Resource Metadata (RFC 9728) by which clients learn who issues
// the tokens for this gateway. It only tells: it must not know how, or whether, tokens are verified.
package protectedresource

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// The environment variables that the metadata is made of.
const (
	EnvName                 = "OAUTH_RESOURCE_NAME"
	EnvResource             = "OAUTH_RESOURCE"
	EnvAuthorizationServers = "OAUTH_AUTHORIZATION_SERVERS"
	EnvBearerMethods        = "OAUTH_BEARER_METHODS_SUPPORTED"
	EnvScopes               = "OAUTH_SCOPES_SUPPORTED"
)

// Metadata is the document, with its members in their order.
type Metadata struct {
	ResourceName           string   `json:"resource_name"`
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers,omitempty"`
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitempty"`
	ScopesSupported        []string `json:"scopes_supported,omitempty"`

	// relative is the resource as it stands to the public URL, empty if it has a host of its own.
	relative string
}

// Lookup tells an environment variable's value and whether it is set.
type Lookup func(name string) (string, bool)

// FromEnv reads the metadata. All that is wrong is reported at once, each with its variable. A name or resource that is
// set to nothing has its default; a list that is set to nothing is empty.
func FromEnv(lookup Lookup, public *url.URL) (Metadata, error) {
	m := Metadata{
		ResourceName:           text(lookup, EnvName, "MCP Server"),
		AuthorizationServers:   list(lookup, EnvAuthorizationServers),
		BearerMethodsSupported: list(lookup, EnvBearerMethods, "header"),
		ScopesSupported:        list(lookup, EnvScopes, "basic"),
	}
	errs := []error{m.resolve(text(lookup, EnvResource, "/mcp"), public)}
	for _, issuer := range m.AuthorizationServers {
		errs = append(errs, checkIssuer(issuer))
	}
	for _, method := range m.BearerMethodsSupported {
		if !slices.Contains([]string{"header", "body", "query"}, method) {
			errs = append(errs, fmt.Errorf(`%s: %q is not a way to send a token: want "header", "body" or "query"`, EnvBearerMethods, method))
		}
	}
	for _, scope := range m.ScopesSupported {
		if strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			errs = append(errs, fmt.Errorf("%s: %q is not a scope: it must be printable ASCII without spaces, quotes and backslashes; separate scopes with commas", EnvScopes, scope))
		}
	}
	return m, errors.Join(errs...)
}

func text(lookup Lookup, name, fallback string) string {
	if v, _ := lookup(name); strings.TrimSpace(v) != "" {
		return strings.TrimSpace(v)
	}
	return fallback
}

func list(lookup Lookup, name string, fallback ...string) []string {
	v, ok := lookup(name)
	if !ok {
		return fallback
	}
	var out []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(out, item) {
			out = append(out, item)
		}
	}
	return out
}

// resolve makes the resource absolute, as RFC 9728 wants it.
func (m *Metadata) resolve(resource string, public *url.URL) error {
	u, err := url.Parse(resource)
	if err != nil {
		return fmt.Errorf("%s: %q is not a URL or a path", EnvResource, resource)
	}
	if !u.IsAbs() && u.Host == "" {
		m.relative = resource
		u = public.ResolveReference(u)
	}
	m.Resource = u.String()
	return checkURL(EnvResource, resource, u)
}

// of is the metadata of a virtual server. Its resource lies below the gateway's, where that is the endpoint, and else at its path on the same host.
func (m Metadata) of(segment, name string) Metadata {
	u, err := url.Parse(m.Resource)
	if err != nil { // it was made of a URL
		return m
	}
	u.RawQuery = ""
	if !strings.HasSuffix(u.Path, wire.PathMCP) {
		u.Path, u.RawPath = wire.PathMCP, ""
	}
	u = u.JoinPath(segment)
	m.Resource = u.String()
	if m.relative != "" {
		m.relative = u.EscapedPath()
	}
	m.ResourceName += ": " + name
	return m
}

// checkIssuer applies what RFC 8414 demands of the identifier of an authorization server.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("%s: %q is not a URL", EnvAuthorizationServers, issuer)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return fmt.Errorf("%s: %q must not have a query", EnvAuthorizationServers, issuer)
	}
	return checkURL(EnvAuthorizationServers, issuer, u)
}

func checkURL(variable, given string, u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf(`%s: %q is not an absolute http or https URL`, variable, given)
	case strings.Contains(given, "#"):
		return fmt.Errorf("%s: %q must not have a fragment", variable, given)
	case u.User != nil:
		return fmt.Errorf("%s: must not have a user or a password", variable)
	}
	return nil
}
