package xds

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// reportSize is how many bytes of reports Envoy sends together, and reportInterval how long it holds fewer.
const (
	reportSize     = 64 << 10
	reportInterval = time.Second
)

// callReports has Envoy tell of each request once it has ended. No request waits for that.
func (b *builder) callReports() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.http_grpc",
		Filter: hasKey(wire.KeyMethod),
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.pack(&alsv3.HttpGrpcAccessLogConfig{CommonConfig: &alsv3.CommonGrpcAccessLogConfig{
			LogName: "mcp-gateway-calls", TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: wire.RouterCluster},
			}},
			BufferFlushInterval: durationpb.New(reportInterval), BufferSizeBytes: wrapperspb.UInt32(reportSize),
		}})},
	}
}

// Call is one request, once it has ended.
type Call struct {
	Start time.Time
	// Duration is all of it, Upstream the part from the first byte to the server to the last byte from it; zero where it got no answer of one.
	Duration, Upstream time.Duration
	// Broker tells that the broker has answered.
	Broker bool
	Status int
	// Facts are what the router has said, by the keys of its metadata.
	Facts map[string]string
}

// callService takes Envoys' reports.
type callService struct {
	servicev3.UnimplementedAccessLogServiceServer
	take func(Call)
}

// RegisterCallReports has take called with each request that Envoys report. It is called by several goroutines at once.
func RegisterCallReports(r grpc.ServiceRegistrar, take func(Call)) {
	servicev3.RegisterAccessLogServiceServer(r, &callService{take: take})
}

// StreamAccessLogs takes one Envoy's reports for as long as it is connected.
func (s *callService) StreamAccessLogs(stream servicev3.AccessLogService_StreamAccessLogsServer) error {
	for {
		message, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		for _, entry := range message.GetHttpLogs().GetLogEntry() {
			s.take(callOf(entry))
		}
	}
}

func callOf(entry *datav3.HTTPAccessLogEntry) Call {
	common := entry.GetCommonProperties()
	c := Call{
		Start: common.GetStartTime().AsTime(), Duration: common.GetDuration().AsDuration(), Broker: common.GetUpstreamCluster() == wire.BrokerCluster,
		Status: int(entry.GetResponse().GetResponseCode().GetValue()), Facts: map[string]string{},
	}
	if sent, got := common.GetTimeToFirstUpstreamTxByte(), common.GetTimeToLastUpstreamRxByte(); sent != nil && got != nil {
		c.Upstream = got.AsDuration() - sent.AsDuration()
	}
	for key, value := range common.GetMetadata().GetFilterMetadata()[wire.MetadataNamespace].GetFields() {
		c.Facts[key] = value.GetStringValue()
	}
	return c
}
