package telemetry

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
)

// receiver is a collector's side: it gets messages as they are on the wire.
type receiver struct {
	hold chan struct{} // if not nil, each message waits for it

	mu      sync.Mutex
	batches [][]*tracev1.Span
	fault   error
	stopped bool
}

func (r *receiver) Start(context.Context) error { return nil }

func (r *receiver) Stop(context.Context) error {
	r.stopped = true
	return nil
}

func (r *receiver) UploadTraces(ctx context.Context, all []*tracev1.ResourceSpans) error {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	data, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: all})
	if err != nil {
		return err
	}
	var got tracev1.TracesData
	if err := proto.Unmarshal(data, &got); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, got.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans())
	return r.fault
}

func (r *receiver) sizes() (out []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, batch := range r.batches {
		out = append(out, len(batch))
	}
	return out
}

func sending(t *testing.T, r *receiver, b batching) *Observed {
	t.Helper()
	_, o, err := observed(t, nil)
	require.NoError(t, err)
	o.spans = newSpans(t.Context(), r, b, resource.NewSchemaless(attribute.String("service.name", "x")), "1")
	return o
}

func usual() batching { return otelEnv(func(string) (string, bool) { return "", false }).batching() }

func tracedCall(change ...func(*Call)) *Call {
	c := &Call{
		Start: time.Unix(1, 5), Duration: 40 * time.Millisecond, Upstream: time.Millisecond, Status: 200,
		Kind: callreport.Kind{Method: "tools/call", Server: "weather", Tool: "get_forecast", PublicName: "weather_get_forecast"},
		Own: callreport.Own{
			ID:          []byte(`"a"`),
			Trace:       []byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
			TraceParent: []byte("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00"),
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// TestSpan: what is written is what OpenTelemetry's API has in a span.
func TestSpan(t *testing.T) {
	r := &receiver{}
	o := sending(t, r, usual())
	o.Took(tracedCall())
	o.Took(tracedCall(func(c *Call) { c.Trace[len(c.Trace)-1] = '0' })) // not kept
	o.Took(tracedCall(func(c *Call) { c.Trace = nil }))
	o.Took(tracedCall(func(c *Call) {
		c.Status = 503
		c.Kind = callreport.Kind{Method: "resources/read", Revision: "2026-07-28"}
		c.Own = callreport.Own{Trace: c.Trace, Resource: []byte("x://\xff" + strings.Repeat("y", 2*maxSpan)), ID: []byte("9007199254740993")}
	}))
	lost, before, err := o.spans.close(t.Context())
	require.NoError(t, err)
	assert.Zero(t, lost+before)
	assert.True(t, r.stopped)
	require.Equal(t, []int{2}, r.sizes())
	good, bad := r.batches[0][0], r.batches[0][1]
	assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(good.GetTraceId()))
	assert.Equal(t, "b7ad6b7169203331", hex.EncodeToString(good.GetSpanId()))
	assert.Equal(t, "00f067aa0ba902b7", hex.EncodeToString(good.GetParentSpanId()))
	assert.Equal(t, "tools/call weather_get_forecast", good.GetName())
	assert.Equal(t, tracev1.Span_SPAN_KIND_SERVER, good.GetKind())
	assert.Equal(t, []uint64{1_000_000_005, 1_040_000_005}, []uint64{good.GetStartTimeUnixNano(), good.GetEndTimeUnixNano()})
	assert.Equal(t, uint32(0x301), good.GetFlags(), "sampled, with a parent of which it is known that it is remote")
	assert.Equal(t, tracev1.Status_STATUS_CODE_UNSET, good.GetStatus().GetCode())
	assert.Equal(t, map[string]string{
		"mcp.method.name": "tools/call", "network.transport": "tcp", "network.protocol.name": "http", "mcp.gateway.server": "weather",
		"gen_ai.tool.name": "weather_get_forecast", "gen_ai.operation.name": "execute_tool", "jsonrpc.request.id": "a",
	}, texts(good.GetAttributes()))
	assert.True(t, slices.ContainsFunc(good.GetAttributes(), func(a *commonv1.KeyValue) bool {
		return a.GetKey() == "http.response.status_code" && a.GetValue().GetIntValue() == 200
	}))
	assert.Empty(t, good.ProtoReflect().GetUnknown())
	assert.Empty(t, bad.GetParentSpanId())
	assert.Equal(t, uint32(0x101), bad.GetFlags())
	assert.Equal(t, tracev1.Status_STATUS_CODE_ERROR, bad.GetStatus().GetCode())
	assert.Equal(t, "HTTP status 503", bad.GetStatus().GetMessage())
	got := texts(bad.GetAttributes())
	assert.Equal(t, []string{"503", "2026-07-28", "9007199254740993"}, []string{got["error.type"], got["mcp.protocol.version"], got["jsonrpc.request.id"]})
	assert.Equal(t, "x://\uFFFD"+strings.Repeat("y", 2*maxSpan), got["mcp.resource.uri"])
}

func texts(list []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		if text, ok := a.GetValue().GetValue().(*commonv1.AnyValue_StringValue); ok {
			out[a.GetKey()] = text.StringValue
		}
	}
	return out
}

// TestBatches: full batches go at once, others after a while, and what a slow collector cannot take in is bounded.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		s := newSpans(t.Context(), r, batching{delay: time.Second, timeout: time.Minute, queue: 10, batch: 4}, resource.Empty(), "1")
		add := func(n int) {
			for range n {
				s.add([]byte{})
			}
			synctest.Wait()
		}
		add(3)
		assert.Empty(t, r.sizes())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []int{3}, r.sizes(), "after a while")
		for range 5 {
			add(1)
		}
		assert.Equal(t, []int{3, 4}, r.sizes(), "a full batch at once")
		r.hold = make(chan struct{})
		add(3) // with the one that is left, this is a batch, which is on its way
		add(20)
		r.fault = errors.New("the collector is away")
		close(r.hold)
		synctest.Wait()
		assert.Equal(t, []int{3, 4, 4, 4, 4}, r.sizes(), "no more than 10 have waited")
		r.mu.Lock()
		r.fault = nil
		r.mu.Unlock()
		lost, before, err := s.close(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []int{0, 10 + 12}, []int{lost, before}, "what did not wait, and what the collector did not take")
		s.add([]byte{})
		lost, before, err = s.close(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []int{0, 10 + 12 + 1}, []int{lost, before})
		assert.Equal(t, []int{3, 4, 4, 4, 4, 2}, r.sizes(), "the rest at the end, and then nothing")
	})
}

// TestStuckCollector: the end waits no longer than it may.
func TestStuckCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{hold: make(chan struct{})}
		s := newSpans(t.Context(), r, batching{delay: time.Second, timeout: time.Minute, queue: 10, batch: 1}, resource.Empty(), "1")
		s.add([]byte{})
		s.add([]byte{})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		lost, before, err := s.close(ctx)
		require.Error(t, err)
		assert.Equal(t, []int{2, 0}, []int{lost, before}, "the one that was on its way, and the one behind it")
		assert.Equal(t, 5*time.Second, time.Since(began))
		assert.True(t, r.stopped)
		close(r.hold)
		synctest.Wait()
	})
}

func TestBatching(t *testing.T) {
	env := map[string]string{}
	lookup := otelEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	want := batching{delay: 5 * time.Second, timeout: 30 * time.Second, queue: 2048, batch: 512}
	assert.Equal(t, want, lookup.batching())
	env["OTEL_BSP_SCHEDULE_DELAY"], env["OTEL_BSP_MAX_QUEUE_SIZE"] = "nonsense", "-1"
	assert.Equal(t, want, lookup.batching(), "what makes no sense is not taken")
	env["OTEL_BSP_SCHEDULE_DELAY"], env["OTEL_BSP_EXPORT_TIMEOUT"], env["OTEL_BSP_MAX_QUEUE_SIZE"], env["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] = "100", "200", "10", "20"
	assert.Equal(t, batching{delay: 100 * time.Millisecond, timeout: 200 * time.Millisecond, queue: 10, batch: 10}, lookup.batching())
}

func BenchmarkSpan(b *testing.B) {
	m := NewMetrics("1", Sources{})
	o, err := m.NewObserved(b.Context(), "1", func(string) (string, bool) { return "", false })
	if err != nil {
		b.Fatal(err)
	}
	o.spans = newSpans(b.Context(), &nowhere{}, usual(), resource.Empty(), "1")
	own, _ := tracecontext.Sampling{Ratio: 1}.Begin("")
	c := tracedCall(func(c *Call) { c.Trace = []byte(own.String()) })
	b.ReportAllocs()
	for b.Loop() {
		o.Took(c)
	}
}

// nowhere encodes what it is told to send.
type nowhere struct{ receiver }

func (*nowhere) UploadTraces(_ context.Context, all []*tracev1.ResourceSpans) error {
	_, err := proto.Marshal(&tracev1.TracesData{ResourceSpans: all})
	return err
}
