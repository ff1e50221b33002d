package telemetry

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// namespace begins the name of every metric of the gateway's own.
const namespace = "mcp_gateway"

// Sources are asked when metrics are read.
type Sources struct {
	Snapshot func() *catalog.Snapshot
	Sessions func() int
	// Calls are those that Envoys tell of, by server; nil where no Envoy is fed.
	Calls func() map[string]Calls
}

// Calls are the calls of one server.
type Calls struct{ Active, Succeeded, Failed uint64 }

// Metrics are the metrics of one process, on a registry of their own.
type Metrics struct {
	registry *prometheus.Registry
	router   *RouterMetrics
	reloads  *prometheus.CounterVec
	reloaded prometheus.Gauge
	good     prometheus.Gauge
	listings *prometheus.CounterVec
	policies *PolicyMetrics // nil where there are none
	replicas func() *ReplicaMetrics
	// translated are calls between the protocol's eras.
	translated *prometheus.CounterVec
	carried    Carried
	tools      *Tools
	// histograms are those of calls; nil where calls are not measured.
	histograms prometheus.Gatherer
}

// NewMetrics makes the metrics of a gateway of the given version.
func NewMetrics(version string, sources Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		router:   newRouterMetrics(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "config_reloads_total", Help: "Changes of the configuration, by what became of them.",
		}, []string{"result"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_last_success_timestamp_seconds", Help: "When the configuration in force was taken.",
		}),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "config_valid", Help: "1 if the configuration as it stands now is in force, 0 if it was refused.",
		}),
		listings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "upstream_listings_total", Help: "New lists of tools, prompts and resources taken from a server.",
		}, []string{"server"}),
		translated: newTranslated(), tools: newTools(sources.Snapshot),
	}
	m.replicas = sync.OnceValue(m.newReplicaMetrics)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the gateway's version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.reloads.WithLabelValues("success")
	m.reloads.WithLabelValues("failure")
	m.registry.MustRegister(build, m.router.decisions, m.router.faults, m.reloads, m.reloaded, m.good, m.listings, m.translated,
		&state{sources: sources, carried: &m.carried}, m.tools,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	gatherers := prometheus.Gatherers{m.registry}
	if m.histograms != nil {
		gatherers = append(gatherers, m.histograms)
	}
	return promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{})
}

// Router is for the router's adapter.
func (m *Metrics) Router() *RouterMetrics { return m.router }

// ConfigTaken counts a configuration that came into force.
func (m *Metrics) ConfigTaken(at time.Time) {
	m.reloads.WithLabelValues("success").Inc()
	m.reloaded.Set(float64(at.UnixMilli()) / 1000)
	m.good.Set(1)
}

// ConfigRefused counts a bad configuration, in place of which the one before stays in force.
func (m *Metrics) ConfigRefused() {
	m.reloads.WithLabelValues("failure").Inc()
	m.good.Set(0)
}

// ConfigRecovered says that the configuration is again what is in force.
func (m *Metrics) ConfigRecovered() { m.good.Set(1) }

// Listed counts a new listing of a server.
func (m *Metrics) Listed(server string) { m.listings.WithLabelValues(server).Inc() }

// Forget drops what was counted of a server that left the configuration.
func (m *Metrics) Forget(server string) {
	m.listings.DeleteLabelValues(server)
	m.carried.forget(server)
}

// Carried are the calls that the broker makes.
func (m *Metrics) Carried() *Carried { return &m.carried }

// Tools are the calls of tools.
func (m *Metrics) Tools() *Tools { return m.tools }

// Called counts a call that the broker makes, of a tool if it has a counter.
func (m *Metrics) Called(server string, tool *tally.Counter) (over func(status int)) {
	return called(tool, m.carried.Called(server))
}
