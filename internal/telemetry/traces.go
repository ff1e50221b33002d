package telemetry

import (
	"bytes"
	"context"
	"strconv"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
)

func (o *Observed) traces(ctx context.Context, env otelEnv, about *resource.Resource, version string) (err error) {
	if o.sampling, err = env.sampling(); err != nil {
		return err
	}
	client, err := env.traceClient()
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	// Whether a trace is kept is decided by whoever routes its call; what is not kept gets no span here.
	o.spans = newSpans(ctx, client, env.batching(), about, version)
	o.shutdown = append(o.shutdown, func(ctx context.Context) *Lost {
		lost, before, why := o.spans.close(ctx)
		if lost == 0 {
			return nil
		}
		return &Lost{What: "spans", Spans: lost, Before: before, Endpoint: env.endpoint("TRACES"), Err: why}
	})
	return nil
}

// Sampling is what routers have to know of traces. Where nobody wants traces, or nothing is observed, it is off.
func (o *Observed) Sampling() tracecontext.Sampling {
	if o == nil {
		return tracecontext.Sampling{}
	}
	return o.sampling
}

// The numbers of the fields of OTLP's messages that are written here; a test holds them to its API.
const (
	scopeSpans = 2 // of ScopeSpans

	spanTrace      = 1 // of Span
	spanID         = 2
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanStatus     = 15
	spanFlags      = 16

	statusMessage = 2 // of Status
	statusCode    = 3

	pairKey, pairValue    = 1, 2 // of KeyValue
	valueText, valueWhole = 1, 3 // of AnyValue
)

// maxSpan is more than most spans have, so that they are written on the stack.
const maxSpan = 1024

// span makes one of a call, if its trace is kept.
func (o *Observed) span(c *Call, known *known) {
	own, ok := tracecontext.Parse(c.Trace)
	if !ok || !own.Kept {
		return
	}
	var array [maxSpan]byte
	b := appendBytes(array[:0], spanTrace, own.Trace[:])
	b = appendBytes(b, spanID, own.Span[:])
	flags := uint32(tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK) | 1 // it is sampled
	if parent, ok := tracecontext.Parse(c.TraceParent); ok {
		b = appendBytes(b, spanParent, parent.Span[:])
		flags |= uint32(tracev1.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	b = appendFixed(b, spanStart, uint64(max(0, c.Start.UnixNano())))
	b = appendFixed(b, spanEnd, uint64(max(0, c.Start.Add(c.Duration).UnixNano())))
	b = append(b, known.encoded...)
	if len(c.ID) > 0 {
		b = appendText(b, "jsonrpc.request.id", bytes.Trim(c.ID, `"`))
	}
	if len(c.Resource) > 0 {
		b = appendText(b, "mcp.resource.uri", c.Resource)
	}
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, flags)
	o.spans.add(b)
}

// encode is what spans of calls that are alike have in common.
func encode(c *Call, attributes []attribute.KeyValue) []byte {
	b := appendBytes(nil, spanName, []byte(nameOf(c)))
	b = protowire.AppendTag(b, spanKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(tracev1.Span_SPAN_KIND_SERVER))
	for _, a := range attributes {
		b = appendText(b, string(a.Key), []byte(a.Value.AsString()))
	}
	b = appendNumber(b, "http.response.status_code", uint64(c.Status)) //nolint:gosec // an HTTP status
	var outcome []byte
	if c.Status >= 500 {
		outcome = appendBytes(nil, statusMessage, []byte("HTTP status "+strconv.Itoa(c.Status)))
		outcome = protowire.AppendTag(outcome, statusCode, protowire.VarintType)
		outcome = protowire.AppendVarint(outcome, uint64(tracev1.Status_STATUS_CODE_ERROR))
	}
	return appendBytes(b, spanStatus, outcome)
}

func appendText(b []byte, key string, value []byte) []byte {
	if !utf8.Valid(value) {
		value = bytes.ToValidUTF8(value, []byte("\uFFFD"))
	}
	b = appendKey(b, key, fieldSize(len(value)))
	return protowire.AppendBytes(protowire.AppendTag(b, valueText, protowire.BytesType), value)
}

func appendNumber(b []byte, key string, value uint64) []byte {
	b = appendKey(b, key, 1+protowire.SizeVarint(value))
	return protowire.AppendVarint(protowire.AppendTag(b, valueWhole, protowire.VarintType), value)
}

// appendKey begins an attribute whose value will be of this size.
func appendKey(b []byte, key string, value int) []byte {
	b = protowire.AppendTag(b, spanAttributes, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(fieldSize(len(key))+fieldSize(value))) //nolint:gosec // a length
	b = protowire.AppendString(protowire.AppendTag(b, pairKey, protowire.BytesType), key)
	return protowire.AppendVarint(protowire.AppendTag(b, pairValue, protowire.BytesType), uint64(value)) //nolint:gosec // a length
}

// fieldSize is that of a field of so many bytes, with its tag, which is one byte for all fields up to 15.
func fieldSize(n int) int { return 1 + protowire.SizeBytes(n) }

func appendBytes(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}

func appendFixed(b []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), value)
}
