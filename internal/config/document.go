package config

import "time"

// File is the document as it is written: what the file mode reads and a controller writes. A value that is left out has its default.
//
// Every key of the file is a yaml tag here, and the decoder refuses all others. docs/reference/configuration.md describes them.
type File struct {
	Servers []ServerSpec `yaml:"servers"`
}

// ServerSpec is one entry of servers.
type ServerSpec struct {
	Name       string              `yaml:"name"`
	URL        string              `yaml:"url"`
	Hostname   string              `yaml:"hostname,omitempty"`
	Enabled    *bool               `yaml:"enabled,omitempty"`
	ToolPrefix string              `yaml:"toolPrefix,omitempty"`
	URIPrefix  bool                `yaml:"uriPrefix,omitempty"`
	Path       string              `yaml:"path,omitempty"`
	Headers    map[string]string   `yaml:"headers,omitempty"`
	Credential *CredentialSpec     `yaml:"credential,omitempty"`
	Timeout    *Duration           `yaml:"timeout,omitempty"`
	TLS        *TLSSpec            `yaml:"tls,omitempty"`
	Tools      map[string]ToolSpec `yaml:"tools,omitempty"`
}

// CredentialSpec names where a server's credential is found. There is no key for the credential itself.
type CredentialSpec struct {
	Header string  `yaml:"header,omitempty"`
	Prefix *string `yaml:"prefix,omitempty"`
	Env    string  `yaml:"env,omitempty"`
	File   string  `yaml:"file,omitempty"`
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
