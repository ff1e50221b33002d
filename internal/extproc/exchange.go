package extproc

import (
	"errors"
	"fmt"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// errDone ends the stream: Envoy then carries the rest by itself.
var errDone = errors.New("nothing more to process")

// exchange is one request and its answer.
type exchange struct {
	p        *Processor
	stream   extprocv3.ExternalProcessor_ProcessServer
	req      router.Request
	decision router.Decision
	body     []byte
	hasBody  bool
	whole    bool // the body comes in one message, after the headers have been let pass as they were
	decided  bool
	endCall  func()
	watched  *watched
}

func (x *exchange) reset(p *Processor, stream extprocv3.ExternalProcessor_ProcessServer) {
	x.p, x.stream = p, stream
	x.req.Reset()
	x.decision.Reset()
	// The body is not reused: a watched call keeps it until it has been answered.
	x.body, x.hasBody, x.whole, x.decided, x.endCall, x.watched = nil, false, false, false, nil, nil
}

func (x *exchange) finish() {
	if x.endCall != nil {
		x.endCall()
	}
	// Bodies and sessions must not live on in the pool.
	x.stream, x.body, x.endCall, x.watched = nil, nil, nil, nil
	x.decision.Reset()
}

func (x *exchange) handle(msg *extprocv3.ProcessingRequest) error {
	switch m := msg.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return x.requestHeaders(m.RequestHeaders, msg.GetProtocolConfig().GetRequestBodyMode() == procv3.ProcessingMode_NONE && msg.GetProtocolConfig() != nil)
	case *extprocv3.ProcessingRequest_RequestBody:
		return x.requestBody(m.RequestBody)
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return x.requestTrailers()
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		if !x.decided {
			return errDone // an answer of Envoy's to what it never showed, such as a preflight
		}
		if x.decision.Watch != nil && x.watched == nil {
			x.watched = x.watch(x.decision.Watch)
			return x.watched.headers(m.ResponseHeaders)
		}
	case *extprocv3.ProcessingRequest_ResponseBody:
		if x.watched != nil {
			return x.watched.chunk(m.ResponseBody.Body, m.ResponseBody.EndOfStream)
		}
	}
	return fmt.Errorf("unexpected message %T; the filter's processing_mode is not the one that this gateway needs", msg.Request)
}

// requestHeaders takes the headers, of which Envoy may wait to hear whether the body is wanted at all.
func (x *exchange) requestHeaders(h *extprocv3.HttpHeaders, alone bool) error {
	for _, f := range h.GetHeaders().GetHeaders() {
		v := value(f)
		x.req.Add(f.Key, v)
		if x.p.opts.Token != nil && f.Key == "authorization" {
			x.p.opts.Token(v)
		}
	}
	if h.EndOfStream || !x.p.opts.Router.NeedsBody(&x.req) {
		return x.decide(false)
	}
	if alone {
		return x.headFirst()
	}
	if n := x.req.ContentLength(); n > 0 {
		x.body = make([]byte, 0, min(n, 64<<10))
	}
	x.hasBody = true
	return nil
}

// headFirst decides by the headers, or asks for the body.
func (x *exchange) headFirst() error {
	d := &x.decision
	if x.p.opts.Router.RouteHead(&x.req, d) {
		x.decided = true
		x.p.opts.Observer.Decided(d.Outcome(), 0)
		d.Tool.Called(1)
		if err := x.send(headersResponse(d)); err != nil {
			return err
		}
		return errDone
	}
	x.hasBody, x.whole = true, true
	return x.send(wantsBody())
}

func value(h *corev3.HeaderValue) string {
	if len(h.RawValue) > 0 {
		return string(h.RawValue)
	}
	return h.Value
}

func (x *exchange) requestBody(b *extprocv3.HttpBody) error {
	if x.decided {
		return nil // the empty end of a body that its Content-Length had ended already
	}
	if int64(len(x.body)+len(b.Body)) > x.p.opts.Router.MaxBody() {
		x.p.opts.Router.TooLarge(&x.decision)
		return x.reply()
	}
	x.body = append(x.body, b.Body...)
	if x.whole || b.EndOfStream || int64(len(x.body)) == x.req.ContentLength() {
		return x.decide(false)
	}
	return nil
}

func (x *exchange) requestTrailers() error {
	if x.decided {
		return x.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}})
	}
	return x.decide(true)
}

// decide routes and tells Envoy of it.
func (x *exchange) decide(trailers bool) error {
	x.decided = true
	d := &x.decision
	if token := x.req.SessionID(); token != "" && x.p.opts.Session != nil {
		x.req.Unsure = x.p.opts.Session(x.stream.Context(), token) != nil
	}
	x.p.opts.Router.Route(&x.req, x.body, d)
	if d.Reply != nil {
		return x.reply()
	}
	if d.Track != nil {
		x.endCall = d.Track.Session.BeginCall(d.Track.ID, d.Track.Server.Name)
	}
	body := x.body
	if d.Body != nil {
		body = d.Body
	}
	if x.hasBody {
		d.Set = append(d.Set, router.Header{Name: "content-length", Value: strconv.Itoa(len(body))})
	}
	x.p.opts.Observer.Decided(d.Outcome(), 0)
	d.Tool.Called(1)
	if x.whole {
		if err := x.send(bodyResponse(d)); err != nil {
			return err
		}
		return errDone // nothing is watched of a revision without sessions
	}
	if err := x.send(headersResponse(d)); err != nil {
		return err
	}
	if x.hasBody {
		if err := x.sendBody(body, !trailers); err != nil {
			return err
		}
	}
	if trailers {
		if err := x.send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}); err != nil {
			return err
		}
	}
	if d.Watch == nil {
		return errDone
	}
	return nil
}

func (x *exchange) reply() error {
	r := x.decision.Reply
	x.decided = true
	x.p.opts.Observer.Decided("reply", r.Status)
	if err := x.send(immediate(r, x.decision.Metadata)); err != nil {
		return err
	}
	return errDone
}

// chunkSize is the largest piece of a body sent to Envoy at once, as its documentation advises.
const chunkSize = 64 << 10

func (x *exchange) sendBody(body []byte, end bool) error {
	for len(body) > chunkSize {
		if err := x.send(requestChunk(body[:chunkSize], false)); err != nil {
			return err
		}
		body = body[chunkSize:]
	}
	return x.send(requestChunk(body, end))
}

func (x *exchange) send(r *extprocv3.ProcessingResponse) error { return x.stream.Send(r) }

// id is the request's raw id as far as it is known.
func (x *exchange) id() []byte {
	for _, m := range x.decision.Metadata {
		if m.Name == wire.KeyID {
			return []byte(m.Value)
		}
	}
	return nil
}
