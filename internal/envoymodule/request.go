package envoymodule

import (
	"bytes"
	"strconv"
	"time"
	"unsafe"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/replica"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/tally"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// filter is one request and its answer. All of it belongs to one worker.
type filter struct {
	factory  *factory
	mirror   *replica.Mirror
	handle   shared.HttpFilterHandle
	state    *replica.State
	req      router.Request
	decision router.Decision

	hasBody bool
	pieces  bool  // the body came in more than one, of which Envoy keeps the first ones
	size    int64 // of those
	arrived bool  // the request is whole
	asked   bool  // the hub, about the session
	waiting bool  // for what it says
	decided bool
	direct  bool // Envoy takes it to its server itself
	over    bool // it has been answered here

	began  time.Time       // where the hub wants to know of calls
	sent   time.Time       // to its server
	got    time.Time       // the end of the server's answer
	facts  []byte          // of the call, as the hub is told of them
	teller *replica.Teller // of this filter's calls

	cancel  func() // the question to the hub
	endCall func()
	open    *tally.Counter // the call is one that goes on
	answer  *answer.Answer
	watched bool // its chunks are looked at
	faulty  bool // it may be in any state
}

// begin makes a filter new, but for the memory of its request, its decision and its report.
func (f *filter) begin(by *factory, handle shared.HttpFilterHandle) {
	f.req.Reset()
	f.decision.Reset()
	*f = filter{factory: by, mirror: by.mirror, handle: handle, req: f.req, decision: f.decision, facts: f.facts[:0], teller: f.teller}
}

// OnRequestHeaders implements shared.HttpFilter.
func (f *filter) OnRequestHeaders(headers shared.HeaderMap, end bool) (status shared.HeadersStatus) {
	defer func() { f.contain(recover(), func() { status = shared.HeadersStatusStop }) }()
	f.read(headers)
	f.state = f.mirror.State()
	if f.state == nil || f.state.Calls() {
		f.began = time.Now()
	}
	f.hasBody = !end && (f.state == nil || f.state.Router.NeedsBody(&f.req))
	f.req.Unsure = true // until the hub has been asked
	f.ask()
	switch {
	case f.hasBody:
		return shared.HeadersStatusStop
	case f.waiting:
		f.arrived = true
		return shared.HeadersStatusStopAllAndBuffer
	case f.decide(nil):
		return shared.HeadersStatusContinue
	default:
		return shared.HeadersStatusStop
	}
}

// read takes the headers into memory of our own: Envoy's is good for this callback only.
func (f *filter) read(headers shared.HeaderMap) {
	all := headers.GetAll()
	size := 0
	for _, h := range all {
		size += int(h[0].Len + h[1].Len)
	}
	own := make([]byte, 0, size)
	text := func(b shared.UnsafeEnvoyBuffer) string {
		start := len(own)
		own = append(own, b.ToUnsafeBytes()...)
		return unsafe.String(unsafe.SliceData(own[start:]), len(own)-start)
	}
	for _, h := range all {
		name, value := text(h[0]), text(h[1])
		f.req.Add(name, value)
		if name == "authorization" {
			f.mirror.Token(value)
		}
	}
}

// ask asks the hub about the session, if that is to be done. The request goes on when it has said what there is.
func (f *filter) ask() {
	token := f.req.SessionID()
	if f.asked || f.state != nil && (token == "" || f.state.Sure(token)) {
		return
	}
	f.waiting, f.asked = true, true
	scheduler := f.handle.GetScheduler()
	f.cancel = f.mirror.Lookup(token, func(ok bool) {
		scheduler.Schedule(func() { f.found(ok) })
	})
}

// found goes on once the hub has said what there is, or that it cannot tell.
func (f *filter) found(ok bool) {
	defer func() { f.contain(recover(), func() {}) }()
	if f.over || !f.waiting {
		return
	}
	f.waiting, f.cancel = false, nil
	f.state = f.mirror.State()
	f.req.Unsure = !ok
	if f.state == nil {
		f.unavailable()
		return
	}
	if f.arrived && f.decide(f.handle.BufferedRequestBody()) {
		f.handle.ContinueRequest()
	}
}

// OnRequestBody implements shared.HttpFilter.
func (f *filter) OnRequestBody(body shared.BodyBuffer, end bool) (status shared.BodyStatus) {
	defer func() { f.contain(recover(), func() { status = shared.BodyStatusStopNoBuffer }) }()
	switch {
	case f.over:
		return shared.BodyStatusStopNoBuffer
	case f.decided:
		return shared.BodyStatusContinue
	case !end:
		return f.piece(body)
	}
	f.arrived = true
	f.ask() // what was known when the request began may be unknown to a broker that has begun since
	if f.waiting {
		return shared.BodyStatusStopAndBuffer
	}
	if f.decide(body) {
		return shared.BodyStatusContinue
	}
	return shared.BodyStatusStopNoBuffer
}

// piece leaves a piece of the body with Envoy until the rest is there, unless it is too much by now.
func (f *filter) piece(body shared.BodyBuffer) shared.BodyStatus {
	f.size += int64(body.GetSize())
	f.pieces = f.pieces || f.size > 0
	if f.state != nil && f.size > f.state.Router.MaxBody() {
		f.state.Router.TooLarge(&f.decision)
		f.refuse()
		return shared.BodyStatusStopNoBuffer
	}
	return shared.BodyStatusStopAndBuffer
}

// OnRequestTrailers implements shared.HttpFilter.
func (f *filter) OnRequestTrailers(shared.HeaderMap) (status shared.TrailersStatus) {
	defer func() { f.contain(recover(), func() { status = shared.TrailersStatusStop }) }()
	f.arrived = true
	if !f.over && !f.decided {
		f.ask()
	}
	switch {
	case f.over || f.waiting:
		return shared.TrailersStatusStop
	case f.decided || f.decide(f.handle.BufferedRequestBody()):
		return shared.TrailersStatusContinue
	default:
		return shared.TrailersStatusStop
	}
}

// decide routes, and tells whether the request goes on. The buffer is where the end of the body is.
func (f *filter) decide(last shared.BodyBuffer) bool {
	f.decided = true
	d := &f.decision
	var before shared.BodyBuffer
	if buffered := f.handle.BufferedRequestBody(); f.pieces && last != nil && last != buffered && !f.handle.ReceivedBufferedRequestBody() {
		before = buffered
	}
	var body []byte
	if f.hasBody {
		body = whole(before, last)
	}
	f.state.Router.Route(&f.req, body, d)
	if d.Reply != nil {
		f.refuse()
		return false
	}
	if d.Track != nil {
		f.endCall = d.Track.Session.BeginCall(d.Track.ID, d.Track.Server.Name)
	}
	if d.Watch != nil {
		f.keep(d.Watch, d.Body == nil)
	}
	outcome := d.Outcome()
	f.direct = outcome == "server"
	f.mirror.Decided(outcome, 0)
	if f.direct && f.state.Calls() {
		f.sent = time.Now()
	}
	f.count()
	f.label(len(body))
	if d.Body != nil {
		if before != nil {
			before.Drain(before.GetSize())
		}
		last.Drain(uint64(len(body)))
		last.Append(d.Body)
	}
	return true
}

// count counts the call of a tool. Those that the broker makes, it knows to go on.
func (f *filter) count() {
	tool := f.decision.Tool
	if tool == nil {
		return
	}
	if f.direct {
		f.open = tool
		tool.Opened(1)
	}
	tool.Called(1)
}

// whole is the body: Envoy's own memory where it is in one piece, good until it is changed.
func whole(buffers ...shared.BodyBuffer) []byte {
	var chunks []shared.UnsafeEnvoyBuffer
	size := 0
	for _, b := range buffers {
		if b != nil {
			chunks = append(chunks, b.GetChunks()...)
		}
	}
	if len(chunks) == 1 {
		return chunks[0].ToUnsafeBytes()
	}
	for _, c := range chunks {
		size += int(c.Len)
	}
	body := make([]byte, 0, size)
	for _, c := range chunks {
		body = append(body, c.ToUnsafeBytes()...)
	}
	return body
}

// keep makes what is needed of a call until it has been answered our own.
func (f *filter) keep(c *router.Call, ofEnvoy bool) {
	if c.ID != nil {
		c.ID = bytes.Clone(c.ID)
	}
	switch {
	case !c.Replayable:
		c.Body = nil
	case ofEnvoy:
		c.Body = bytes.Clone(c.Body)
	}
}

// label puts the decision on the request.
func (f *filter) label(size int) {
	d, headers := &f.decision, f.handle.RequestHeaders()
	for _, name := range d.Remove {
		if !d.Sets(name) {
			headers.Remove(name)
		}
	}
	for i := range d.Set {
		headers.Set(d.Set[i].Name, d.Set[i].Value)
	}
	if d.Body != nil {
		size = len(d.Body)
	}
	if f.hasBody && int64(size) != f.req.ContentLength() {
		headers.Set("content-length", strconv.Itoa(size))
	}
	f.tell()
	f.handle.ClearRouteCache()
}

func (f *filter) tell() {
	reports := f.state != nil && f.state.Calls()
	for i := range f.decision.Metadata {
		m := &f.decision.Metadata[i]
		if reports { // now, since what is named may lie in Envoy's memory
			f.facts = callreport.AppendFact(f.facts, m.Name, m.Value)
			if m.Name == wire.KeyTrace || m.Name == wire.KeyTraceParent {
				continue // only who makes spans asks for them
			}
		}
		f.handle.SetMetadata(wire.MetadataNamespace, m.Name, m.Value)
	}
}

// refuse gives the router's own reply.
func (f *filter) refuse() {
	r := f.decision.Reply
	f.mirror.Decided("reply", r.Status)
	f.tell()
	f.reply(r)
}

// reply answers the client.
func (f *filter) reply(r *router.Reply) {
	f.over = true
	f.handle.SetMetadata(wire.MetadataNamespace, wire.KeyReply, r.Kind())
	headers := make([][2]string, 0, len(r.Headers))
	for _, h := range r.Headers {
		headers = append(headers, [2]string{h.Name, h.Value})
	}
	f.handle.SendLocalResponse(uint32(r.Status), headers, r.Body, "mcp_gateway") //nolint:gosec // an HTTP status
}
