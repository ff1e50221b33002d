package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
)

// otelEnv looks up OpenTelemetry's environment variables. Endpoints, headers, certificates and intervals are read by the exporters themselves.
type otelEnv func(name string) (value string, ok bool)

func (e otelEnv) get(name string) string {
	value, _ := e(name)
	return strings.TrimSpace(value)
}

// SendsOTLP tells whether the environment names an endpoint for metrics or traces.
func SendsOTLP(lookup func(string) (string, bool)) bool {
	return otelEnv(lookup).sends("METRICS") || otelEnv(lookup).sends("TRACES")
}

// sends tells whether a signal, METRICS or TRACES, is to be sent. OpenTelemetry's default endpoint on this machine is none here: what is not asked for
// costs nothing.
func (e otelEnv) sends(signal string) bool {
	if strings.EqualFold(e.get("OTEL_SDK_DISABLED"), "true") || e.get("OTEL_"+signal+"_EXPORTER") == "none" {
		return false
	}
	return e.get("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || e.get("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// endpoint is where a signal goes, without what may be a secret.
func (e otelEnv) endpoint(signal string) string {
	text, _, _ := strings.Cut(cmp.Or(e.get("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"), e.get("OTEL_EXPORTER_OTLP_ENDPOINT")), "?")
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text[strings.LastIndexByte(text, '@')+1:]
	}
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

func (e otelEnv) protocol(signal string) (string, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := e.get(name); protocol {
		case "":
		case "grpc", "http/protobuf":
			return protocol, nil
		default:
			return "", fmt.Errorf("%s %q: want http/protobuf or grpc", name, protocol)
		}
	}
	return "http/protobuf", nil
}

func (e otelEnv) metricExporter(ctx context.Context) (sdkmetric.Exporter, error) {
	protocol, err := e.protocol("METRICS")
	switch {
	case err != nil:
		return nil, err
	case protocol == "grpc":
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

func (e otelEnv) traceClient() (otlptrace.Client, error) {
	protocol, err := e.protocol("TRACES")
	switch {
	case err != nil:
		return nil, err
	case protocol == "grpc":
		return otlptracegrpc.NewClient(), nil
	}
	return otlptracehttp.NewClient(), nil
}

// sampling is that of the sampler that the environment names. A client that samples, or does not, is followed by default.
func (e otelEnv) sampling() (tracecontext.Sampling, error) {
	s := tracecontext.Sampling{On: true}
	ratio := 1.0
	if text := e.get("OTEL_TRACES_SAMPLER_ARG"); text != "" {
		var err error
		if ratio, err = strconv.ParseFloat(text, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG %q: want a number from 0 to 1", text)
		}
	}
	name := e.get("OTEL_TRACES_SAMPLER")
	rule, follow := strings.CutPrefix(cmp.Or(name, "parentbased_always_on"), "parentbased_")
	s.FollowParent = follow
	switch rule {
	case "always_on":
		s.Ratio = 1
	case "always_off":
	case "traceidratio":
		s.Ratio = ratio
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER %q: want always_on, always_off, traceidratio, or one of these after parentbased_", name)
	}
	return s, nil
}

// newResource says who the gateway is, unless the environment does.
func newResource(ctx context.Context, version string) (*resource.Resource, error) {
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", "mcp-gateway"), attribute.String("service.version", version)), resource.WithFromEnv())
}
