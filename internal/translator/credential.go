package translator

import (
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// credential makes the entry's credential of the fields that the MCPServer has for it; nil if there are none, or if a Secret is missing. That only one of them
// may be given the API server has seen to, and package config sees to it again.
func credential(server *v1alpha1.MCPServer, secrets []*attached) *config.CredentialSpec {
	files := map[string]config.SecretSpec{}
	for _, secret := range secrets {
		files[secret.field] = config.SecretSpec{File: secret.path(CredentialFolder)}
	}
	spec := &server.Spec
	if spec.CredentialRef == nil && spec.OAuth == nil && spec.PerUser == nil || len(files) < len(secretRefs(server)) {
		return nil
	}
	var c config.CredentialSpec
	if ref := spec.CredentialRef; ref != nil {
		c.Header, c.Prefix, c.File = headerOf(ref.Header), ref.Prefix, files["spec.credentialRef"].File
	}
	if spec.OAuth != nil {
		oauth(&c, spec.OAuth, files)
	}
	if user := spec.PerUser; user != nil {
		c.PerUser = &config.PerUserSpec{Title: user.Title, Description: user.Description, Header: headerOf(user.Header), Prefix: user.Prefix}
		c.Discovery = discovery(user.DiscoveryRef, files["spec.perUser.discoveryRef"])
	}
	return &c
}

// getsCallerTokens tells whether somebody whom the MCPServer names is sent the tokens that callers show the gateway.
func getsCallerTokens(server *v1alpha1.MCPServer) bool {
	o := server.Spec.OAuth
	return o != nil && (o.ClientToken || o.TokenExchange != nil)
}

func (x *index) mayGetCallerTokens(namespace string) bool {
	return slices.Contains(x.callerTokens, "*") || slices.Contains(x.callerTokens, namespace)
}

func oauth(c *config.CredentialSpec, o *v1alpha1.OAuth, files map[string]config.SecretSpec) {
	if o.ClientCredentials != nil {
		s := &o.ClientCredentials.AuthorizationServer
		c.ClientCredentials = &config.ClientCredentialsSpec{
			TokenURL: s.TokenURL, Issuer: s.Issuer, ClientID: s.ClientID, Scopes: scopes(s.Scopes), Audience: s.Audience,
			ClientSecret: files["spec.oauth.clientCredentials.clientSecretRef"],
		}
	}
	if e := o.TokenExchange; e != nil {
		c.TokenExchange = &config.TokenExchangeSpec{
			TokenURL: e.TokenURL, Issuer: e.Issuer, ClientID: e.ClientID, Scopes: scopes(e.Scopes), Audience: e.Audience, Resource: e.Resource,
			ClientSecret: files["spec.oauth.tokenExchange.clientSecretRef"],
		}
	}
	c.ClientToken = o.ClientToken
	c.Discovery = discovery(o.DiscoveryRef, files["spec.oauth.discoveryRef"])
}

func discovery(ref *v1alpha1.SecretReference, file config.SecretSpec) *config.SecretSpec {
	if ref == nil {
		return nil
	}
	return &file
}

func scopes(list []v1alpha1.Scope) []string {
	var out []string
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

// headerOf leaves out what is the default anyway.
func headerOf(name v1alpha1.HeaderName) string {
	if strings.EqualFold(string(name), "Authorization") {
		return ""
	}
	return string(name)
}

// credentialSourceOf tells where the value of a field within an entry's credential comes from, and which reason a problem of it is.
func credentialSourceOf(server *v1alpha1.MCPServer, field string) (reason, source string) {
	kind, rest, _ := strings.Cut(field, ".")
	switch {
	case field == "file":
		return v1alpha1.ReasonInvalidCredential, "spec.credentialRef"
	case kind == "discovery" && server.Spec.PerUser != nil:
		return v1alpha1.ReasonInvalidCredential, "spec.perUser.discoveryRef"
	case kind == "discovery":
		return v1alpha1.ReasonInvalidCredential, "spec.oauth.discoveryRef"
	case strings.HasPrefix(rest, "clientSecret"):
		return v1alpha1.ReasonInvalidCredential, "spec.oauth." + kind + ".clientSecretRef"
	case kind == "clientCredentials" || kind == "tokenExchange" || kind == "clientToken":
		return v1alpha1.ReasonInvalid, "spec.oauth." + field
	case kind == "perUser":
		return v1alpha1.ReasonInvalid, "spec." + field
	case field == "":
		return v1alpha1.ReasonInvalid, "spec.credentialRef, spec.oauth and spec.perUser"
	}
	return v1alpha1.ReasonInvalid, "spec.credentialRef." + field
}
