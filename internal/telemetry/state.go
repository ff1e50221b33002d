package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// state tells what is, as opposed to what has happened, at the moment when it is asked.
type state struct{ sources Sources }

func items() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_catalog_items", "What is offered to clients, by kind.", []string{"kind"}, nil)
}

func problems() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_catalog_problems", "What servers have that is not offered as it stands; /status names it.", nil, nil)
}

func serverState() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_server_state", "1 for the state that a server is in.", []string{"server", "state"}, nil)
}

func sessions() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_sessions", "Open sessions of clients.", nil, nil)
}

// Describe implements prometheus.Collector.
func (s *state) Describe(out chan<- *prometheus.Desc) {
	out <- items()
	out <- problems()
	out <- serverState()
	out <- sessions()
}

// Collect implements prometheus.Collector.
func (s *state) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(sessions(), float64(s.sources.Sessions()))
	snap := s.sources.Snapshot()
	if snap == nil {
		return
	}
	gauge(items(), float64(len(snap.Items(catalog.Tool))), "tool")
	gauge(items(), float64(len(snap.Items(catalog.Prompt))), "prompt")
	gauge(items(), float64(len(snap.Items(catalog.Resource))), "resource")
	gauge(items(), float64(len(snap.Items(catalog.Template))), "template")
	gauge(problems(), float64(len(snap.Problems())))
	for _, server := range snap.Servers() {
		for _, health := range []catalog.Health{catalog.HealthConnecting, catalog.HealthReady, catalog.HealthFailing, catalog.HealthDisabled} {
			v := 0.0
			if server.State.Health == health {
				v = 1
			}
			gauge(serverState(), v, server.Name, string(health))
		}
	}
}
