package app

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// The environment variables that the command line reads.
const (
	envSessionKey = "MCP_GATEWAY_SESSION_KEY"
	envPort       = "GATEWAY_LOCAL_PORT_HTTP_MCP"
)

// settings are the values of the flags.
type settings struct {
	configFile         string
	controller         bool
	routerAddress      string
	brokerAddress      string
	adminAddress       string
	consoleClient      string
	xdsAddress         string
	moduleAddress      string
	version            string // of the program
	controlPlane       string
	publicURL          string
	publicGiven        bool
	allowedOrigins     []string
	maxRequestBytes    int64
	pageSize           int
	toolSearch         int
	sessionKeyFile     string
	authorizerKeyFile  string
	authorizerIssuer   string
	sessionMaxAge      time.Duration
	sessionIdleTimeout time.Duration
	maxSessions        int
	drainTimeout       time.Duration
	shutdownDelay      time.Duration
	logLevel           string
	logFormat          string
	envoy              envoySettings
	kube               kubeSettings
	consent            consentSettings
	replicas           replicaSettings
	page               pageSettings
}

// envoySettings are those that concern Envoy's side.
type envoySettings struct {
	listen    string
	router    string
	broker    string
	xds       string
	admin     string
	nodeID    string
	accessLog string
	auditLog  string
	reports   bool
	headers   bool
	policies  string
	values    string
	systemCA  string
}

const (
	flagConfig  = "mcp-gateway-config"
	flagRouter  = "mcp-router-address"
	flagBroker  = "mcp-broker-public-address"
	flagAdmin   = "admin-address"
	flagConsole = "console-client-id"
	flagXDS     = "xds-address"
	flagModule  = "mcp-router-module-address"
	flagPublic  = "public-url"
	flagKey     = "session-key-file"
	flagValues  = "policies"
	flagHeaders = "route-from-headers"
	flagGrants  = "trusted-authorizer-key-file"
)

// serving adds the flags of everything that serves.
func (s *settings) serving(f *pflag.FlagSet) {
	f.StringSliceVar(&s.allowedOrigins, "allowed-origins", nil, "web `origins` whose pages may call, like https://app.example.com, beside those of this machine; separated by commas")
	f.Int64Var(&s.maxRequestBytes, "max-request-bytes", router.DefaultMaxBody, "the largest request body in `bytes`")
	f.IntVar(&s.pageSize, "page-size", broker.DefaultPageSize, "the most `items` in one page of a list")
	f.IntVar(&s.toolSearch, "tool-search-threshold", 0, "the most `tools` that a client is shown: one that may have more gets tools to search for them and to call them; 0 means that all are shown")
	f.StringVar(&s.sessionKeyFile, flagKey, "", "`file` with the secret, at least 32 bytes, that session tokens are signed with; replicas share it. Or the environment variable "+envSessionKey+"; with neither, a key is made for this run")
	f.DurationVar(&s.sessionMaxAge, "session-max-age", session.DefaultMaxAge, "the longest life of a client's session")
	f.DurationVar(&s.sessionIdleTimeout, "session-idle-timeout", session.DefaultMaxIdle, "how long a client's session may rest before it ends")
	f.IntVar(&s.maxSessions, "max-sessions", session.DefaultMax, "the most `sessions` of clients that this process knows at once, those of other replicas that it has met included; what would be one more is answered with status 503")
	f.StringVar(&s.authorizerKeyFile, flagGrants, "", "`file` with the public key, as PEM, of a policy engine of yours that says what a caller may have in the signed header "+wire.HeaderAuthorized+". With a key, callers without that header may have nothing")
	f.StringVar(&s.authorizerIssuer, "trusted-authorizer-issuer", "", "the `issuer` that the header of that policy engine must name; empty means any")
	s.replicas.flags(f)
	s.consent.flags(f)
	f.DurationVar(&s.drainTimeout, "drain-timeout", 10*time.Second, "how long calls in flight may still take once the process is told to stop")
	f.StringVar(&s.adminAddress, flagAdmin, "127.0.0.1:8090", "`address` for the status page, /healthz, /readyz, /status and /metrics: host:port or unix:/path. Whoever reaches it may read all of them")
	f.StringVar(&s.consoleClient, flagConsole, "", "client `id` with which the page's console logs in, a public client at the issuer: empty means that it registers itself, which not every issuer lets pages do")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&s.logFormat, "log-format", "text", "text or json")
	s.envoy.shared(f)
}

// shared adds the flags that say what Envoy is told, whoever tells it.
func (e *envoySettings) shared(f *pflag.FlagSet) {
	f.StringVar(&e.values, flagValues, "", "`file` with policy values: whose tokens are believed, who may call what and how often. It is read again whenever it changes; empty means that there are none")
	f.StringVar(&e.policies, "envoy-policies", "", "`file` with Envoy filters of your own, which run behind the router")
	f.StringVar(&e.accessLog, "envoy-access-log", "", "`file` for Envoy's access log, such as /dev/stdout; empty means none")
	f.StringVar(&e.auditLog, "envoy-audit-log", "", "`file` in which Envoy notes who used which tool, prompt or resource and what became of it, such as /dev/stdout; empty means none")
	f.BoolVar(&e.reports, "envoy-call-reports", false, "be told of each call that has ended, by Envoy or by the router inside of it, of which this process makes histograms and, where the OTEL_* variables name an endpoint, traces (default: true where they do)")
	f.BoolVar(&e.headers, flagHeaders, false, "have Envoy show the router by ext_proc the headers of calls of "+wire.Revision20260728+" first, which are decided by these alone where nothing is to be changed and the server compares headers with the body; whom Envoy then refuses gets an error without an id")
	f.StringVar(&e.systemCA, "envoy-system-ca", "", "`file` with the root certificates that Envoy trusts where a server has none of its own (default: the machine's)")
}

// addresses adds the flags of where Envoy listens and finds the gateway.
func (e *envoySettings) addresses(f *pflag.FlagSet) {
	f.StringVar(&e.listen, "envoy-listen-address", "127.0.0.1:8888", "`address:port` on which Envoy serves the endpoint")
	f.StringVar(&e.router, "envoy-router-address", "", "`address` at which Envoy finds the router (default: --"+flagRouter+" on this machine)")
	f.StringVar(&e.broker, "envoy-broker-address", "", "`address` at which Envoy finds the broker (default: --"+flagBroker+" on this machine)")
}

// listening adds the flags of the router's and the broker's own addresses.
func (s *settings) listening(f *pflag.FlagSet) {
	f.StringVar(&s.routerAddress, flagRouter, "0.0.0.0:50051", "`address` of the router, Envoy's external processor: host:port or unix:/path. It has no protection of its own: let only Envoy reach it")
	f.StringVar(&s.brokerAddress, flagBroker, "0.0.0.0:8080", "`address` of the broker: host:port or unix:/path. Let only Envoy reach it")
	f.DurationVar(&s.shutdownDelay, "shutdown-delay", 0, "how long the process goes on serving once it is told to stop, no longer ready, until those who send requests here have heard of it")
}

// check finds mistakes in the flags that need no look at the world.
func (s *settings) check() error {
	errs := []error{
		checkAddress(flagRouter, s.routerAddress), checkAddress(flagBroker, s.brokerAddress), checkAddress(flagAdmin, s.adminAddress),
	}
	if s.xdsAddress != "" {
		errs = append(errs, checkAddress(flagXDS, s.xdsAddress))
	}
	if s.moduleAddress != "" {
		errs = append(errs, s.checkModule())
	}
	positive := func(flag string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: must be more than 0", flag))
		}
	}
	positive("max-request-bytes", s.maxRequestBytes > 0)
	positive("page-size", s.pageSize > 0)
	positive("session-max-age", s.sessionMaxAge > 0)
	positive("session-idle-timeout", s.sessionIdleTimeout > 0)
	positive("max-sessions", s.maxSessions > 0)
	positive("drain-timeout", s.drainTimeout > 0)
	if s.toolSearch < 0 {
		errs = append(errs, errors.New("--tool-search-threshold: must not be negative"))
	}
	if s.shutdownDelay < 0 {
		errs = append(errs, errors.New("--shutdown-delay: must not be negative"))
	}
	errs = append(errs, s.checkOrigins(), s.checkControlPlane(), s.replicas.check(s.brokerAddress), s.page.check())
	if _, err := s.public(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// moduleBuffer is what Envoy has to hold of a connection beside a request's body, which waits in Envoy for the router module.
const moduleBuffer = 1 << 20

func (s *settings) checkModule() error {
	if _, ok := socketPath(s.moduleAddress); !ok {
		return fmt.Errorf("--%s %q: want unix:/path, since the keys of sessions go over it", flagModule, s.moduleAddress)
	}
	if s.xdsAddress == "" {
		return fmt.Errorf("--%s needs --%s: an Envoy that nobody feeds asks by ext_proc", flagModule, flagXDS)
	}
	return checkAddress(flagModule, s.moduleAddress)
}

// ownTools are the names of the tools that the gateway has itself.
func (s *settings) ownTools() []string {
	if s.toolSearch == 0 {
		return nil
	}
	return []string{wire.ToolSearch, wire.ToolCall}
}

// checkOrigins brings the origins to the form in which browsers send them.
func (s *settings) checkOrigins() error {
	var errs []error
	for i, origin := range s.allowedOrigins {
		s.allowedOrigins[i] = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(origin), "/"))
		errs = append(errs, checkOrigin(s.allowedOrigins[i]))
	}
	return errors.Join(errs...)
}

// checkOrigin refuses what could never equal a browser's Origin header.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || strings.ContainsAny(origin, "#*") {
		return fmt.Errorf("--allowed-origins %q: want scheme://host or scheme://host:port, without a path or a wildcard", origin)
	}
	return nil
}

// public is the endpoint's URL as clients know it, without a path.
func (s *settings) public() (*url.URL, error) {
	u, err := url.Parse(s.publicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("--%s %q: want a URL like https://mcp.example.com", flagPublic, s.publicURL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("--%s: must have nothing but scheme, host and port; the endpoint is always at /mcp", flagPublic)
	}
	u.Path = ""
	return u, nil
}

// key is the configured session key, or one for this run.
func (s *settings) key(lookup func(string) (string, bool)) (key session.Key, generated bool, err error) {
	secret, source := []byte(nil), ""
	if v, _ := lookup(envSessionKey); v != "" {
		secret, source = []byte(v), envSessionKey
	}
	if s.sessionKeyFile != "" {
		if source != "" {
			return key, false, usagef("both --%s and %s are given: keep one of them", flagKey, envSessionKey)
		}
		source = "--" + flagKey
		if secret, err = os.ReadFile(s.sessionKeyFile); err != nil {
			return key, false, fmt.Errorf("%s: %w", source, err)
		}
	}
	if source == "" {
		return session.GenerateKey(), true, nil
	}
	key, err = session.NewKey([]byte(strings.TrimRight(string(secret), "\r\n")))
	if err != nil {
		return key, false, fmt.Errorf("%s: %w", source, err)
	}
	return key, false, nil
}

// envoyOptions are the settings as package xds wants them.
func (s *settings) envoyOptions() (xds.Options, error) {
	o := xds.Options{
		Listen: s.envoy.listen, Router: s.envoy.router, Broker: s.envoy.broker, XDS: s.envoy.xds, Admin: s.envoy.admin, NodeID: s.envoy.nodeID,
		HeadersFirst: s.envoy.headers,
		ReportCalls:  s.envoy.reports || telemetry.SendsOTLP(os.LookupEnv),
		Module:       s.moduleAddress, ModuleVersion: s.version, AllowedOrigins: s.allowedOrigins, UseRemoteAddress: true, AccessLog: s.envoy.accessLog, AuditLog: s.envoy.auditLog, SystemCA: s.envoy.systemCA,
	}
	if o.Router == "" {
		o.Router = reachable(s.routerAddress)
	}
	if o.Broker == "" {
		o.Broker = reachable(s.brokerAddress)
	}
	if s.moduleAddress != "" && s.maxRequestBytes+moduleBuffer > xds.DefaultBufferLimit {
		o.BufferLimit = uint32(min(s.maxRequestBytes+moduleBuffer, math.MaxUint32))
	}
	if o.SystemCA == "" {
		o.SystemCA = findSystemCA(os.Getenv, os.Stat)
	}
	if s.envoy.policies == "" {
		return o, nil
	}
	file, err := os.ReadFile(s.envoy.policies)
	if err == nil {
		o.Policies, err = xds.ParsePolicies(file)
	}
	if err != nil {
		return o, fmt.Errorf("--envoy-policies %q: %w", s.envoy.policies, err)
	}
	return o, nil
}

// findSystemCA is the file with the machine's root certificates, empty if it is at none of the usual places.
func findSystemCA(getenv func(string) string, stat func(string) (os.FileInfo, error)) string {
	for _, path := range []string{
		getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
		"/etc/pki/tls/certs/ca-bundle.crt",                  // older ones of these
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/ssl/cert.pem",                                 // macOS, BSD
	} {
		if path == "" {
			continue
		}
		if info, err := stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
