package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// state tells what is, as opposed to what has happened, at the moment when it is asked.
type state struct {
	sources Sources
	carried *Carried
}

// Who carries a call.
const (
	byEnvoy  = "envoy"
	byBroker = "broker"
)

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

func callsActive() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_server_calls_active", "Calls of a server that go on now, by who carries them: Envoys, as they reported last, or the broker.", []string{"server", "carrier"}, nil)
}

func callsEnded() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_server_calls_total", "Calls of a server that have ended, by who carried them, and by what became of them: an error is an HTTP status of 500 and more, or no answer.",
		[]string{"server", "carrier", "result"}, nil)
}

// Describe implements prometheus.Collector.
func (s *state) Describe(out chan<- *prometheus.Desc) {
	out <- items()
	out <- problems()
	out <- serverState()
	out <- sessions()
	out <- callsActive()
	out <- callsEnded()
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
	calls := func(server, carrier string, calls Calls) {
		gauge(callsActive(), float64(calls.Active), server, carrier)
		out <- prometheus.MustNewConstMetric(callsEnded(), prometheus.CounterValue, float64(calls.Succeeded), server, carrier, "success")
		out <- prometheus.MustNewConstMetric(callsEnded(), prometheus.CounterValue, float64(calls.Failed), server, carrier, "error")
	}
	if s.sources.Calls != nil {
		for server, n := range s.sources.Calls() {
			calls(server, byEnvoy, n)
		}
	}
	for server, n := range s.carried.Calls() {
		calls(server, byBroker, n.Calls)
	}
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
