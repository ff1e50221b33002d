package xds

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/assert"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// report is what Envoy sends of one call.
func report(tb testing.TB) *datav3.HTTPAccessLogEntry {
	tb.Helper()
	facts, err := structpb.NewStruct(map[string]any{
		wire.KeyMethod: "tools/call", wire.KeyServer: "weather", wire.KeyTool: "get_forecast", wire.KeyPublicName: "weather_get_forecast",
		wire.KeyHints: "readOnly=true,destructive=false,idempotent=false,openWorld=true", wire.KeyID: "17",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			StartTime: timestamppb.New(time.Unix(1, 5)), Duration: durationpb.New(40 * time.Millisecond), UpstreamCluster: "weather.0123456789ab",
			TimeToFirstUpstreamTxByte: durationpb.New(10 * time.Millisecond), TimeToLastUpstreamRxByte: durationpb.New(35 * time.Millisecond),
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.MetadataNamespace: facts}},
		},
		Request:  &datav3.HTTPRequestProperties{Path: "/mcp", Authority: "127.0.0.1:8888", Scheme: "http", UserAgent: "x", RequestId: "0123"},
		Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200)},
	}
}

func reports(tb testing.TB, entries ...*datav3.HTTPAccessLogEntry) []byte {
	tb.Helper()
	data, err := proto.Marshal(&servicev3.StreamAccessLogsMessage{
		Identifier: &servicev3.StreamAccessLogsMessage_Identifier{LogName: "x"},
		LogEntries: &servicev3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &servicev3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func read(t *testing.T, entries ...*datav3.HTTPAccessLogEntry) (calls []callreport.Call) {
	t.Helper()
	assert.True(t, (&callReader{}).each(reports(t, entries...), func(c *callreport.Call) { calls = append(calls, *c) }))
	return calls
}

// TestCallReports: what is read of a report's bytes is what Envoy's own API has in it.
func TestCallReports(t *testing.T) {
	byBroker, foreign := report(t), report(t)
	byBroker.CommonProperties.UpstreamCluster = wire.BrokerCluster
	claims, err := structpb.NewStruct(map[string]any{"sub": "alice"})
	if err != nil {
		t.Fatal(err)
	}
	foreign.CommonProperties.Metadata.FilterMetadata["envoy.filters.http.jwt_authn"] = claims
	calls := read(t, report(t), &datav3.HTTPAccessLogEntry{}, byBroker, foreign)
	assert.Len(t, calls, 4)
	assert.Equal(t, callreport.Call{
		Start: time.Unix(1, 5).UTC(), Duration: 40 * time.Millisecond, Upstream: 25 * time.Millisecond, Status: 200,
		Kind: callreport.Kind{Method: "tools/call", Server: "weather", Tool: "get_forecast", PublicName: "weather_get_forecast"},
		Own:  callreport.Own{ID: []byte("17")},
	}, calls[0])
	assert.Zero(t, calls[1].Upstream, "without an answer of a server there is no time that it took")
	assert.True(t, calls[2].Broker)
	assert.Equal(t, calls[0], calls[3], "of other filters nothing is read")
}

// TestCutReports: bytes that are no report are refused, and nothing panics.
func TestCutReports(t *testing.T) {
	whole := reports(t, report(t))
	for i := 1; i < len(whole); i++ {
		assert.NotPanics(t, func() { (&callReader{}).each(whole[:i], func(*callreport.Call) {}) })
	}
	assert.False(t, (&callReader{}).each(whole[:len(whole)-1], func(*callreport.Call) {}))
	assert.False(t, (&callReader{}).each([]byte{0xff}, func(*callreport.Call) {}))
}

func BenchmarkReport(b *testing.B) {
	data := reports(b, report(b))
	b.ReportAllocs()
	var r callReader
	for b.Loop() {
		var m emptypb.Empty
		if err := proto.Unmarshal(data, &m); err != nil {
			b.Fatal(err)
		}
		r.each(m.ProtoReflect().GetUnknown(), func(*callreport.Call) {})
	}
}
