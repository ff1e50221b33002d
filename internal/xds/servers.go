package xds

import (
	"fmt"
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// addServer adds the cluster of one MCP server, with its last filters, and the secret that they put on.
func (b *builder) addServer(r *Resources, in Cluster) {
	s := in.Server
	c := b.cluster(in.Name, address{host: s.Host, port: uint32(s.Port)})
	c.CircuitBreakers, c.OutlierDetection = limited(s), ejecting()
	c.PerConnectionBufferLimitBytes = wrapperspb.UInt32(b.connectionBuffer())
	options := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: seconds(idleSeconds)},
		UpstreamProtocolOptions:   http1Only(),
		HttpFilters:               b.finish(in),
	}
	if s.Scheme == "https" {
		options.UpstreamProtocolOptions = http1Or2()
		c.TransportSocket = b.transportSocket(s)
	}
	c.TypedExtensionProtocolOptions = b.speaks(options)
	r.Clusters = append(r.Clusters, c)
	if isInjected(s.Credential) {
		r.Secrets = append(r.Secrets, b.secret(in))
	}
}

// answerBuffer is how many bytes of an answer Envoy reads before others get their turn, and holds for a client that takes them slowly. A flood of megabytes at
// a time would keep all other calls of its worker waiting, and so would one for a client that does not read. No answer has to fit: it goes on in pieces.
const answerBuffer = 256 << 10

func (b *builder) connectionBuffer() uint32 { return min(answerBuffer, b.options.BufferLimit) }

// limited bounds what a server may hold: calls, as many that wait for a connection, and connections.
func limited(s config.Server) *clusterv3.CircuitBreakers {
	b := unlimited()
	t := b.GetThresholds()[0]
	if s.MaxCalls > 0 {
		t.MaxRequests, t.MaxPendingRequests = wrapperspb.UInt32(s.MaxCalls), wrapperspb.UInt32(s.MaxCalls)
	}
	if s.MaxConnections > 0 {
		t.MaxConnections = wrapperspb.UInt32(s.MaxConnections)
	}
	return b
}

// The addresses of a server that has several are left alone for a while when one of them lets so many calls fail in a row. At least half are always used, and so
// the only one is.
const (
	ejectAfter   = 5
	ejectSeconds = 30
	ejectPercent = 50
)

// ejecting heeds what says that nobody is there: refused and broken connections, and what a proxy before the server answers then. An error that a server gives
// itself may be about a single call.
func ejecting() *clusterv3.OutlierDetection {
	never := wrapperspb.UInt32(0)
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: true,
		ConsecutiveLocalOriginFailure:  wrapperspb.UInt32(ejectAfter),
		ConsecutiveGatewayFailure:      wrapperspb.UInt32(ejectAfter), EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(100),
		EnforcingConsecutive_5Xx: never, EnforcingSuccessRate: never, EnforcingLocalOriginSuccessRate: never, EnforcingFailurePercentage: never,
		BaseEjectionTime: seconds(ejectSeconds), MaxEjectionPercent: wrapperspb.UInt32(ejectPercent),
	}
}

// idleSeconds is how long an unused connection to a server is kept. Node's and uvicorn's servers close theirs after 5 s; a call sent at that
// very moment fails, and it must not be sent twice. So we close first.
const idleSeconds = 4

// http1Or2 lets the TLS handshake decide.
func http1Or2() *httpv3.HttpProtocolOptions_AutoConfig {
	return &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
		HttpProtocolOptions:  &corev3.Http1ProtocolOptions{},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
	}}
}

// finish are the filters that run last, whatever the policies did: they take off what is the client's and the gateway's own, and put on what
// is configured for the server.
func (b *builder) finish(in Cluster) []*hcmv3.HttpFilter {
	response := []*mutationv3.HeaderMutation{remove("set-cookie"), removePrefix(wire.EnvoyPrefix)}
	if !b.inside() { // the router module knows such answers without a mark
		response = append(response, set(wire.HeaderAnswered, "1"))
	}
	filters := []*hcmv3.HttpFilter{b.filter("envoy.filters.http.header_mutation", &headersv3.HeaderMutation{
		Mutations: &headersv3.Mutations{RequestMutations: requestMutations(in.Server), ResponseMutations: response},
	})}
	if c := in.Server.Credential; isInjected(c) {
		filters = append(filters, b.filter("envoy.filters.http.credential_injector", b.injector(in.Name, c)))
	}
	return append(filters, b.filter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{}))
}

// isInjected tells the credentials that Envoy puts on. A token that is exchanged for the caller's is the broker's to send, which makes all
// calls of such a server, and a client's own token is there already.
func isInjected(c *config.Credential) bool {
	return c != nil && (c.Kind == config.StaticCredential || c.Kind == config.ClientCredentials)
}

// requestMutations takes headers off and puts the configured ones on, in this order. A client's token stays by explicit choice only
// (Invariant 6).
func requestMutations(s config.Server) []*mutationv3.HeaderMutation {
	var out []*mutationv3.HeaderMutation
	if s.Credential == nil || s.Credential.Kind != config.ClientToken {
		out = append(out, remove("authorization"))
	}
	for _, name := range notForServers() {
		out = append(out, remove(name))
	}
	out = append(out, removePrefix(wire.EnvoyPrefix))
	for _, h := range s.Headers {
		// Envoy reads a value as a format: a percent sign of the user's own must not become a command.
		out = append(out, set(h.Name, strings.ReplaceAll(h.Value, "%", "%%")))
	}
	return out
}

// notForServers are the client's and the gateway's own headers that no server gets to see.
func notForServers() []string {
	return []string{
		"proxy-authorization", "cookie",
		"accept-encoding", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip",
		// By these a server behind a proxy that logs in would believe who calls, or do something else than what was judged.
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token",
		"x-forwarded-uri", "x-forwarded-prefix", "x-forwarded-method",
		"x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username", "x-auth-request-access-token",
		"x-remote-user", "remote-user", "x-remote-group", "x-authenticated-user", "x-authenticated-groups", "x-webauth-user",
		"x-original-url", "x-original-uri", "x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override",
		wire.HeaderCluster, wire.HeaderRouterKey, wire.HeaderIntent,
	}
}

func remove(name string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}}
}

func removePrefix(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
		KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}},
	}}}
}

func set(name, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

// injector puts the credential on. It refers to the secret by name, so that no dump of Envoy's configuration shows it.
func (b *builder) injector(cluster string, c *config.Credential) *injectorv3.CredentialInjector {
	ref := &tlsv3.SdsSecretConfig{Name: cluster}
	if !b.static {
		ref.SdsConfig = overADS()
	}
	return &injectorv3.CredentialInjector{
		Overwrite: true,
		Credential: &corev3.TypedExtensionConfig{
			Name:        "envoy.http.injected_credentials.generic",
			TypedConfig: b.pack(&genericv3.Generic{Credential: ref, Header: c.Header, HeaderValuePrefix: c.Prefix}),
		},
	}
}

// secret is a server's credential: the value itself over ADS, the place of the value in a static file.
func (b *builder) secret(in Cluster) *tlsv3.Secret {
	c := in.Server.Credential
	source := &corev3.DataSource{}
	switch {
	case c.Kind == config.ClientCredentials && b.static:
		b.errs = append(b.errs, fmt.Errorf("server %q: clientCredentials give tokens that have to be renewed, which only an Envoy gets that the gateway feeds: start it with the file of envoy-bootstrap in place of this static one", in.Server.Name))
	case c.Kind == config.ClientCredentials:
		// Without a token the secret is empty, and no call is labelled for the cluster.
		source.Specifier = &corev3.DataSource_InlineString{InlineString: in.Token.Reveal()}
	case !b.static:
		source.Specifier = &corev3.DataSource_InlineString{InlineString: c.Value.Reveal()}
	case c.Env != "":
		source.Specifier = &corev3.DataSource_EnvironmentVariable{EnvironmentVariable: c.Env}
	case c.File != "":
		source.Specifier = &corev3.DataSource_Filename{Filename: c.File}
	default:
		b.errs = append(b.errs, fmt.Errorf("server %q: its credential comes from neither an environment variable nor a file, and a static Envoy file must not hold it", in.Server.Name))
	}
	return &tlsv3.Secret{Name: in.Name, Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: source}}}
}

// transportSocket verifies the server's certificate against the configured name and roots, whatever Host header the request has.
func (b *builder) transportSocket(s config.Server) *corev3.TransportSocket {
	name := s.Host
	var trusted *corev3.DataSource
	if s.TLS != nil {
		trusted = b.ownRoots(s.TLS)
		if s.TLS.ServerName != "" {
			name = s.TLS.ServerName
		}
	}
	if trusted == nil {
		if b.options.SystemCA == "" {
			b.errs = append(b.errs, fmt.Errorf("server %q: https without a CA of its own needs the machine's trusted roots, and no file with them was given or found", s.Name))
		}
		trusted = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: b.options.SystemCA}}
	}
	context := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 trusted,
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{subjectAltName(name)},
		}},
	}}
	if _, err := netip.ParseAddr(name); err != nil {
		context.Sni = name
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.pack(context)},
	}
}

// ownRoots are the server's configured roots, or nil.
func (b *builder) ownRoots(t *config.TLS) *corev3.DataSource {
	switch {
	case b.static && t.CAFile != "":
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: t.CAFile}}
	case len(t.CA) > 0:
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: t.CA}}
	}
	return nil
}

func subjectAltName(name string) *tlsv3.SubjectAltNameMatcher {
	kind := tlsv3.SubjectAltNameMatcher_DNS
	if _, err := netip.ParseAddr(name); err == nil {
		kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	return &tlsv3.SubjectAltNameMatcher{
		SanType: kind,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
	}
}
