package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ReplicaMetrics count what several replicas of a gateway do together.
type ReplicaMetrics struct {
	operations *prometheus.HistogramVec
	errors     *prometheus.CounterVec
	listening  prometheus.Counter
	adopted    prometheus.Counter
	handedOver *prometheus.CounterVec
}

// storeOperations are all that there are: each is there before it has happened, so that a rate is right from the first one on.
func storeOperations() []string {
	return []string{"create", "load", "swap", "extend", "delete", "publish"}
}

// Replicas are the metrics of a gateway that shares a store. They are there from the first call on, so that a replica that is alone has none of them.
func (m *Metrics) Replicas() *ReplicaMetrics { return m.replicas() }

func (m *Metrics) newReplicaMetrics() *ReplicaMetrics {
	r := &ReplicaMetrics{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "store_operation_duration_seconds", Help: "How long operations of the store took that replicas share.",
			// A healthy one answers within a millisecond, and requests of clients wait for it.
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "store_operation_errors_total", Help: "Operations of that store that failed.",
		}, []string{"operation"}),
		listening: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "store_subscriptions_total", Help: "How often this replica began to hear the others: at first, and after each loss of the store.",
		}),
		adopted: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "sessions_adopted_total", Help: "Sessions that another replica began, and that this one took from the store for a request of theirs.",
		}),
		handedOver: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "requests_handed_over_total",
			Help: "Requests for what another replica holds, by whether that one answered: failure means that it cannot be reached, and that what it held is lost.",
		}, []string{"result"}),
	}
	for _, operation := range storeOperations() {
		r.operations.WithLabelValues(operation)
		r.errors.WithLabelValues(operation)
	}
	r.handedOver.WithLabelValues("success")
	r.handedOver.WithLabelValues("failure")
	m.registry.MustRegister(r.operations, r.errors, r.listening, r.adopted, r.handedOver)
	return r
}

// Operated takes an operation of the store that has ended. That nobody waits for its end any more is no error of the store's.
func (r *ReplicaMetrics) Operated(operation string, took time.Duration, err error) {
	r.operations.WithLabelValues(operation).Observe(took.Seconds())
	if err != nil && !errors.Is(err, context.Canceled) {
		r.errors.WithLabelValues(operation).Inc()
	}
}

// Listening counts that messages of other replicas come from now on.
func (r *ReplicaMetrics) Listening() { r.listening.Inc() }

// Adopted counts a session that another replica began.
func (r *ReplicaMetrics) Adopted() { r.adopted.Inc() }

// HandedOver counts a request that was handed over to another replica.
func (r *ReplicaMetrics) HandedOver(reached bool) {
	result := "success"
	if !reached {
		result = "failure"
	}
	r.handedOver.WithLabelValues(result).Inc()
}
