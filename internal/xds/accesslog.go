package xds

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// rbacNamespace is where Envoy's filter puts which of the rules decided.
const rbacNamespace = "envoy.filters.http.rbac"

// audited are the methods that use something of a server's. What only lists or asks around is in the access log.
const audited = `tools/call|prompts/get|resources/(read|subscribe|unsubscribe)|completion/complete`

// accessLog writes a line of JSON for each request, and another file has those that an audit asks for. Neither shows the value of a header that may
// hold a secret, nor a query, nor any argument.
func (b *builder) accessLog() []*accesslogv3.AccessLog {
	var out []*accesslogv3.AccessLog
	if path := b.options.AccessLog; path != "" {
		out = append(out, b.logFile(path, nil, requestFields()))
	}
	if path := b.options.AuditLog; path != "" {
		out = append(out, b.logFile(path, keyMatches(wire.KeyMethod, audited), auditFields()))
	}
	if b.reportsCalls() {
		out = append(out, b.callReports())
	}
	return out
}

func requestFields() map[string]string {
	fields := map[string]string{
		"start_time":      "%START_TIME%",
		"http_method":     "%REQ(:METHOD)%",
		"path":            "%PATH(NQ:ORIG_OR_PATH)%",
		"protocol":        "%PROTOCOL%",
		"response_code":   "%RESPONSE_CODE%",
		"response_flags":  "%RESPONSE_FLAGS%",
		"response_detail": "%RESPONSE_CODE_DETAILS%",
		"duration_ms":     "%DURATION%",
		"bytes_received":  "%BYTES_RECEIVED%",
		"bytes_sent":      "%BYTES_SENT%",
		"upstream":        "%UPSTREAM_CLUSTER%",
		"request_id":      "%REQ(X-REQUEST-ID)%",
	}
	for _, key := range []string{wire.KeyServer, wire.KeyTool, wire.KeyMethod, wire.KeyPublicName, wire.KeyVirtualServer} {
		fields[key] = metadataValue(key)
	}
	return fields
}

// auditFields say who did what and what became of it. The subject is one that Envoy has verified: without a good token there is none. Where the values
// name users by another claim makes no difference, since a listener that depended on it would drain its connections when it changes.
func auditFields() map[string]string {
	fields := map[string]string{
		"time":        "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
		"request_id":  "%REQ(X-REQUEST-ID)%",
		"trace":       "%REQ(TRACEPARENT)%",
		"client":      "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"issuer":      inNamespace(tokenNamespace, payloadKey, "iss"),
		"subject":     inNamespace(tokenNamespace, payloadKey, "sub"),
		"decision":    inNamespace(rbacNamespace, rulesPrefix+"enforced_engine_result"),
		"rule":        inNamespace(rbacNamespace, rulesPrefix+"enforced_effective_policy_id"),
		"status":      "%RESPONSE_CODE%",
		"flags":       "%RESPONSE_FLAGS%",
		"detail":      "%RESPONSE_CODE_DETAILS%",
		"duration_ms": "%DURATION%",
	}
	for _, key := range []string{
		wire.KeyMethod, wire.KeyServer, wire.KeyTool, wire.KeyPrompt, wire.KeyResource, wire.KeyPublicName, wire.KeyVirtualServer,
	} {
		fields[key] = metadataValue(key)
	}
	return fields
}

func inNamespace(namespace string, path ...string) string {
	return "%DYNAMIC_METADATA(" + namespace + ":" + strings.Join(path, ":") + ")%"
}

// logFile is a file with a line of JSON for each request that the filter lets through. Fields that a request does not have are left out.
func (b *builder) logFile(path string, filter *accesslogv3.AccessLogFilter, fields map[string]string) *accesslogv3.AccessLog {
	format := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, operator := range fields {
		format.Fields[name] = structpb.NewStringValue(operator)
	}
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.file",
		Filter: filter,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.pack(&filev3.FileAccessLog{
			Path: path,
			AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format},
				OmitEmptyValues: filter != nil, // the access log has always had each of its fields
			}},
		})},
	}
}
