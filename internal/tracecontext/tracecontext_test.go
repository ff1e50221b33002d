package tracecontext

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	spanID  = "b7ad6b7169203331"
)

func good() map[string]bool {
	return map[string]bool{
		"00-" + traceID + "-" + spanID + "-01": true, "00-" + traceID + "-" + spanID + "-00": false, "00-" + traceID + "-" + spanID + "-02": false,
		"01-" + traceID + "-" + spanID + "-03-more": true, "cc-" + traceID + "-" + spanID + "-01": true,
	}
}

func bad() []string {
	return []string{
		"", "x", "---", "00-" + traceID + "-" + spanID, "00-" + traceID + "-" + spanID + "-", "ff-" + traceID + "-" + spanID + "-01",
		"00-" + traceID + "-" + spanID + "-01-x", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01",
		"00-" + traceID + "-" + spanID + "-zz", "00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", "0-" + traceID + "-" + spanID + "-01",
		"00-" + traceID[1:] + "-" + spanID + "-01", "00-" + traceID + "-" + spanID + "0-01", "0x-" + traceID + "-" + spanID + "-01",
	}
}

// TestParse: what is read is what was written, and what is no traceparent is none.
func TestParse(t *testing.T) {
	for text, kept := range good() {
		p, ok := Parse(text)
		require.True(t, ok, text)
		assert.Equal(t, kept, p.Kept, text)
		again, ok := Parse(p.String())
		require.True(t, ok, p.String())
		assert.Equal(t, p, again)
		assert.Equal(t, traceID, p.String()[3:35])
		assert.Equal(t, spanID, p.String()[36:52])
		assert.Len(t, p.String(), Length)
	}
	for _, text := range bad() {
		p, ok := Parse(text)
		assert.False(t, ok, text)
		assert.Zero(t, p, text)
	}
}

// TestBegin: the gateway's span is a new one, in the client's trace if there is one.
func TestBegin(t *testing.T) {
	s := Sampling{On: true, FollowParent: true, Ratio: 1}
	for text, kept := range good() {
		p, own := mustParse(t, text), begun(t, s, text, true)
		assert.Equal(t, p.Trace, own.Trace, text)
		assert.NotEqual(t, p.Span, own.Span, text)
		assert.Equal(t, kept, own.Kept, "the client decides")
	}
	seen := map[string]bool{}
	for _, text := range bad() {
		own := begun(t, s, text, false)
		assert.True(t, own.Kept, "nobody has decided")
		assert.NotContains(t, own.String(), traceID)
		assert.Equal(t, own, mustParse(t, own.String()))
		assert.False(t, seen[own.String()], "every trace is a new one")
		seen[own.String()] = true
	}
}

func begun(t *testing.T, s Sampling, text string, follows bool) Parent {
	t.Helper()
	own, ok := s.Begin(text)
	require.Equal(t, follows, ok, text)
	return own
}

func mustParse(t *testing.T, text string) Parent {
	t.Helper()
	p, ok := Parse(text)
	require.True(t, ok, text)
	return p
}

// TestSamplersAgree: the same traces are kept as by OpenTelemetry's own samplers.
func TestSamplersAgree(t *testing.T) {
	kept := map[bool]int{}
	for name, tt := range map[string]struct {
		own   Sampling
		otels sdktrace.Sampler
	}{
		"always on":             {Sampling{Ratio: 1}, sdktrace.AlwaysSample()},
		"always off":            {Sampling{}, sdktrace.NeverSample()},
		"a third":               {Sampling{Ratio: 1. / 3}, sdktrace.TraceIDRatioBased(1. / 3)},
		"nearly all":            {Sampling{Ratio: math.Nextafter(1, 0)}, sdktrace.TraceIDRatioBased(math.Nextafter(1, 0))},
		"nearly none":           {Sampling{Ratio: 1e-9}, sdktrace.TraceIDRatioBased(1e-9)},
		"the client's":          {Sampling{FollowParent: true, Ratio: 1}, sdktrace.ParentBased(sdktrace.AlwaysSample())},
		"the client's, or none": {Sampling{FollowParent: true}, sdktrace.ParentBased(sdktrace.NeverSample())},
		"the client's, or half": {Sampling{FollowParent: true, Ratio: .5}, sdktrace.ParentBased(sdktrace.TraceIDRatioBased(.5))},
	} {
		for range 1000 {
			for _, from := range []string{"", begun(t, Sampling{Ratio: 1}, "", false).String(), begun(t, Sampling{}, "", false).String()} {
				own := begun(t, tt.own, from, from != "")
				ctx := context.Background()
				if p, ok := Parse(from); ok {
					flags := trace.TraceFlags(0).WithSampled(p.Kept)
					ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: p.Trace, SpanID: p.Span, TraceFlags: flags}))
				}
				got := tt.otels.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: own.Trace})
				require.Equal(t, got.Decision == sdktrace.RecordAndSample, own.Kept, "%s: %q, %s", name, from, own)
				kept[own.Kept]++
			}
		}
	}
	assert.Greater(t, kept[true], 1000)
	assert.Greater(t, kept[false], 1000)
}

func FuzzParse(f *testing.F) {
	for text := range good() {
		f.Add(text)
	}
	for _, text := range bad() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := Parse(text); ok && text[:3] == "00-" {
			assert.Equal(t, text[:Length-2], p.String()[:Length-2])
		}
	})
}

func BenchmarkBegin(b *testing.B) {
	s := Sampling{On: true, FollowParent: true, Ratio: 1}
	text := "00-" + traceID + "-" + spanID + "-01"
	b.ReportAllocs()
	for b.Loop() {
		if own, ok := s.Begin(text); !ok || own.String() == text {
			b.Fatal(own)
		}
	}
}
