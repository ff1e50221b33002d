package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func (o *Observed) traces(ctx context.Context, env otelEnv, about *resource.Resource, version string) error {
	exporter, err := env.traceExporter(ctx)
	if err != nil {
		return err
	}
	if o.sampler, err = env.sampler(); err != nil {
		return err
	}
	// Whether a trace is kept is decided when its call begins; what is not kept gets no span here.
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about), sdktrace.WithIDGenerator(o.ids),
		sdktrace.WithSampler(sdktrace.AlwaysSample()))
	o.tracer = provider.Tracer(scope, trace.WithInstrumentationVersion(version))
	o.shutdown = append(o.shutdown, provider.Shutdown)
	return nil
}

// Traces tells whether somebody wants traces.
func (o *Observed) Traces() bool { return o.tracer != nil }

// Begin is the traceparent of the gateway's own span in a call whose client has sent one, or none. The span itself is made once the call has ended.
func (o *Observed) Begin(parent string) string {
	from, ok := parseTraceparent(parent)
	if !ok {
		from = trace.NewSpanContext(trace.SpanContextConfig{TraceID: o.ids.newTrace()})
	}
	ctx := context.Background()
	if ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, from)
	}
	kept := o.sampler.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: from.TraceID(), Kind: trace.SpanKindServer}).Decision == sdktrace.RecordAndSample
	return traceparent(from.TraceID(), o.ids.newSpan(), kept)
}

func traceparent(id trace.TraceID, span trace.SpanID, kept bool) string {
	flags := "00"
	if kept {
		flags = "01"
	}
	return "00-" + id.String() + "-" + span.String() + "-" + flags
}

// parseTraceparent reads a traceparent of W3C's recommendation. One of a later version may be longer.
func parseTraceparent(text string) (trace.SpanContext, bool) {
	parts := strings.Split(text, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[3]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(parts[1])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(parts[2])
	if err != nil {
		return trace.SpanContext{}, false
	}
	flags, err := hex.DecodeString(parts[3])
	if err != nil {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, Remote: true}), true
}

// ownSpan is the key under which a context says what the next span's ids are.
type ownSpan struct{}

func (o *Observed) span(c *Call, attributes []attribute.KeyValue) {
	own, ok := parseTraceparent(c.Facts[wire.KeyTrace])
	if !ok || !own.IsSampled() {
		return
	}
	ctx := context.WithValue(context.Background(), ownSpan{}, own)
	if parent, ok := parseTraceparent(c.Facts[wire.KeyTraceParent]); ok {
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

// spanIDs gives a span the ids that its call has had all the time.
type spanIDs struct{}

// NewIDs implements sdktrace.IDGenerator.
func (g spanIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if own, ok := ctx.Value(ownSpan{}).(trace.SpanContext); ok {
		return own.TraceID(), own.SpanID()
	}
	return g.newTrace(), g.newSpan()
}

// NewSpanID implements sdktrace.IDGenerator.
func (g spanIDs) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}

func (spanIDs) newTrace() (id trace.TraceID) {
	_, _ = rand.Read(id[:]) // it never fails
	return id
}

func (spanIDs) newSpan() (id trace.SpanID) {
	_, _ = rand.Read(id[:]) // it never fails
	return id
}
