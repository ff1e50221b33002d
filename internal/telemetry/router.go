package telemetry

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// maxStatus is one past the highest HTTP status.
const maxStatus = 600

// RouterMetrics count the router's decisions. Each counter is looked up once, so that counting costs one atomic addition.
type RouterMetrics struct {
	decisions *prometheus.CounterVec
	faults    prometheus.Counter
	resolved  [4][maxStatus]atomic.Pointer[prometheus.Counter]
}

func newRouterMetrics() *RouterMetrics {
	return &RouterMetrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "router_decisions_total",
			Help: "Requests by what the router decided (server, broker, reply) and, for a reply, its HTTP status.",
		}, []string{"outcome", "status"}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "router_faults_total", Help: "Requests that failed by a fault in the router, which was contained.",
		}),
	}
}

// Decided counts a decision: "server", "broker" or "reply", and the reply's status.
func (m *RouterMetrics) Decided(outcome string, status int) { m.Count(outcome, status, 1) }

// Count counts decisions that were made elsewhere.
func (m *RouterMetrics) Count(outcome string, status, n int) {
	row := outcomeRow(outcome)
	if status < 0 || status >= maxStatus {
		status = 0
	}
	if c := m.resolved[row][status].Load(); c != nil {
		(*c).Add(float64(n))
		return
	}
	label := ""
	if status > 0 {
		label = strconv.Itoa(status)
	}
	c := m.decisions.WithLabelValues(outcome, label)
	if row > 0 {
		m.resolved[row][status].Store(&c)
	}
	c.Add(float64(n))
}

// outcomeRow is 0 for an outcome that is not known here.
func outcomeRow(outcome string) int {
	switch outcome {
	case "server":
		return 1
	case "broker":
		return 2
	case "reply":
		return 3
	}
	return 0
}

// Fault counts a contained fault.
func (m *RouterMetrics) Fault() { m.Faults(1) }

// Faults counts faults that were contained elsewhere.
func (m *RouterMetrics) Faults(n int) { m.faults.Add(float64(n)) }
