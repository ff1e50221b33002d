package config

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
	"unicode/utf8"
)

const (
	maxCredential       = 16 << 10
	maxCredentialPrefix = 256
	// maxUserTitle and maxUserText bound what users are shown, in characters.
	maxUserTitle = 100
	maxUserText  = 1000
)

// credential checks where the credential is to come from and, for a server that will be called, fetches what can be fetched here.
func (c *compiler) credential(spec CredentialSpec, enabled bool, field string) *Credential {
	if c.oneOf(field, credentialKinds(spec), "needs one of env (an environment variable), file (a path), clientCredentials, tokenExchange, clientToken and perUser to say where the credential is",
		"env", "file", "clientCredentials", "tokenExchange", "clientToken", "perUser") {
		c.onlyOf(field, spec)
	}
	cred := &Credential{Header: "authorization", Prefix: "Bearer ", Value: NewSecret("")}
	switch {
	case spec.ClientCredentials != nil:
		cred.Kind = ClientCredentials
		cred.Client = c.oauthClient(TokenExchangeSpec{
			TokenURL: spec.ClientCredentials.TokenURL, Issuer: spec.ClientCredentials.Issuer,
			ClientID: spec.ClientCredentials.ClientID, ClientSecret: spec.ClientCredentials.ClientSecret,
			Scopes: spec.ClientCredentials.Scopes, Audience: spec.ClientCredentials.Audience,
		}, enabled, child(field, "clientCredentials"))
	case spec.TokenExchange != nil:
		cred.Kind = TokenExchange
		cred.Client = c.oauthClient(*spec.TokenExchange, enabled, child(field, "tokenExchange"))
	case spec.ClientToken:
		cred.Kind = ClientToken
	case spec.PerUser != nil:
		cred.Kind = PerUser
		c.perUser(cred, *spec.PerUser, child(field, "perUser"))
	default:
		c.staticCredential(cred, spec, enabled, field)
	}
	if spec.Discovery != nil {
		cred.Discovery = &Credential{Header: cred.Header, Prefix: cred.Prefix} // for perUser alone this is not Authorization: Bearer
		at := child(field, "discovery")
		cred.Discovery.Value, cred.Discovery.Env, cred.Discovery.File = c.secret(*spec.Discovery, enabled, at)
	}
	return cred
}

// staticCredential is one that stands in the environment or in a file.
func (c *compiler) staticCredential(cred *Credential, spec CredentialSpec, enabled bool, field string) {
	c.credentialHeader(cred, spec.Header, spec.Prefix, field)
	cred.Env, cred.File = spec.Env, c.resolve(spec.File)
	if spec.Env == "" || spec.File == "" {
		cred.Value = c.secretValue(cred.Env, cred.File, enabled, field)
	}
}

// credentialHeader is where the value is sent.
func (c *compiler) credentialHeader(cred *Credential, header string, prefix *string, field string) {
	if header != "" {
		cred.Header = strings.ToLower(header)
		if problem := headerNameProblem(cred.Header); problem != "" {
			c.field(child(field, "header"), "%q %s", header, problem)
		}
	}
	if cred.Header != "authorization" {
		cred.Prefix = ""
	}
	if prefix != nil {
		cred.Prefix = *prefix
		c.credentialPrefix(cred.Prefix, child(field, "prefix"))
	}
}

// perUser is one that users bring along. They read the texts.
func (c *compiler) perUser(cred *Credential, spec PerUserSpec, field string) {
	cred.Title, cred.Description = spec.Title, strings.TrimRight(spec.Description, "\n")
	if spec.Title == "" && !c.spoilt[child(field, "title")] {
		c.field(child(field, "title"), "is required: it tells users what is asked of them, as in \"Acme API key\"")
	}
	c.shownText(cred.Title, maxUserTitle, child(field, "title"))
	c.shownText(cred.Description, maxUserText, child(field, "description"))
	c.credentialHeader(cred, spec.Header, spec.Prefix, field)
}

func (c *compiler) shownText(text string, limit int, field string) {
	if utf8.RuneCountInString(text) > limit {
		c.field(field, "is longer than %d characters", limit)
	} else if strings.ContainsFunc(text, isControl) {
		c.field(field, "has a control character, such as a line break or a tab")
	}
}

// secret finds one secret value, and says where.
func (c *compiler) secret(spec SecretSpec, enabled bool, field string) (value Secret, env, file string) {
	given := []string{}
	if spec.Env != "" {
		given = append(given, "env")
	}
	if spec.File != "" {
		given = append(given, "file")
	}
	env, file = spec.Env, c.resolve(spec.File)
	if !c.oneOf(field, given, "needs env (an environment variable) or file (a path) to say where the secret is", "env", "file") {
		return NewSecret(""), env, file
	}
	return c.secretValue(env, file, enabled, field), env, file
}

func (c *compiler) secretValue(env, file string, enabled bool, field string) Secret {
	switch {
	case env != "":
		return c.credentialFromEnv(env, enabled, child(field, "env"))
	case file != "":
		return c.credentialFromFile(file, enabled, child(field, "file"))
	}
	return NewSecret("")
}

// credentialPrefix allows the one thing that a whole value may not have: a space at its end.
func (c *compiler) credentialPrefix(prefix, field string) {
	if len(prefix) > maxCredentialPrefix {
		c.field(field, "is longer than %d bytes", maxCredentialPrefix)
	} else if problem := headerValueProblem(strings.TrimRight(prefix, " ")); problem != "" {
		c.field(field, "%s", problem)
	}
}

func (c *compiler) credentialFromEnv(name string, enabled bool, field string) Secret {
	if strings.ContainsAny(name, "=\x00") {
		c.field(field, "is not the name of an environment variable")
		return NewSecret("")
	}
	if !enabled {
		return NewSecret("")
	}
	value, ok := c.env.LookupEnv(name)
	if !ok {
		c.field(field, "the environment variable %q is not set", name)
		return NewSecret("")
	}
	return c.credentialValue(value, "the environment variable", name, field)
}

func (c *compiler) credentialFromFile(path string, enabled bool, field string) Secret {
	if !enabled {
		return NewSecret("")
	}
	data, ok := c.readFile(path, maxCredential, "16 KiB", field)
	if !ok {
		return NewSecret("")
	}
	return c.credentialValue(string(data), "the file", path, field)
}

// credentialValue trims the line break that files and secret stores leave at the end, and checks the rest without showing it.
func (c *compiler) credentialValue(value, kind, name, field string) Secret {
	value = strings.TrimRight(value, "\r\n")
	if value == "" {
		c.field(field, "%s %q is empty", kind, name)
	} else if len(value) > maxCredential {
		c.field(field, "%s %q is larger than 16 KiB", kind, name)
	} else if problem := headerValueProblem(value); problem != "" {
		c.field(field, "the value in %s %q %s", kind, name, problem)
	}
	return NewSecret(value)
}

// tls fills in how an https server is verified.
func (c *compiler) tls(s *Server, spec *TLSSpec, field string) *TLS {
	if s.Scheme != "https" {
		if spec != nil && s.Scheme == "http" {
			c.field(field, "is only for an https url")
		}
		return nil
	}
	t := &TLS{ServerName: strings.TrimSuffix(s.Host, ".")}
	if spec == nil {
		return t
	}
	if spec.ServerName != "" {
		name, problem := parseHost(spec.ServerName)
		if problem != "" {
			c.field(child(field, "serverName"), "%s", problem)
		}
		t.ServerName = strings.TrimSuffix(name, ".")
	}
	t.CAFile = c.resolve(spec.CAFile)
	if t.CAFile != "" && s.Enabled {
		t.CA = c.certificates(t.CAFile, child(field, "caFile"))
	}
	return t
}

// certificates keeps the file's certificates only: whatever else lies in it, a private key for example, goes nowhere.
func (c *compiler) certificates(path, field string) []byte {
	rest, ok := c.readFile(path, maxFileSize, "4 MiB", field)
	if !ok {
		return nil
	}
	var kept []byte
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			c.field(field, "the file %q has a certificate that cannot be read: %s", path, strings.TrimPrefix(err.Error(), "x509: "))
			return nil
		}
		kept = append(kept, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if len(kept) == 0 {
		c.field(field, "the file %q has no PEM certificate", path)
	}
	return kept
}
