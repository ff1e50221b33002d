package telemetry

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	prombridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/tracecontext"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// maxSeries bounds the series of one histogram, and the tools that have one of their own. What is beyond it is counted together, in a histogram under the attribute
// otel.metric.overflow.
const maxSeries = 2000

// scope is who measures, in OpenTelemetry's words.
const scope = "github.com/guicassolato/mcp-gateway"

// Call is one request of a client, once it has ended.
type Call = callreport.Call

// Observed measures calls by OpenTelemetry's conventions for MCP, and makes spans of them.
type Observed struct {
	server, client, session metric.Float64Histogram
	tools                   *Tools
	spans                   *spans // nil where nobody wants traces
	sampling                tracecontext.Sampling
	shutdown                []func(context.Context) *Lost // nil if nothing was lost
	told                    atomic.Bool

	mu    sync.RWMutex // guards what follows
	alike map[likeness]*known
}

// NewObserved adds the histograms to the metrics, and sends metrics and traces to where the environment's OTEL_* variables say. Nothing is sent
// unless they name an endpoint.
func (m *Metrics) NewObserved(ctx context.Context, version string, lookup func(string) (string, bool)) (*Observed, error) {
	env := otelEnv(lookup)
	about, err := newResource(ctx, version)
	if err != nil {
		return nil, err
	}
	histograms := prometheus.NewRegistry() // apart from the others, which the bridge sends
	pulled, err := promexporter.New(promexporter.WithRegisterer(histograms), promexporter.WithoutScopeInfo(), promexporter.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	m.histograms = histograms
	options := []sdkmetric.Option{sdkmetric.WithReader(pulled), sdkmetric.WithResource(about), sdkmetric.WithCardinalityLimit(maxSeries)}
	if env.sends("METRICS") {
		exporter, err := env.metricExporter(ctx)
		if err != nil {
			return nil, err
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter,
			sdkmetric.WithProducer(prombridge.NewMetricProducer(prombridge.WithGatherer(m.registry))))))
	}
	meters := sdkmetric.NewMeterProvider(options...)
	o := &Observed{tools: m.tools, alike: map[likeness]*known{}, shutdown: []func(context.Context) *Lost{func(ctx context.Context) *Lost {
		if err := meters.Shutdown(ctx); err != nil {
			return &Lost{What: "metrics", Endpoint: env.endpoint("METRICS"), Err: err}
		}
		return nil
	}}}
	if err := o.instruments(meters.Meter(scope, metric.WithInstrumentationVersion(version))); err != nil {
		return nil, err
	}
	if env.sends("TRACES") {
		if err := o.traces(ctx, env, about, version); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *Observed) instruments(meter metric.Meter) (err error) {
	// The conventions' own boundaries.
	buckets := metric.WithExplicitBucketBoundaries(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
	o.server, err = meter.Float64Histogram("mcp.server.operation.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("How long requests of clients took at the gateway, from their first byte to the last of the answer."))
	if err != nil {
		return err
	}
	o.client, err = meter.Float64Histogram("mcp.client.operation.duration", metric.WithUnit("s"), buckets,
		metric.WithDescription("How long servers took for the calls that Envoy carried to them."))
	if err != nil {
		return err
	}
	// Sessions last longer than what the conventions' boundaries tell apart.
	o.session, err = meter.Float64Histogram("mcp.server.session.duration", metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(0.1, 1, 10, 60, 300, 1800, 3600, 4*3600, 24*3600),
		metric.WithDescription("How long sessions of clients lasted."))
	return err
}

// SessionEnded takes a client's session that has ended.
func (o *Observed) SessionEnded(lasted time.Duration, revision string) {
	o.session.Record(context.Background(), lasted.Seconds(), metric.WithAttributes(attribute.String("mcp.protocol.version", revision),
		attribute.String("network.transport", "tcp"), attribute.String("network.protocol.name", "http")))
}

// Told tells whether anybody has told of a call yet.
func (o *Observed) Told() bool { return o.told.Load() }

// Took takes a call that has ended.
func (o *Observed) Took(c *Call) {
	if !o.told.Load() { // all goroutines have it at hand for as long as nobody writes it
		o.told.Store(true)
	}
	o.tools.ended(c)
	known := o.known(c)
	o.server.Record(context.Background(), c.Duration.Seconds(), known.options...)
	if c.Upstream > 0 && !c.Broker {
		o.client.Record(context.Background(), c.Upstream.Seconds(), known.options...)
	}
	if o.spans != nil {
		o.span(c, known)
	}
}

// known are the attributes of calls that are alike, as metrics take them and as their spans have them.
type known struct {
	options []metric.RecordOption
	encoded []byte
}

// likeness is what the attributes of a call depend on.
type likeness struct {
	callreport.Kind
	status int
}

// known attributes are remembered, since most calls are like another, and sorting attributes takes longer than counting.
func (o *Observed) known(c *Call) *known {
	like := likeness{c.Kind, c.Status}
	o.mu.RLock()
	got, full := o.alike[like], len(o.alike) >= maxSeries
	o.mu.RUnlock()
	if got != nil {
		return got
	}
	list := attributesOf(c)
	made := &known{options: []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(list...))}}
	if o.spans != nil {
		made.encoded = encode(c, list)
	}
	if !full && methodName(c.Method) != otherMethod { // what clients make up is not worth remembering
		o.mu.Lock()
		defer o.mu.Unlock()
		o.alike[like] = made
	}
	return made
}

// attributesOf are bounded: only what the catalog has gets a name, and only methods that there are.
func attributesOf(c *Call) []attribute.KeyValue {
	out := []attribute.KeyValue{
		attribute.String("mcp.method.name", methodName(c.Method)),
		attribute.String("network.transport", "tcp"), attribute.String("network.protocol.name", "http"),
	}
	if revision := c.Revision; revision != "" {
		out = append(out, attribute.String("mcp.protocol.version", revision))
	}
	if server := c.Server; server != "" && server != wire.BrokerServer {
		out = append(out, attribute.String("mcp.gateway.server", server))
	}
	if tool := c.Tool; tool != "" {
		out = append(out, attribute.String("gen_ai.tool.name", c.PublicName), attribute.String("gen_ai.operation.name", "execute_tool"))
	}
	if prompt := c.Prompt; prompt != "" {
		out = append(out, attribute.String("gen_ai.prompt.name", c.PublicName))
	}
	switch {
	case c.Status == 0:
		out = append(out, attribute.String("error.type", "cancelled")) // nobody waited for an answer
	case c.Status >= 400:
		out = append(out, attribute.String("error.type", strconv.Itoa(c.Status)))
	}
	return out
}

// otherMethod stands for what a client made up.
const otherMethod = "_OTHER"

func methodName(method string) string {
	known := []string{
		"initialize", "ping", "tools/list", "tools/call", "prompts/list", "prompts/get", "resources/list", "resources/templates/list", "resources/read",
		"resources/subscribe", "resources/unsubscribe", "completion/complete", "logging/setLevel", "server/discover", "subscriptions/listen",
		"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed",
		"tasks/get", "tasks/list", "tasks/cancel", "tasks/result", "tasks/update",
	}
	if slices.Contains(known, method) {
		return method
	}
	return otherMethod
}

// nameOf is the method and, where it has one, its target.
func nameOf(c *Call) string {
	name := methodName(c.Method)
	if target := c.PublicName; target != "" && (c.Tool != "" || c.Prompt != "") {
		name += " " + strings.ToValidUTF8(target, "\uFFFD")
	}
	return name
}
