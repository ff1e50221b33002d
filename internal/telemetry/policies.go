package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PolicyMetrics count what becomes of the policy values.
type PolicyMetrics struct {
	reloads    *prometheus.CounterVec
	reloaded   prometheus.Gauge
	good       prometheus.Gauge
	generation prometheus.Gauge
}

// Policies are the metrics of the policy values. They are there from the first call on, so that a gateway without policies has none of them.
func (m *Metrics) Policies() *PolicyMetrics {
	if m.policies != nil {
		return m.policies
	}
	p := &PolicyMetrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "policy_reloads_total", Help: "Changes of the policy values, by what became of them.",
		}, []string{"result"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "policy_last_success_timestamp_seconds", Help: "When the policy values in force were taken.",
		}),
		good: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "policy_valid", Help: "1 if the policy values as they stand now are in force, 0 if they were refused.",
		}),
		generation: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "policy_generation", Help: "How many policy values have been in force since the process began; /status has it too.",
		}),
	}
	p.reloads.WithLabelValues("success")
	p.reloads.WithLabelValues("failure")
	m.registry.MustRegister(p.reloads, p.reloaded, p.good, p.generation)
	m.policies = p
	return p
}

// Taken counts policy values that came into force.
func (p *PolicyMetrics) Taken(at time.Time, generation int) {
	p.reloads.WithLabelValues("success").Inc()
	p.reloaded.Set(float64(at.UnixMilli()) / 1000)
	p.good.Set(1)
	p.generation.Set(float64(generation))
}

// Refused counts bad policy values, in place of which those before stay in force.
func (p *PolicyMetrics) Refused() {
	p.reloads.WithLabelValues("failure").Inc()
	p.good.Set(0)
}

// Recovered says that the values are again those in force.
func (p *PolicyMetrics) Recovered() { p.good.Set(1) }
