package xds

import (
	"sync"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// loadInterval is how often an Envoy reports. It counts anyway, so that a report costs the calls nothing.
const loadInterval = 2 * time.Second

// Load is what Envoys report of the calls to one cluster.
type Load struct {
	// Active are the calls that go on now.
	Active uint64
	// Rate and Errors are the calls that ended in the last interval, and those of them that failed, per second.
	Rate, Errors float64
	// Succeeded and Failed are all that have ended since the process began, or the cluster came.
	Succeeded, Failed uint64
}

// loads collects the reports of every Envoy. It is the load reporting service of Envoy's API.
type loads struct {
	loadv3.UnimplementedLoadReportingServiceServer

	mu     sync.Mutex
	recent map[any]map[string]Load // by stream and cluster: the last report
	ended  map[string]Load         // by cluster: the totals
	// reported tells that there has been a report at all.
	reported bool
}

func newLoads() *loads { return &loads{recent: map[any]map[string]Load{}, ended: map[string]Load{}} }

// StreamLoadStats takes one Envoy's reports for as long as it is connected.
func (l *loads) StreamLoadStats(stream loadv3.LoadReportingService_StreamLoadStatsServer) error {
	defer l.forget(stream)
	first := true
	for {
		request, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		if first { // it only introduces itself, and waits to be told what to report
			first = false
			if err := stream.Send(&loadv3.LoadStatsResponse{SendAllClusters: true, LoadReportingInterval: durationpb.New(loadInterval)}); err != nil {
				return err
			}
			continue
		}
		l.take(stream, request.GetClusterStats())
	}
}

func (l *loads) forget(stream any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.recent, stream)
}

func (l *loads) take(stream any, clusters []*endpointv3.ClusterStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported = true
	report := make(map[string]Load, len(clusters))
	for _, c := range clusters {
		var now Load
		for _, at := range c.GetUpstreamLocalityStats() {
			now.Active += at.GetTotalRequestsInProgress()
			now.Succeeded += at.GetTotalSuccessfulRequests()
			now.Failed += at.GetTotalErrorRequests()
		}
		if seconds := c.GetLoadReportInterval().AsDuration().Seconds(); seconds > 0 {
			now.Rate, now.Errors = float64(now.Succeeded+now.Failed)/seconds, float64(now.Failed)/seconds
		}
		if now == (Load{}) {
			continue
		}
		report[c.GetClusterName()] = now
		total := l.ended[c.GetClusterName()]
		total.Succeeded += now.Succeeded
		total.Failed += now.Failed
		l.ended[c.GetClusterName()] = total
	}
	l.recent[stream] = report
}

// keep drops the totals of clusters that are no more.
func (l *loads) keep(clusters map[string]*resource) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.ended {
		if clusters[name] == nil {
			delete(l.ended, name)
		}
	}
}

// Loads are those of the clusters that are called, as all connected Envoys have reported them last. It is nil as long as none has.
func (s *Server) Loads() map[string]Load {
	l := s.loads
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.reported {
		return nil
	}
	out := make(map[string]Load, len(l.ended))
	for name, total := range l.ended {
		for _, report := range l.recent {
			total.Active += report[name].Active
			total.Rate += report[name].Rate
			total.Errors += report[name].Errors
		}
		out[name] = total
	}
	return out
}
