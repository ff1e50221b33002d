package config

import (
	"net/url"
	"strings"
)

// maxOAuthValue bounds what goes into a request to an authorization server as one value.
const maxOAuthValue = 2048

// credentialKinds are the keys of a credential that each stand for a kind of their own, as far as they are given.
func credentialKinds(spec CredentialSpec) []string {
	var given []string
	for _, kind := range []struct {
		key   string
		given bool
	}{
		{"env", spec.Env != ""},
		{"file", spec.File != ""},
		{"clientCredentials", spec.ClientCredentials != nil},
		{"tokenExchange", spec.TokenExchange != nil},
		{"clientToken", spec.ClientToken},
		{"perUser", spec.PerUser != nil},
	} {
		if kind.given {
			given = append(given, kind.key)
		}
	}
	return given
}

// oneOf reports keys that exclude each other, or that none of them is there. What the decoder refused may have been meant to be the one.
func (c *compiler) oneOf(field string, given []string, none string, keys ...string) bool {
	switch {
	case len(given) == 1:
		return true
	case len(given) > 1:
		c.field(field, "has %s and %s; give one of them", strings.Join(given[:len(given)-1], ", "), given[len(given)-1])
		return false
	}
	for _, key := range keys {
		if c.spoilt[child(field, key)] {
			return false
		}
	}
	c.field(field, "%s", none)
	return false
}

// onlyOf refuses the keys that the kind has no use for.
func (c *compiler) onlyOf(field string, spec CredentialSpec) {
	if spec.Env == "" && spec.File == "" {
		text := "is for env and file only; a token always goes as Authorization: Bearer"
		if spec.PerUser != nil {
			text = "is for env and file only; perUser has a key of its own for it"
		}
		if spec.Header != "" {
			c.field(child(field, "header"), "%s", text)
		}
		if spec.Prefix != nil {
			c.field(child(field, "prefix"), "%s", text)
		}
	}
	if spec.Discovery != nil && spec.TokenExchange == nil && !spec.ClientToken && spec.PerUser == nil {
		c.field(child(field, "discovery"), "is for tokenExchange, clientToken and perUser only; any other credential reads the lists too")
	}
}

func (c *compiler) oauthClient(spec TokenExchangeSpec, enabled bool, field string) *OAuthClient {
	client := &OAuthClient{
		TokenURL: spec.TokenURL, Issuer: spec.Issuer, ID: spec.ClientID,
		Scopes: spec.Scopes, Audience: spec.Audience, Resource: spec.Resource,
	}
	c.authorizationServer(spec, field)
	if spec.ClientID == "" {
		c.field(child(field, "clientID"), "is required")
	}
	c.oauthValue(spec.ClientID, child(field, "clientID"))
	c.oauthValue(spec.Audience, child(field, "audience"))
	client.Secret, client.SecretEnv, client.SecretFile = c.secret(spec.ClientSecret, enabled, child(field, "clientSecret"))
	for i, scope := range spec.Scopes {
		if !isScope(scope) {
			c.field(index(child(field, "scopes"), i), "%q is not one scope: it must have no spaces, quotes, backslashes or characters beyond ASCII", scope)
		}
	}
	if spec.Resource != "" {
		u, err := url.Parse(spec.Resource)
		if err != nil || !u.IsAbs() || strings.Contains(spec.Resource, "#") {
			c.field(child(field, "resource"), "must be an absolute URI without a fragment, as in https://weather.example.com/mcp")
		}
		c.oauthValue(spec.Resource, child(field, "resource"))
	}
	return client
}

// authorizationServer checks the one address of the two. Messages do not repeat it: a password may be in it.
func (c *compiler) authorizationServer(spec TokenExchangeSpec, field string) {
	tokenURL, issuer := child(field, "tokenURL"), child(field, "issuer")
	switch {
	case spec.TokenURL != "" && spec.Issuer != "":
		c.field(field, "has tokenURL and issuer; give one of them")
	case spec.TokenURL != "":
		c.httpURL(spec.TokenURL, tokenURL, true)
	case spec.Issuer != "":
		c.httpURL(spec.Issuer, issuer, false)
	case !c.spoilt[tokenURL] && !c.spoilt[issuer]:
		c.field(field, "needs tokenURL (where tokens are had) or issuer (whose metadata name that)")
	}
}

func (c *compiler) httpURL(raw, field string, query bool) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.field(field, "is not a URL as in https://idp.example.com/realms/mcp")
	case u.User != nil:
		c.field(field, "must not have user or password; use clientID and clientSecret")
	case strings.Contains(raw, "#"):
		c.field(field, "must not have a fragment")
	case !query && (u.RawQuery != "" || u.ForceQuery):
		c.field(field, "must not have a query")
	}
	c.oauthValue(raw, field)
}

func (c *compiler) oauthValue(value, field string) {
	if len(value) > maxOAuthValue {
		c.field(field, "is longer than %d bytes", maxOAuthValue)
	} else if strings.ContainsFunc(value, isControl) {
		c.field(field, "has a control character, such as a line break or a tab")
	}
}

// isScope is the scope-token of RFC 6749.
func isScope(s string) bool {
	return s != "" && len(s) <= maxOAuthValue && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '"' || r == '\\'
	})
}
