package telemetry

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// batching is how spans are sent: by the variables OTEL_BSP_…, with OpenTelemetry's defaults.
type batching struct {
	delay, timeout time.Duration
	queue, batch   int
}

func (e otelEnv) batching() batching {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(e.get("OTEL_BSP_" + name)); err == nil && n > 0 {
			return n
		}
		return otherwise
	}
	b := batching{queue: number("MAX_QUEUE_SIZE", 2048), batch: number("MAX_EXPORT_BATCH_SIZE", 512)}
	b.batch = min(b.batch, b.queue)
	b.delay = time.Duration(number("SCHEDULE_DELAY", 5000)) * time.Millisecond
	b.timeout = time.Duration(number("EXPORT_TIMEOUT", 30_000)) * time.Millisecond
	return b
}

// spans sends spans that are encoded already, many together. A collector that is away or slow costs the latest ones, and no call any time. OpenTelemetry's
// own processor takes spans as objects, which costs ten times as much as their bytes: a span here is a few copies of what calls have in common.
type spans struct {
	client otlptrace.Client
	batching
	of    *tracev1.ResourceSpans // without a span
	full  chan struct{}          // a batch is
	end   chan struct{}
	stop  context.CancelFunc // of what is on its way
	ended chan struct{}

	mu     sync.Mutex // guards what follows, for as long as it takes to copy a span
	bytes  []byte     // of the spans, as fields of a ScopeSpans
	ends   []int      // where each of them ends
	flying int        // spans on their way
	lost   int        // spans that nobody took
	fault  error      // of the last batch that did not come
	closed bool
}

func newSpans(ctx context.Context, client otlptrace.Client, b batching, about *resource.Resource, version string) *spans {
	s := &spans{client: client, batching: b, full: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{})}
	attributes := make([]*commonv1.KeyValue, 0, about.Len())
	for _, a := range about.Attributes() {
		attributes = append(attributes, &commonv1.KeyValue{Key: string(a.Key), Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: a.Value.String()}}})
	}
	s.of = &tracev1.ResourceSpans{
		Resource: &resourcev1.Resource{Attributes: attributes}, SchemaUrl: about.SchemaURL(),
		ScopeSpans: []*tracev1.ScopeSpans{{Scope: &commonv1.InstrumentationScope{Name: scope, Version: version}}},
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx)) // what is left at the end is sent as well
	go s.run(ctx)
	return s
}

// add takes one span, unless too many wait.
func (s *spans) add(span []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ends) >= s.queue || s.closed {
		s.lost++
		return
	}
	s.bytes = appendBytes(s.bytes, scopeSpans, span)
	s.ends = append(s.ends, len(s.bytes))
	if len(s.ends) >= s.batch {
		select {
		case s.full <- struct{}{}:
		default:
		}
	}
}

// run sends batches that are full at once, and others after a while.
func (s *spans) run(ctx context.Context) {
	defer close(s.ended)
	ticker := time.NewTicker(s.delay)
	defer ticker.Stop()
	for {
		least := 1
		select {
		case <-s.full:
			least = s.batch
		case <-ticker.C:
		case <-s.end:
			return
		}
		for s.waiting() >= least {
			s.send(ctx)
			least = s.batch
		}
	}
}

func (s *spans) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}

// send sends a batch of those that wait longest. They make room for others before it is known whether they have come.
func (s *spans) send(ctx context.Context) {
	batch := s.takeOff()
	if batch == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	message := &tracev1.ScopeSpans{Scope: s.of.GetScopeSpans()[0].GetScope()}
	message.ProtoReflect().SetUnknown(batch) // which is what its spans are on the wire
	err := s.client.UploadTraces(ctx, []*tracev1.ResourceSpans{{Resource: s.of.GetResource(), SchemaUrl: s.of.GetSchemaUrl(), ScopeSpans: []*tracev1.ScopeSpans{message}}})
	if s.landed(err) {
		otel.Handle(err)
	}
}

// landed takes what became of a batch, and tells whether somebody has to hear of it now: at the end, everything is told together.
func (s *spans) landed(err error) (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.lost, s.fault = s.lost+s.flying, err
	}
	s.flying = 0
	return err != nil && !s.closed
}

// takeOff is the next batch, nil if nothing waits.
func (s *spans) takeOff() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(s.batch, len(s.ends))
	if n == 0 {
		return nil
	}
	size := s.ends[n-1]
	batch := append([]byte(nil), s.bytes[:size]...)
	s.bytes = append(s.bytes[:0], s.bytes[size:]...)
	s.ends = append(s.ends[:0], s.ends[n:]...)
	for i := range s.ends {
		s.ends[i] -= size
	}
	s.flying = n
	return batch
}

// close sends what is still there, for as long as the context lasts. It tells how many spans were lost by that, why, and how many had been lost before.
func (s *spans) close(ctx context.Context) (lost, before int, why error) {
	s.mu.Lock()
	again := s.closed
	s.closed, before, s.fault = true, s.lost, nil
	s.mu.Unlock()
	if again {
		return 0, before, nil
	}
	defer s.stop()
	close(s.end)
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	for s.waiting() > 0 && ctx.Err() == nil {
		s.send(ctx)
	}
	stopped := s.client.Stop(ctx) // which ends what is on its way
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost = s.lost - before + s.flying + len(s.ends); lost > 0 {
		why = cmp.Or(s.fault, stopped, context.Cause(ctx))
	}
	return lost, before, why
}
