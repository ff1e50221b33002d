package xds

import (
	"log/slog"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
)

// maxMessage bounds what an Envoy may send at once. One that reconnects lists every resource that it holds; gRPC's own limit of 4 MiB would
// do for some tens of thousands of them.
const maxMessage = 64 << 20

// Server feeds the current resources to every Envoy that connects, over the incremental aggregated discovery service, and knows what each of
// them has taken. It is made by [NewServer].
//
// One change is sent so that nothing refers to what is not there yet: secrets and clusters, then filters, then listeners, then routes, each
// once the Envoy has acknowledged what comes before; what is gone is taken away last. A response that an Envoy refuses is taken apart until
// the culprit is found, so that one bad resource costs the others nothing.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	logger *slog.Logger
	now    func() time.Time
	loads  *loads

	mu      sync.Mutex
	current *snapshot
	streams map[*stream]bool
	changed chan struct{}
}

// NewServer makes a server that has nothing to feed yet: Envoys that connect wait for the first [Server.Update].
func NewServer(logger *slog.Logger) *Server {
	return &Server{logger: logger, now: time.Now, loads: newLoads(), streams: map[*stream]bool{}, changed: make(chan struct{})}
}

// ServerOptions are what a gRPC server needs to carry this service for thousands of MCP servers.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(maxMessage)}
}

// Register adds the service to a gRPC server. Its streams last as long as their Envoys, so the gRPC server is ended by Stop, not by
// GracefulStop.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
	loadv3.RegisterLoadReportingServiceServer(r, s.loads)
}

// Update makes r what every Envoy is to hold, and returns its version, which depends on the content alone. It does not wait for anyone.
func (s *Server) Update(r *Resources) (version string, err error) {
	next, err := newSnapshot(r)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.current.version == next.version {
		return next.version, nil
	}
	s.current = next
	s.loads.keep(next.types[clusterType])
	for st := range s.streams {
		st.poke()
	}
	s.notify()
	return next.version, nil
}

// Programmed tells whether calls that are labelled with this cluster arrive: at least one Envoy serves, and every one that does has
// acknowledged the cluster with its present content and holds its credential. An Envoy serves from its first listener on.
func (s *Server) Programmed(cluster string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.types[clusterType][cluster] == nil {
		return false
	}
	serving := 0
	for st := range s.streams {
		if !st.serving() {
			continue
		}
		serving++
		if !st.holds(s.current, cluster) {
			return false
		}
	}
	return serving > 0
}

// Holds tells whether every Envoy that serves has acknowledged the present credential of a cluster, and there is such an Envoy.
func (s *Server) Holds(cluster string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.types[secretType][cluster] == nil {
		return false
	}
	serving := 0
	for st := range s.streams {
		if !st.serving() {
			continue
		}
		serving++
		if sub := st.subs[secretType]; sub == nil || sub.taken[cluster] != s.current.types[secretType][cluster].version {
			return false
		}
	}
	return serving > 0
}

// Changed returns a channel that is closed as soon as an answer of [Server.Programmed] or [Server.Status] may have changed. Take the channel
// first, then ask.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// notify is called with the lock held.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// DeltaAggregatedResources serves one Envoy for as long as it is connected.
func (s *Server) DeltaAggregatedResources(conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	st := &stream{since: s.now(), subs: map[string]*subscription{}, wake: make(chan struct{}, 1)}
	s.join(st)
	defer s.leave(st)
	requests, failed := receive(conn)
	for {
		select {
		case <-conn.Context().Done():
			return nil
		case err := <-failed:
			return err
		case req := <-requests:
			s.handle(st, req)
		case <-st.wake:
		}
		for resp := s.next(st); resp != nil; resp = s.next(st) {
			if err := conn.Send(resp); err != nil {
				return err
			}
		}
	}
}

// receive reads requests until the stream ends, which the handler's return brings about.
func receive(conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) (<-chan *discoveryv3.DeltaDiscoveryRequest, <-chan error) {
	requests, failed := make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan error, 1)
	go func() {
		for {
			req, err := conn.Recv()
			if err != nil {
				failed <- ended(err)
				return
			}
			select {
			case requests <- req:
			case <-conn.Context().Done():
				return
			}
		}
	}()
	return requests, failed
}

func (s *Server) join(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[st] = true
}

func (s *Server) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.notify()
	if st.node != "" {
		s.logger.Info("envoy disconnected", "node", st.node)
	}
}

// handle takes one request in: a wish, an acknowledgement, a refusal, or several of them.
func (s *Server) handle(st *stream, req *discoveryv3.DeltaDiscoveryRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.node == "" && req.GetNode() != nil {
		st.introduce(req.GetNode())
		s.logger.Info("envoy connected", "node", st.node, "build", st.build)
	}
	if rejection := st.receive(req, s.now()); rejection != nil {
		s.logger.Warn("envoy refused a resource", "node", st.node, "type", rejection.Type, "name", rejection.Name, "error", rejection.Message)
	}
	s.notify()
}

// next is the next response that the stream is due, or nil.
func (s *Server) next(st *stream) *discoveryv3.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	resp := st.next(s.current)
	if resp == nil && st.settle(s.current) {
		s.notify()
	}
	return resp
}
