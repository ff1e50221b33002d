package xds

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// reportSize is how many bytes of reports Envoy sends together, and reportInterval how long it holds fewer.
const (
	reportSize     = 64 << 10
	reportInterval = time.Second
)

// reportsCalls tells whether Envoy's access log has to tell of calls. A router inside of Envoy tells of them itself.
func (b *builder) reportsCalls() bool { return b.options.ReportCalls && !b.inside() }

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

// callService takes Envoys' reports.
type callService struct{ take func(*callreport.Call) }

// RegisterCallReports has take called with each request that Envoys report. It is called by several goroutines at once.
func RegisterCallReports(r grpc.ServiceRegistrar, take func(*callreport.Call)) {
	s := &callService{take: take}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: servicev3.AccessLogService_ServiceDesc.ServiceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "StreamAccessLogs", ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.receive(stream) },
		}},
	}, s)
}

// receive takes one Envoy's reports for as long as it is connected. A message is received as one of which nothing is known, for its bytes: to make
// objects of all that Envoy tells of a call costs eight times as much as to read what is wanted.
func (s *callService) receive(stream grpc.ServerStream) error {
	var reader callReader
	for {
		var message emptypb.Empty
		if err := stream.RecvMsg(&message); err != nil {
			return ended(err)
		}
		if !reader.each(message.ProtoReflect().GetUnknown(), s.take) {
			return grpcstatus.Error(codes.InvalidArgument, "the report of a call cannot be read")
		}
	}
}
