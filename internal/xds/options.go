package xds

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// DefaultBufferLimit is how many bytes of one request or answer Envoy holds for filters that wait for more of it.
const DefaultBufferLimit = 8 << 20

// DefaultNodeID is the name by which an Envoy introduces itself where the options give none.
const DefaultNodeID = "mcp-gateway"

// Options are the gateway's settings as far as they concern Envoy. Addresses are "host:port" or "unix:/path".
type Options struct {
	// Listen is the "address:port" of the public endpoint; the address is an IP address.
	Listen string
	// Router, Broker and XDS are where Envoy finds the ext_proc router, the broker and the configuration server.
	Router string
	Broker string
	XDS    string
	// Module is the Unix socket where the router module inside of Envoy finds what it needs. With it, Envoy has that in the place of ext_proc.
	Module string
	// ModuleVersion is the version that the router module must be of; empty means any.
	ModuleVersion string
	// Admin is where Envoy's admin interface listens: a Unix socket or a loopback address. Empty means that there is none.
	Admin string
	// NodeID is the name by which Envoy introduces itself to the configuration server. Empty means [DefaultNodeID].
	NodeID string

	// AllowedOrigins are browser origins like "https://inspector.example.com" that may use the endpoint, besides those on loopback.
	AllowedOrigins []string
	// UseRemoteAddress is for an Envoy at the edge: it believes no X-Forwarded-For of a client.
	UseRemoteAddress bool
	// BufferLimit is per request and answer, in bytes. Zero means [DefaultBufferLimit].
	BufferLimit uint32
	// AccessLog is a file's path, such as "/dev/stdout". Empty means no access log.
	AccessLog string
	// AuditLog is a file's path like AccessLog, with a line for each use of a tool, prompt or resource. Empty means no such log.
	AuditLog string
	// ReportCalls has Envoy tell the router's address of every call that has ended.
	ReportCalls bool
	// HeadersFirst shows the router the headers of calls of the revisions without sessions before their bodies, which it may not want to see.
	HeadersFirst bool
	// SystemCA is the file with the machine's trusted roots as PEM. It is needed as soon as an https server has no CA of its own.
	SystemCA string
	// Values are the policy values; nil means none, and none of their filters.
	Values *PolicyValues
	// Policies are the user's own filters and clusters; nil means none. They run behind the policy values.
	Policies *Policies
}

// Cluster is one MCP server as Envoy sees it. The name is the label that leads to it.
type Cluster struct {
	Name   string
	Server config.Server
	// Token is what the server gets of all callers alike where its credential is config.ClientCredentials; empty as long as there is none.
	Token config.Secret
}

func (o Options) withDefaults() Options {
	if o.NodeID == "" {
		o.NodeID = DefaultNodeID
	}
	if o.BufferLimit == 0 {
		o.BufferLimit = DefaultBufferLimit
	}
	return o
}

// address is a parsed "host:port" or "unix:/path".
type address struct {
	pipe string
	host string
	port uint32
}

// isIP tells whether Envoy needs no resolver for the address.
func (a address) isIP() bool {
	_, err := netip.ParseAddr(a.host)
	return a.pipe != "" || err == nil
}

func parseAddress(what, s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return address{}, fmt.Errorf("%s %q: a Unix socket needs an absolute path, as in \"unix:/run/gateway.sock\"", what, s)
		}
		return address{pipe: path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return address{}, fmt.Errorf("%s %q: want \"host:port\" or \"unix:/path\"", what, s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return address{}, fmt.Errorf("%s %q: the port must be a number from 1 to 65535", what, s)
	}
	return address{host: host, port: uint32(n)}, nil
}

// parseBind parses an address that Envoy itself listens on, which it cannot look up.
func parseBind(what, s string) (address, error) {
	a, err := parseAddress(what, s)
	if err == nil && !a.isIP() {
		err = fmt.Errorf("%s %q: Envoy listens on an IP address, not on a name", what, s)
	}
	return a, err
}

// parseAdmin parses the admin interface's address. Whoever reaches it can stop Envoy, so it stays on the machine.
func parseAdmin(s string) (address, error) {
	if s == "" {
		return address{}, nil
	}
	a, err := parseBind("admin address", s)
	if err != nil || a.pipe != "" {
		return a, err
	}
	if ip, _ := netip.ParseAddr(a.host); !ip.IsLoopback() {
		return a, fmt.Errorf("admin address %q: must be a Unix socket or a loopback address, since the admin interface has no protection of its own", s)
	}
	return a, nil
}

// checkOrigin refuses what could never equal a browser's Origin header.
func checkOrigin(origin string) error {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || scheme == "" || rest == "" || strings.ContainsAny(rest, "/?#*, ") || origin != strings.ToLower(origin) {
		return fmt.Errorf("allowed origin %q: want \"scheme://host\" or \"scheme://host:port\" in lower case, without a path or a wildcard", origin)
	}
	return nil
}

// endpoints are the parsed addresses of the gateway's own parts.
type endpoints struct {
	listen, router, broker, xds, admin, module address
}

func (o Options) endpoints() (endpoints, error) {
	var e endpoints
	var errs [6]error
	e.listen, errs[0] = parseBind("listen address", o.Listen)
	if e.listen.pipe != "" {
		errs[0] = fmt.Errorf("listen address %q: want \"address:port\"", o.Listen)
	}
	e.router, errs[1] = parseAddress("router address", o.Router)
	e.broker, errs[2] = parseAddress("broker address", o.Broker)
	e.admin, errs[3] = parseAdmin(o.Admin)
	if o.XDS != "" {
		e.xds, errs[4] = parseAddress("xds address", o.XDS)
	}
	if o.Module != "" {
		if e.module, errs[5] = parseAddress("module address", o.Module); e.module.pipe == "" && errs[5] == nil {
			errs[5] = fmt.Errorf("module address %q: want a Unix socket, \"unix:/path\": the keys of sessions go over it", o.Module)
		}
	}
	err := errors.Join(errs[:]...)
	for _, origin := range o.AllowedOrigins {
		err = errors.Join(err, checkOrigin(origin))
	}
	return e, err
}
