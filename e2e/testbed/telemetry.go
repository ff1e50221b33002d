package testbed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// Collector is a real OpenTelemetry collector, which writes down what it gets.
type Collector struct {
	*Process
	// HTTP and GRPC are the endpoints for OTLP.
	HTTP, GRPC string

	traces, metrics string
}

// NewCollector starts a collector.
func NewCollector(t testing.TB) *Collector {
	t.Helper()
	dir, http, grpc := t.TempDir(), FreeAddress(t), FreeAddress(t)
	c := &Collector{HTTP: "http://" + http, GRPC: "http://" + grpc, traces: filepath.Join(dir, "traces.json"), metrics: filepath.Join(dir, "metrics.json")}
	config := fmt.Sprintf(`receivers:
  otlp:
    protocols:
      http: {endpoint: %q}
      grpc: {endpoint: %q}
exporters:
  file/traces: {path: %q, flush_interval: 50ms}
  file/metrics: {path: %q, flush_interval: 50ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/traces]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
`, http, grpc, c.traces, c.metrics)
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Process = Start(t, "OpenTelemetry collector", Command{Path: Program(t, "COLLECTOR_BIN"), Args: []string{"--config", path}})
	AwaitListening(t, c.Process, http)
	AwaitListening(t, c.Process, grpc)
	return c
}

// Attributes are OTLP's, as its JSON has them.
type Attributes []struct {
	Key   string
	Value struct {
		StringValue string
		IntValue    string
	}
}

// Map is the attributes by their keys, whatever their type.
func (a Attributes) Map() map[string]string {
	out := map[string]string{}
	for _, one := range a {
		out[one.Key] = one.Value.StringValue + one.Value.IntValue
	}
	return out
}

// CollectedSpan is one span of a service.
type CollectedSpan struct {
	TraceID           string
	SpanID            string
	ParentSpanID      string
	Name              string
	Kind              int
	StartTimeUnixNano string
	EndTimeUnixNano   string
	Attributes        Attributes
	// Service is of the resource.
	Service string
}

// CollectedMetric is one metric of a service, of which the kind of points is not nil that it has.
type CollectedMetric struct {
	Name      string
	Unit      string
	Gauge     *CollectedPoints
	Sum       *CollectedPoints
	Histogram *CollectedPoints
	Service   string
	Resource  map[string]string
}

// CollectedPoints are the values of a metric.
type CollectedPoints struct{ DataPoints []CollectedPoint }

// CollectedPoint is one of them; Count is that of a histogram.
type CollectedPoint struct {
	Attributes Attributes
	Count      string
}

// collected is one line of a collector's file.
type collected struct {
	ResourceSpans []struct {
		Resource   struct{ Attributes Attributes }
		ScopeSpans []struct{ Spans []CollectedSpan }
	}
	ResourceMetrics []struct {
		Resource     struct{ Attributes Attributes }
		ScopeMetrics []struct{ Metrics []CollectedMetric }
	}
}

// Written is all that the collector has written so far.
func (c *Collector) Written(t testing.TB) string {
	t.Helper()
	var all []byte
	for _, path := range []string{c.traces, c.metrics} {
		data, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return string(all)
}

func (c *Collector) read(t testing.TB) []collected {
	t.Helper()
	var out []collected
	for line := range bytes.Lines([]byte(c.Written(t))) {
		var one collected
		if json.Unmarshal(line, &one) == nil { // the last line may not be whole yet
			out = append(out, one)
		}
	}
	return out
}

// Spans are those that the collector has got so far.
func (c *Collector) Spans(t testing.TB) []CollectedSpan {
	t.Helper()
	var out []CollectedSpan
	for _, line := range c.read(t) {
		for _, resource := range line.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					span.Service = resource.Resource.Attributes.Map()["service.name"]
					out = append(out, span)
				}
			}
		}
	}
	return out
}

// Metrics are the latest that the collector has got of a service, by their names.
func (c *Collector) Metrics(t testing.TB, service string) map[string]CollectedMetric {
	t.Helper()
	out := map[string]CollectedMetric{}
	for _, line := range c.read(t) {
		for _, resource := range line.ResourceMetrics {
			about := resource.Resource.Attributes.Map()
			if about["service.name"] != service {
				continue
			}
			for _, scope := range resource.ScopeMetrics {
				for _, metric := range scope.Metrics {
					metric.Service, metric.Resource = service, about
					out[metric.Name] = metric
				}
			}
		}
	}
	return out
}

// Prometheus is a real one.
type Prometheus struct {
	*Process
	URL string
}

// NewPrometheus starts a Prometheus that scrapes targets twice a second, and evaluates the rules of files if there are any.
func NewPrometheus(t testing.TB, targets []string, rules ...string) *Prometheus {
	t.Helper()
	dir, address := t.TempDir(), FreeAddress(t)
	config, err := json.Marshal(map[string]any{ // which is YAML, too
		"global":     map[string]any{"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
		"rule_files": append([]string{}, rules...),
		"scrape_configs": []any{map[string]any{"job_name": "gateway", "static_configs": []any{
			map[string]any{"targets": targets, "labels": map[string]string{"namespace": "mcp-system", "pod": "gateway"}},
		}}},
	})
	path := filepath.Join(dir, "prometheus.yaml")
	if err == nil {
		err = os.WriteFile(path, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &Prometheus{URL: "http://" + address}
	p.Process = Start(t, "prometheus", Command{Path: Program(t, "PROMETHEUS_BIN"), Args: []string{
		"--config.file", path, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address, "--log.level", "warn",
	}})
	AwaitListening(t, p.Process, address)
	return p
}

// Ask reads a path of Prometheus' API into a value, and tells whether it succeeded: at first, it may not be ready.
func (p *Prometheus) Ask(t testing.TB, path string, into any) bool {
	t.Helper()
	a, err := tryGet(t, p.URL+"/api/v1/"+path)
	if err != nil || a.Status != http.StatusOK {
		return false
	}
	return json.Unmarshal([]byte(a.Body), &struct{ Data any }{into}) == nil
}

// Sample is one of the results of a query.
type Sample struct {
	Metric map[string]string
	Value  [2]any
}

// Query evaluates an expression now.
func (p *Prometheus) Query(t testing.TB, expr string) []Sample {
	t.Helper()
	var got struct{ Result []Sample }
	if !p.Ask(t, "query?query="+url.QueryEscape(expr), &got) {
		return nil
	}
	return got.Result
}
