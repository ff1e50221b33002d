// Package extproc adapts the router to Envoy's external processing protocol: one stream a request, with the request in full
// duplex and the answer chunk by chunk, which the processor ends as soon as it needs to see no more. It must not know how a decision is made, nor the
// broker: what it needs of it comes as a function.
package extproc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/router"
)

// Replay makes a call again through the broker, which opens a new backend session for it.
type Replay func(ctx context.Context, c *router.Call) (*http.Response, error)

// Observer counts what happens. Its methods are called on the hot path.
type Observer interface {
	// Decided is told of each decision: "server", "broker" or "reply", and the reply's status.
	Decided(outcome string, status int)
	// Fault is told of a panic that was contained.
	Fault()
}

// Options are the settings of a Processor.
type Options struct {
	Router *router.Router
	Replay Replay
	// Forgotten asks a call's server whether it has forgotten the session. It is called for a refusal that may mean so. If
	// it is nil, the words of the refusal are taken for it.
	Forgotten func(ctx context.Context, c *router.Call) bool
	// Unauthorized is told of a call that its server refused with status 401, so that it did nothing. Nil means that nobody asks.
	Unauthorized func(c *router.Call)
	// Token is told of every Authorization header, before Envoy has verified it. It is called on the hot path; nil means that nobody asks.
	Token func(authorization string)
	// Session makes the session of a token known to the router that another replica began. An error means that nobody can tell whether there is one. It is
	// called on the hot path; nil means that there are no other replicas.
	Session  func(ctx context.Context, token string) error
	Logger   *slog.Logger
	Observer Observer
}

// Processor is the ext_proc service.
type Processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	opts     Options
	pool     sync.Pool
	inFlight atomic.Int64
}

// New makes the service.
func New(o Options) *Processor {
	p := &Processor{opts: o}
	p.pool.New = func() any { return &exchange{} }
	return p
}

// Register adds the service to a gRPC server.
func (p *Processor) Register(s grpc.ServiceRegistrar) {
	extprocv3.RegisterExternalProcessorServer(s, p)
}

// InFlight is how many requests are being decided on, or watched.
func (p *Processor) InFlight() int64 { return p.inFlight.Load() }

// Process handles one request and its answer.
func (p *Processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) (err error) {
	p.inFlight.Add(1)
	defer p.inFlight.Add(-1)
	x := p.pool.Get().(*exchange)
	x.reset(p, stream)
	defer func() {
		fault := recover()
		if fault != nil {
			err = p.contain(stream, x, fault)
		}
		x.finish()
		if fault == nil { // else it may be in any state
			p.pool.Put(x)
		}
	}()
	for {
		msg, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		if err := x.handle(msg); err != nil {
			if errors.Is(err, errDone) {
				return nil
			}
			return ended(err)
		}
	}
}

// ended tells apart a stream that Envoy ended, as it does when the client or the server leaves, from a failure.
func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// contain turns a panic into one failed request.
func (p *Processor) contain(stream extprocv3.ExternalProcessor_ProcessServer, x *exchange, fault any) error {
	p.opts.Observer.Fault()
	p.opts.Logger.Error("contained a fault in the router", "fault", fault, "stack", string(debug.Stack()))
	e := &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "internal error in the gateway; its log has the details", ID: x.id()}
	return stream.Send(immediate(answer.Failure(http.StatusInternalServerError, e), nil))
}
