package config

import "time"

// File is the document as it is written: what the file mode reads and a controller writes. A value that is left out has its default.
//
// Every key of the file is a yaml tag here, and the decoder refuses all others. docs/reference/configuration.md describes them.
type File struct {
	Servers        []ServerSpec        `yaml:"servers"`
	VirtualServers []VirtualServerSpec `yaml:"virtualServers,omitempty"`
}

// VirtualServerSpec is one entry of virtualServers. It has everything that any of its lists chooses, of tools only those with the hints.
type VirtualServerSpec struct {
	Name        string     `yaml:"name"`
	Description string     `yaml:"description,omitempty"`
	Tools       []string   `yaml:"tools,omitempty"`
	Prompts     []string   `yaml:"prompts,omitempty"`
	Resources   []string   `yaml:"resources,omitempty"`
	Servers     []string   `yaml:"servers,omitempty"`
	Hints       *HintsSpec `yaml:"hints,omitempty"`
}

// HintsSpec is what a tool's annotations must say. What is left out may be either way.
type HintsSpec struct {
	ReadOnly    *bool `yaml:"readOnly,omitempty"`
	Destructive *bool `yaml:"destructive,omitempty"`
	Idempotent  *bool `yaml:"idempotent,omitempty"`
	OpenWorld   *bool `yaml:"openWorld,omitempty"`
}

// ServerSpec is one entry of servers.
type ServerSpec struct {
	Name              string              `yaml:"name"`
	URL               string              `yaml:"url"`
	Hostname          string              `yaml:"hostname,omitempty"`
	Enabled           *bool               `yaml:"enabled,omitempty"`
	ToolPrefix        string              `yaml:"toolPrefix,omitempty"`
	URIPrefix         bool                `yaml:"uriPrefix,omitempty"`
	Path              string              `yaml:"path,omitempty"`
	Cluster           string              `yaml:"cluster,omitempty"`
	Headers           map[string]string   `yaml:"headers,omitempty"`
	Credential        *CredentialSpec     `yaml:"credential,omitempty"`
	Timeout           *Duration           `yaml:"timeout,omitempty"`
	MaxCalls          *int                `yaml:"maxCalls,omitempty"`
	MaxConnections    *int                `yaml:"maxConnections,omitempty"`
	MaxBytesPerSecond *int                `yaml:"maxBytesPerSecond,omitempty"`
	Untrusted         bool                `yaml:"untrusted,omitempty"`
	TLS               *TLSSpec            `yaml:"tls,omitempty"`
	Tools             map[string]ToolSpec `yaml:"tools,omitempty"`
	Pin               map[string]string   `yaml:"pin,omitempty"`
}

// CredentialSpec names where a server's credential is found: a static one by env or file, any other by the key of its kind. There is no key for
// the credential itself.
type CredentialSpec struct {
	Header string  `yaml:"header,omitempty"`
	Prefix *string `yaml:"prefix,omitempty"`
	Env    string  `yaml:"env,omitempty"`
	File   string  `yaml:"file,omitempty"`

	ClientCredentials *ClientCredentialsSpec `yaml:"clientCredentials,omitempty"`
	TokenExchange     *TokenExchangeSpec     `yaml:"tokenExchange,omitempty"`
	ClientToken       bool                   `yaml:"clientToken,omitempty"`
	PerUser           *PerUserSpec           `yaml:"perUser,omitempty"`
	Discovery         *SecretSpec            `yaml:"discovery,omitempty"`
}

// SecretSpec names where one secret value is found.
type SecretSpec struct {
	Env  string `yaml:"env,omitempty"`
	File string `yaml:"file,omitempty"`
}

// ClientCredentialsSpec is about the token that the gateway gets for itself.
type ClientCredentialsSpec struct {
	TokenURL     string     `yaml:"tokenURL,omitempty"`
	Issuer       string     `yaml:"issuer,omitempty"`
	ClientID     string     `yaml:"clientID"`
	ClientSecret SecretSpec `yaml:"clientSecret"`
	Scopes       []string   `yaml:"scopes,omitempty"`
	Audience     string     `yaml:"audience,omitempty"`
}

// TokenExchangeSpec is about the token that the gateway gets for a caller.
type TokenExchangeSpec struct {
	TokenURL     string     `yaml:"tokenURL,omitempty"`
	Issuer       string     `yaml:"issuer,omitempty"`
	ClientID     string     `yaml:"clientID"`
	ClientSecret SecretSpec `yaml:"clientSecret"`
	Scopes       []string   `yaml:"scopes,omitempty"`
	Audience     string     `yaml:"audience,omitempty"`
	Resource     string     `yaml:"resource,omitempty"`
}

// PerUserSpec is about the credential that each user brings along.
type PerUserSpec struct {
	Title       string  `yaml:"title"`
	Description string  `yaml:"description,omitempty"`
	Header      string  `yaml:"header,omitempty"`
	Prefix      *string `yaml:"prefix,omitempty"`
}

// TLSSpec is about the certificate of an https server.
type TLSSpec struct {
	CAFile     string `yaml:"caFile,omitempty"`
	ServerName string `yaml:"serverName,omitempty"`
}

// ToolSpec holds what differs for one tool.
type ToolSpec struct {
	Timeout *Duration `yaml:"timeout,omitempty"`
}

// Duration is written as Go writes it: 30s, 1m30s, 250ms.
type Duration time.Duration

// MarshalYAML writes the duration as the decoder reads it.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }
