package telemetry

import "github.com/prometheus/client_golang/prometheus"

// newTranslated makes a counter that has all its series from the beginning, so that a rate is right from the first call on.
func newTranslated() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "translated_calls_total",
		Help: "Calls between a client and a server of different protocol eras, by which one the server is of, and by what became of them.",
	}, []string{"server_era", "outcome"})
	for _, era := range []string{"sessions", "stateless"} {
		for _, outcome := range []string{"answered", "failed", "abandoned"} {
			c.WithLabelValues(era, outcome)
		}
	}
	return c
}

// Translated counts a call between the eras that has ended.
func (m *Metrics) Translated(serverEra, outcome string) {
	m.translated.WithLabelValues(serverEra, outcome).Inc()
}
