package xds

import (
	"fmt"
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// JSON-RPC codes of replies whose status has no code of its own.
const (
	codeInvalidRequest = -32600
	codeInternal       = -32603
)

// reply is what a client reads when Envoy itself answers: the first whose filter matches.
type reply struct {
	when    *accesslogv3.AccessLogFilter
	code    int
	message string
	// status replaces Envoy's own, unless it is zero.
	status uint32
	// challenge is the key of the virtual host's metadata that has the value of WWW-Authenticate. Empty means to leave that header alone.
	challenge string
	// challenged is true only where the virtual host has challenges. It is asked at virtual servers, where a value is put together of parts; nil means
	// that when says it already.
	challenged *accesslogv3.AccessLogFilter
	virtual    bool
	// texts are the values themselves, by their keys, where no virtual host has them.
	texts map[string]string
}

// replies makes a JSON-RPC error of every reply that Envoy itself makes, with the request's own id where the router could read it.
func (b *builder) replies() *hcmv3.LocalReplyConfig {
	v := b.options.Values
	if v == nil {
		return localReplies(replyTable(), "")
	}
	return localReplies(append(b.refusals(), replyTable()...), v.ResourceMetadata)
}

// localReplies are those of a table, behind what the router made itself.
func localReplies(table []reply, metadata string) *hcmv3.LocalReplyConfig {
	config := &hcmv3.LocalReplyConfig{}
	stream := jsonBody(ownBody)
	stream.ContentType = "text/event-stream"
	config.Mappers = append(config.Mappers,
		&hcmv3.ResponseMapper{Filter: keyMatches(wire.KeyReply, wire.ReplyStream), BodyFormatOverride: stream},
		&hcmv3.ResponseMapper{Filter: hasKey(wire.KeyReply), BodyFormatOverride: jsonBody(ownBody)})
	for _, r := range table {
		if r.challenge != "" && metadata != "" {
			config.Mappers = append(config.Mappers, r.atVirtualServers().mappers()...)
		}
		config.Mappers = append(config.Mappers, r.mappers()...)
	}
	return config
}

// mappers are for requests with an id and for those without. What is told of a server names it where the router has said which it is.
func (r reply) mappers() []*hcmv3.ResponseMapper {
	id := `"id":` + metadataValue(wire.KeyID) + `,`
	mappers := []*hcmv3.ResponseMapper{r.mapper(hasKey(wire.KeyID), id), r.mapper(nil, "")}
	fault, ofServer := strings.CutPrefix(r.message, theServer)
	if !ofServer {
		return mappers
	}
	named := r
	named.message = theServer + ` "` + metadataValue(wire.KeyServer) + `"` + fault
	return append([]*hcmv3.ResponseMapper{named.mapper(and(hasKey(wire.KeyID), keyMatches(wire.KeyServer, serverPattern)), id)}, mappers...)
}

const (
	// theServer begins the messages that are about a server.
	theServer = "the MCP server"
	// serverPattern matches the names of servers, and not that of the broker.
	serverPattern = `[a-z0-9./-]+`
)

// metadataValue is an operator that Envoy puts what the router has said into.
func metadataValue(key string) string {
	return `%DYNAMIC_METADATA(` + wire.MetadataNamespace + `:` + key + `)%`
}

func replyTable() []reply {
	return []reply{
		{when: status(http.StatusNotFound), code: codeInvalidRequest, message: "there is nothing at this address"},
		// The request was there, but the router said nothing.
		{when: flags("SI"), code: codeInternal, message: "the gateway could not handle the request", status: http.StatusServiceUnavailable},
		{when: flags("UT"), code: codeInternal, message: "the MCP server did not answer in time"},
		{when: flags("UH", "UF", "UC", "UR", "URX", "UPE", "LR"), code: codeInternal, message: "the MCP server did not answer"},
		{when: flags("NC", "UO"), code: codeInternal, message: "the MCP server cannot be called at the moment"},
		{when: status(http.StatusUnauthorized), code: http.StatusUnauthorized, message: "authentication is needed"},
		{when: status(http.StatusForbidden), code: http.StatusForbidden, message: "this request is not allowed"},
		{when: status(http.StatusRequestEntityTooLarge), code: http.StatusRequestEntityTooLarge, message: "the request is too large"},
		{when: status(http.StatusTooManyRequests), code: http.StatusTooManyRequests, message: "too many requests"},
		{when: status(http.StatusRequestTimeout), code: codeInvalidRequest, message: "the request did not arrive in time"},
		{when: status(http.StatusRequestHeaderFieldsTooLarge), code: codeInvalidRequest, message: "the request's headers are too large"},
		{when: status(http.StatusBadGateway), code: codeInternal, message: "the MCP server gave an answer that cannot be passed on"},
		{when: atLeast(http.StatusInternalServerError), code: codeInternal, message: "the gateway could not handle the request"},
		{when: atLeast(http.StatusBadRequest), code: codeInvalidRequest, message: "the request cannot be handled"},
	}
}

func (r reply) mapper(extra *accesslogv3.AccessLogFilter, id string) *hcmv3.ResponseMapper {
	when := r.when
	if extra != nil {
		when = and(when, extra)
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0",%s"error":{"code":%d,"message":%q}}`, id, r.code, r.message)
	m := &hcmv3.ResponseMapper{Filter: when, BodyFormatOverride: jsonBody(body)}
	if r.status != 0 {
		m.StatusCode = wrapperspb.UInt32(r.status)
	}
	if r.challenge != "" {
		m.HeadersToAdd = []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "www-authenticate", Value: r.challengeValue()},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}
	}
	return m
}

// jsonBody is a body whose operators Envoy fills in.
func jsonBody(body string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: body},
		}},
		ContentType: "application/json",
	}
}

// ownBody is the body of a reply that the router made itself.
const ownBody = "%LOCAL_REPLY_BODY%"

// hasKey matches when the router has set the key in its metadata.
func hasKey(key string) *accesslogv3.AccessLogFilter { return keyMatches(key, `.+`) }

func keyMatches(key, pattern string) *accesslogv3.AccessLogFilter {
	return metadataIs(is(regex(pattern)), wire.MetadataNamespace, key)
}

func metadataIs(value *matcherv3.ValueMatcher, namespace string, path ...string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_MetadataFilter{MetadataFilter: &accesslogv3.MetadataFilter{
		Matcher:            &matcherv3.MetadataMatcher{Filter: namespace, Path: segments(path...), Value: value},
		MatchIfKeyNotFound: no(),
	}}}
}

func flags(names ...string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: names},
	}}
}

func status(code uint32) *accesslogv3.AccessLogFilter {
	return compare(accesslogv3.ComparisonFilter_EQ, code)
}

func atLeast(code uint32) *accesslogv3.AccessLogFilter {
	return compare(accesslogv3.ComparisonFilter_GE, code)
}

func compare(op accesslogv3.ComparisonFilter_Op, code uint32) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &accesslogv3.StatusCodeFilter{
		Comparison: &accesslogv3.ComparisonFilter{Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: code, RuntimeKey: "mcp_gateway.local_reply_status"}},
	}}}
}

func and(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: filters}}}
}
