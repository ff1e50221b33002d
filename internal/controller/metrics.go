package controller

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// metrics are our own beside controller-runtime's.
type metrics struct {
	translations *prometheus.HistogramVec
	objects      *prometheus.GaugeVec
	writes       *prometheus.CounterVec
	fits         *prometheus.GaugeVec
	size         *prometheus.GaugeVec
}

func newMetrics() (*metrics, error) {
	const namespace, subsystem = "mcp_gateway", "controller"
	m := &metrics{
		translations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "translation_seconds", Help: "How long it takes to make a configuration of all objects.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3},
		}, []string{"gateway"}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "objects", Help: "MCPServers and MCPVirtualServers of a gateway, by what the condition Programmed says.",
		}, []string{"gateway", "kind", "programmed"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "writes_total", Help: "Objects and statuses written to the API server.",
		}, []string{"kind"}),
		fits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "config_fits", Help: "1 if the configuration can be written, 0 if it is too large and an older one stays in force.",
		}, []string{"gateway"}),
		size: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "config_bytes", Help: "The size of the configuration.",
		}, []string{"gateway"}),
	}
	// controller-runtime has one registry for the process, in which tests make several controllers.
	err := errors.Join(register(&m.translations), register(&m.objects), register(&m.writes), register(&m.fits), register(&m.size))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return m, nil
}

func register[C prometheus.Collector](c *C) error {
	err := ctrlmetrics.Registry.Register(*c)
	var before prometheus.AlreadyRegisteredError
	if !errors.As(err, &before) {
		return err
	}
	same, ok := before.ExistingCollector.(C)
	if !ok {
		return err
	}
	*c = same
	return nil
}

// count tells how many objects there are.
func (m *metrics) count(gateway string, list []*verdict) {
	m.objects.DeletePartialMatch(prometheus.Labels{"gateway": gateway})
	for _, v := range list {
		if v.release {
			continue
		}
		m.objects.WithLabelValues(gateway, v.kind, v.programmed()).Inc()
	}
}
