package xds

import (
	"fmt"
	"net/http"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	globalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// limitsCluster leads to the global rate limit service.
const limitsCluster = "mcp_ratelimit"

// limiter counts calls in Envoy itself, or has a service count them. It is one filter of two possible types, so that going over to the other one
// drains nothing.
func (b *builder) limiter(s *policy.Set) proto.Message {
	if s.RateLimitService != nil && len(s.RateLimits) > 0 {
		return b.globalLimits(s)
	}
	return b.limits(s)
}

func limitTypes() []string {
	return []string{typeURL(&localv3.LocalRateLimit{}), typeURL(&globalv3.RateLimit{})}
}

func typeURL(m proto.Message) string {
	return typeURLPrefix + string(m.ProtoReflect().Descriptor().FullName())
}

// globalLimits asks the service about every call that counts against a limit, and about no other request.
func (b *builder) globalLimits(s *policy.Set) *globalv3.RateLimit {
	service := s.RateLimitService
	l := &globalv3.RateLimit{
		Domain:          service.Domain,
		StatPrefix:      "mcp_gateway_limits",
		Timeout:         durationpb.New(service.Timeout),
		FailureModeDeny: service.FailClosed,
		StatusOnError:   &typev3.HttpStatus{Code: http.StatusServiceUnavailable},
		RateLimitService: &servicev3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: limitsCluster},
			}},
		},
		EnableRetryAfterHeader:         true,
		DisableXEnvoyRatelimitedHeader: true,
	}
	for i := range s.RateLimits {
		l.RateLimits = append(l.RateLimits, rateOf(b.descriptor(&s.RateLimits[i])))
	}
	return l
}

// limitsCluster is where Envoy finds the service, or nil.
func (b *builder) limitsCluster() *clusterv3.Cluster {
	v := b.options.Values
	if v == nil || v.Set == nil || v.Set.RateLimitService == nil {
		return nil
	}
	at, err := parseAddress("policies.rateLimitService.address", v.Set.RateLimitService.Address)
	if err != nil {
		b.errs = append(b.errs, fmt.Errorf("policy values: %w", err))
		return nil
	}
	return b.grpcCluster(limitsCluster, at)
}
