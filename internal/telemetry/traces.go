package telemetry

import (
	"context"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func (o *Observed) traces(ctx context.Context, env otelEnv, about *resource.Resource, version string) error {
	exporter, err := env.traceExporter(ctx)
	if err != nil {
		return err
	}
	if o.sampling, err = env.sampling(); err != nil {
		return err
	}
	// Whether a trace is kept is decided by whoever routes its call; what is not kept gets no span here.
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about), sdktrace.WithIDGenerator(spanIDs{}),
		sdktrace.WithSampler(sdktrace.AlwaysSample()))
	o.tracer = provider.Tracer(scope, trace.WithInstrumentationVersion(version))
	o.shutdown = append(o.shutdown, provider.Shutdown)
	return nil
}

// Sampling is what routers have to know of traces. Where nobody wants traces, or nothing is observed, it is off.
func (o *Observed) Sampling() tracecontext.Sampling {
	if o == nil {
		return tracecontext.Sampling{}
	}
	return o.sampling
}

// spanContext is what a traceparent says, in OpenTelemetry's words.
func spanContext(traceparent string) (trace.SpanContext, bool) {
	p, ok := tracecontext.Parse(traceparent)
	if !ok {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: p.Trace, SpanID: p.Span, TraceFlags: trace.TraceFlags(0).WithSampled(p.Kept), Remote: true}), true
}

// ownSpan is the key under which a context says what the next span's ids are.
type ownSpan struct{}

func (o *Observed) span(c *Call, attributes []attribute.KeyValue) {
	own, ok := spanContext(c.Facts[wire.KeyTrace])
	if !ok || !own.IsSampled() {
		return
	}
	ctx := context.WithValue(context.Background(), ownSpan{}, own)
	if parent, ok := spanContext(c.Facts[wire.KeyTraceParent]); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	if id := c.Facts[wire.KeyID]; id != "" {
		attributes = append(attributes, attribute.String("jsonrpc.request.id", strings.Trim(id, `"`)))
	}
	if resource := c.Facts[wire.KeyResource]; resource != "" {
		attributes = append(attributes, attribute.String("mcp.resource.uri", resource))
	}
	attributes = append(attributes, attribute.Int("http.response.status_code", c.Status))
	_, span := o.tracer.Start(ctx, spanName(c), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(c.Start), trace.WithAttributes(attributes...))
	if c.Status >= 500 {
		span.SetStatus(codes.Error, "HTTP status "+strconv.Itoa(c.Status))
	}
	span.End(trace.WithTimestamp(c.Start.Add(c.Duration)))
}

// spanIDs gives a span the ids that its call has had all the time. There are no spans but those of calls.
type spanIDs struct{}

// NewIDs implements sdktrace.IDGenerator.
func (spanIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	own, _ := ctx.Value(ownSpan{}).(trace.SpanContext)
	return own.TraceID(), own.SpanID()
}

// NewSpanID implements sdktrace.IDGenerator.
func (g spanIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}
