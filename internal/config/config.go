package config

import (
	"net"
	"reflect"
	"strconv"
	"time"
)

// DefaultTimeout is the time that one call may take where the file says nothing.
const DefaultTimeout = 5 * time.Minute

// DefaultMaxCalls is how many calls may be open with one server at once where the file says nothing: far more than most can do, and far fewer than would
// leave the other servers without connections of clients.
const DefaultMaxCalls = 10_000

// DefaultPath is the path of a server whose URL has none.
const DefaultPath = "/mcp"

// Config is a whole valid configuration. It is shared between goroutines: nobody modifies it, or anything it points to.
type Config struct {
	// Servers stand in the order of the file, which decides who keeps a name that two would give.
	Servers []Server
	// VirtualServers stand in the order of the file. No two have one path.
	VirtualServers []VirtualServer
}

// Server is one MCP server behind the gateway, with every default filled in.
type Server struct {
	// Name is a DNS label, or two as "namespace/name".
	Name string

	// Scheme is "http" or "https".
	Scheme string
	// Host is a lower-case host name or an IP address; an IPv6 address has no brackets.
	Host string
	Port uint16
	// Path is as the server gets it, percent-encoded, with its leading slash.
	Path string
	// Hostname is the :authority that the server gets.
	Hostname string
	// Cluster is the server's name in an Envoy that has its clusters from somebody else; empty means that such an Envoy cannot call it.
	Cluster string

	Enabled    bool
	ToolPrefix string
	// URIPrefix says that this server's resource URIs carry the server's name.
	URIPrefix bool

	// Headers are sent with every request, in order of their lower-case names.
	Headers []Header
	// Credential is nil for a server that needs none.
	Credential *Credential

	// Timeout is that of one call; zero means none.
	Timeout time.Duration
	// ToolTimeouts holds the calls that differ, by the server's own tool name.
	ToolTimeouts map[string]time.Duration
	// Pins holds the hashes of the definitions that tools must have to be offered, as "sha256:" and 64 hexadecimal digits, by the server's own tool name.
	Pins map[string]string

	// MaxCalls is how many calls may be open with the server at once, for each Envoy and each broker; zero means no limit.
	MaxCalls uint32
	// MaxConnections is how many connections each Envoy may have to the server; calls beyond that wait for one. Zero means no limit.
	MaxConnections uint32
	// MaxBytesPerSecond is how many bytes of the server's answers each Envoy, and each broker, passes on in a second; zero means no limit.
	MaxBytesPerSecond uint32
	// Untrusted says that no answer of the server's may reach a client unread.
	Untrusted bool

	// TLS is nil for http and never nil for https.
	TLS *TLS
}

// Header is a request header with a value that is not secret. Its name is in lower case.
type Header struct {
	Name  string
	Value string
}

// CredentialKind tells where a server's credential comes from.
type CredentialKind uint8

// The kinds of credentials.
const (
	// StaticCredential is one value, for all callers and for good.
	StaticCredential CredentialKind = iota
	// ClientCredentials is a token that the gateway gets for itself, for all callers (RFC 6749, section 4.4).
	ClientCredentials
	// TokenExchange is a token that each caller's own token is exchanged for (RFC 8693).
	TokenExchange
	// ClientToken is each caller's own token.
	ClientToken
	// PerUser is what each user has given to the gateway for this server.
	PerUser
)

// Credential is what a server gets in one request header, and where it was found.
type Credential struct {
	Kind CredentialKind
	// Header is in lower case.
	Header string
	// Prefix stands before the value, with its trailing space, as in "Bearer ".
	Prefix string
	// Value is empty when the server is disabled, and always where the kind is not static.
	Value Secret
	// Env or File, whichever is set, names the source; File is resolved against the configuration file's folder.
	Env  string
	File string
	// Client is set for ClientCredentials and TokenExchange.
	Client *OAuthClient
	// Title and Description tell users what is asked of them, and where to get it; for PerUser only.
	Title, Description string
	// Discovery is what the server's lists are read with where calls carry a token of the caller's, and nil where the kind's own way is used:
	// the client's own token for TokenExchange, none for ClientToken and PerUser. It is static.
	Discovery *Credential
}

// OAuthClient is what the gateway is to an authorization server, and what it asks it for.
type OAuthClient struct {
	// TokenURL is where tokens are had. It is empty where Issuer is given, whose metadata name it.
	TokenURL string
	Issuer   string
	ID       string
	// Secret is empty when the server is disabled.
	Secret Secret
	// SecretEnv or SecretFile names the source.
	SecretEnv  string
	SecretFile string
	Scopes     []string
	Audience   string
	Resource   string
}

// PerCaller tells whether the server's calls carry a credential that belongs to the caller.
func (c *Credential) PerCaller() bool {
	return c != nil && (c.Kind == TokenExchange || c.Kind == ClientToken || c.Kind == PerUser)
}

// TLS tells how a server's certificate is verified. There is no way to leave that out.
type TLS struct {
	// ServerName is what the certificate must be for.
	ServerName string
	// CAFile is resolved against the configuration file's folder; empty means the system's roots.
	CAFile string
	// CA holds the certificates of CAFile as PEM and nothing else of it; it is empty when the server is disabled.
	CA []byte
}

// Address is the server's "host:port".
func (s *Server) Address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// URL is where the server is called. It always names the port.
func (s *Server) URL() string {
	return s.Scheme + "://" + s.Address() + s.Path
}

// TimeoutOf is the time that a call of the tool may take, by the server's own name for it; zero means no limit.
func (s *Server) TimeoutOf(tool string) time.Duration {
	if d, ok := s.ToolTimeouts[tool]; ok {
		return d
	}
	return s.Timeout
}

// HeaderValue is the whole value of the credential's header.
func (c *Credential) HeaderValue() Secret {
	return NewSecret(c.Prefix + c.Value.Reveal())
}

// Equal tells whether both mean the same: the same servers in the same order, with the same credentials and certificates, and the same virtual servers.
func (c *Config) Equal(other *Config) bool {
	if c == nil || other == nil {
		return c == other
	}
	// Two readings of one file are built by one function, so that nil and empty never stand for the same thing; and a new field cannot be forgotten here.
	return reflect.DeepEqual(c, other)
}
