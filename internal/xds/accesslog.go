package xds

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// accessLog writes one line of JSON per request. It shows no value of a header and no query: either may hold a secret.
func (b *builder) accessLog() []*accesslogv3.AccessLog {
	if b.options.AccessLog == "" {
		return nil
	}
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
		fields[key] = "%DYNAMIC_METADATA(" + wire.MetadataNamespace + ":" + key + ")%"
	}
	format := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for name, operator := range fields {
		format.Fields[name] = structpb.NewStringValue(operator)
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.file",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.pack(&filev3.FileAccessLog{
			Path: b.options.AccessLog,
			AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format},
			}},
		})},
	}}
}
