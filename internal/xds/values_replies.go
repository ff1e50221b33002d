package xds

import (
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// The challenges that clients find in WWW-Authenticate.
const (
	challengeMissing = "challenge_missing"
	challengeRefused = "challenge_refused"
	challengeScope   = "challenge_scope"
	// What stands before and behind the last segment of a virtual server's path, which ends the URL of its metadata.
	challengeHead = "_head"
	challengeTail = "_tail"
)

// refusals are what a client reads when the policy values refuse it. They are told by what the filters themselves left in the metadata, so that
// what another policy answers stays as it is.
func (b *builder) refusals() []reply {
	return []reply{
		// The token may be as good as any: a client that threw it away would only log in again.
		{
			when: metadataIs(is(exactly(keysUnreachable)), tokenNamespace, refusalKey, "message"),
			code: codeInternal, message: "tokens cannot be verified at the moment", status: http.StatusServiceUnavailable,
		},
		// Envoy's own status for another audience is 403.
		{
			when: metadataIs(anything(), tokenNamespace, refusalKey),
			code: http.StatusUnauthorized, message: "the access token is not accepted", status: http.StatusUnauthorized, challenge: challengeRefused,
		},
		// Of a token that is missing, Envoy says nothing there. Where no token is needed, there is no challenge, and another policy's header stays.
		{
			when: and(status(http.StatusUnauthorized), unverified()),
			code: http.StatusUnauthorized, message: "authentication is needed", challenge: challengeMissing,
			challenged: b.expression(`response.code_details.startsWith("jwt_authn_access_denied")`),
		},
		// What the filter says in the metadata, it says too late for this.
		{
			when: b.expression(`response.code_details.startsWith("rbac_access_denied")`),
			code: http.StatusForbidden, message: "this request is not allowed", challenge: challengeScope,
			challenged: metadataIs(anything(), tokenNamespace, payloadKey),
		},
		{when: flags("RLSE"), code: codeInternal, message: "calls cannot be counted at the moment"},
	}
}

// atVirtualServers is the same reply for requests to virtual servers, whose challenges name metadata of their own.
func (r reply) atVirtualServers() reply {
	r.virtual = true
	r.when = and(r.when, hasKey(wire.KeyVirtualServerPath))
	if r.challenged != nil {
		r.when = and(r.when, r.challenged)
	}
	return r
}

func (r reply) challengeValue() string {
	value := func(key string) string {
		if r.texts != nil {
			return strings.ReplaceAll(r.texts[key], "%", "%%") // what stands there is no operator
		}
		return "%METADATA(VIRTUAL_HOST:" + wire.MetadataNamespace + ":" + key + ")%"
	}
	if !r.virtual {
		return value(r.challenge)
	}
	return value(r.challenge+challengeHead) + "/%DYNAMIC_METADATA(" + wire.MetadataNamespace + ":" + wire.KeyVirtualServerPath + ")%" + value(r.challenge+challengeTail)
}

// expression is true where the CEL expression is.
func (b *builder) expression(cel string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name:       "envoy.access_loggers.extension_filters.cel",
		ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: b.pack(&celv3.ExpressionFilter{Expression: cel})},
	}}}
}

// unverified is true of requests whose token has not been found good.
func unverified() *accesslogv3.AccessLogFilter {
	f := metadataIs(is(exactly("never a string")), tokenNamespace, payloadKey)
	f.GetMetadataFilter().MatchIfKeyNotFound = yes()
	return f
}

// challenges are what refusals tell clients, by key (RFC 6750 §3, RFC 9728 §5.1). They are the virtual host's, so that a change of them drains
// nothing. Where nobody is authenticated, there is nobody to challenge.
func (b *builder) challenges() *corev3.Metadata {
	v := b.options.Values
	if v == nil || v.Set == nil || v.Set.Authentication == nil {
		return nil
	}
	fields := map[string]*structpb.Value{}
	for key, text := range challengeTexts(v.ResourceMetadata, v.Scopes) {
		fields[key] = structpb.NewStringValue(text)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.MetadataNamespace: {Fields: fields}}}
}

// challengeTexts are the challenges, whole and in the parts that virtual servers need.
func challengeTexts(resourceMetadata string, scopes []string) map[string]string {
	var metadata, scope string
	if resourceMetadata != "" {
		metadata = `resource_metadata="` + resourceMetadata + `"`
	}
	if len(scopes) > 0 {
		scope = `scope="` + strings.Join(scopes, " ") + `"`
	}
	texts := map[string]string{}
	for key, value := range map[string]string{
		challengeMissing: challenge(metadata, scope),
		challengeRefused: challenge(`error="invalid_token"`, metadata, scope),
		challengeScope:   challenge(`error="insufficient_scope"`, scope, metadata),
	} {
		texts[key] = value
		if metadata != "" {
			head, tail, _ := strings.Cut(value, metadata)
			texts[key+challengeHead] = head + strings.TrimSuffix(metadata, `"`)
			texts[key+challengeTail] = `"` + tail
		}
	}
	return texts
}

func challenge(params ...string) string {
	given := make([]string, 0, len(params))
	for _, p := range params {
		if p != "" {
			given = append(given, p)
		}
	}
	return strings.TrimSpace("Bearer " + strings.Join(given, ", "))
}
