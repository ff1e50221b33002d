package envoymodule

import (
	"net/http"
	"strconv"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// OnResponseHeaders implements shared.HttpFilter.
func (f *filter) OnResponseHeaders(headers shared.HeaderMap, end bool) (status shared.HeadersStatus) {
	defer func() { f.contain(recover(), func() { status = shared.HeadersStatusStop }) }()
	if f.over || !f.decided {
		return shared.HeadersStatusContinue
	}
	f.passed(end)
	if f.req.Method == http.MethodDelete {
		f.deleted(headers)
	}
	if !f.direct {
		return shared.HeadersStatusContinue
	}
	head := answer.Head{ContentType: headers.GetOne("content-type").ToString(), End: end}
	head.Status, _ = strconv.Atoi(headers.GetOne(":status").ToUnsafeString())
	if f.decision.Watch == nil {
		return f.judge(head)
	}
	head.Encoding, head.Local = headers.GetOne("content-encoding").ToString(), f.isLocal()
	f.answer = answer.New(f.decision.Watch, answer.Options{Asks: true, Replays: true, Drop: f.mirror.Drop, Unauthorized: f.mirror.Unauthorized})
	return f.take(f.answer.Head(head))
}

// viaUpstream is what Envoy says of an answer that it has not made itself.
const viaUpstream = "via_upstream"

func (f *filter) isLocal() bool {
	details, ok := f.handle.GetAttributeString(shared.AttributeIDResponseCodeDetails)
	return !ok || details.ToUnsafeString() != viaUpstream
}

// judge looks at the head of an answer that is not watched.
func (f *filter) judge(h answer.Head) shared.HeadersStatus {
	if h.Status == http.StatusOK && !h.End && (h.ContentType == "application/json" || h.ContentType == "text/event-stream") {
		return shared.HeadersStatusContinue // nearly all
	}
	h.Local, h.Stateless = f.isLocal(), f.fact(wire.KeyRevision) != ""
	r := answer.Judge(f.fact(wire.KeyServer), f.id(), h)
	if r == nil {
		return shared.HeadersStatusContinue
	}
	f.reply(r)
	return shared.HeadersStatusStop
}

// deleted ends a session here before its client hears that it has ended.
func (f *filter) deleted(headers shared.HeaderMap) {
	if code := headers.GetOne(":status"); code.Len > 0 && *code.Ptr == '2' {
		f.mirror.Bury(f.req.SessionID())
	}
}

// take does what the answer asks for.
func (f *filter) take(step answer.Step) shared.HeadersStatus {
	headers := f.handle.ResponseHeaders()
	switch step.Verb {
	case answer.Ask:
		scheduler := f.handle.GetScheduler()
		f.cancel = f.mirror.Forgotten(f.decision.Watch, func(yes bool) {
			scheduler.Schedule(func() { f.resume(func() answer.Step { return f.answer.Told(yes) }) })
		})
		return shared.HeadersStatusStopAllAndWatermark
	case answer.Replay:
		f.open.Opened(-1) // the broker makes it, and counts it
		f.open = nil
		scheduler := f.handle.GetScheduler()
		f.cancel = f.mirror.Replay(f.decision.Watch, func(r *router.Reply) {
			scheduler.Schedule(func() { f.resume(func() answer.Step { return repeated(f.decision.Watch, r) }) })
		})
		return shared.HeadersStatusStopAllAndWatermark
	case answer.Reply:
		f.reply(step.Reply)
		return shared.HeadersStatusStop
	case answer.Hold:
		headers.Set("content-type", "application/json")
		headers.Remove("content-length")
		f.watched = true
	case answer.Rewrite:
		headers.Remove("content-length")
		f.watched = true
	default:
	}
	return shared.HeadersStatusContinue
}

// repeated is what takes the place of an answer once the call has been made again.
func repeated(c *router.Call, r *router.Reply) answer.Step {
	if r == nil {
		r = answer.Forgotten(c)
	}
	return answer.Step{Verb: answer.Reply, Reply: r}
}

// resume goes on with an answer that was held back for a question.
func (f *filter) resume(next func() answer.Step) {
	defer func() { f.contain(recover(), func() {}) }()
	if f.over {
		return
	}
	f.cancel = nil
	if f.take(next()) == shared.HeadersStatusContinue {
		f.handle.ContinueResponse()
	}
}

// OnResponseBody implements shared.HttpFilter.
func (f *filter) OnResponseBody(body shared.BodyBuffer, end bool) (status shared.BodyStatus) {
	defer func() { f.contain(recover(), func() { status = shared.BodyStatusStopNoBuffer }) }()
	f.passed(end)
	if !f.watched {
		return shared.BodyStatusContinue
	}
	data := whole(body)
	out, more, err := f.answer.Chunk(data, end)
	if err != nil {
		f.broken(err)
		return shared.BodyStatusStopNoBuffer
	}
	f.watched = more
	body.Drain(uint64(len(data)))
	body.Append(out)
	return shared.BodyStatusContinue
}

// OnResponseTrailers implements shared.HttpFilter.
func (f *filter) OnResponseTrailers(shared.HeaderMap) (status shared.TrailersStatus) {
	defer func() { f.contain(recover(), func() { status = shared.TrailersStatusStop }) }()
	f.passed(true)
	if !f.watched {
		return shared.TrailersStatusContinue
	}
	f.watched = false
	out, _, err := f.answer.Chunk(nil, true)
	if err != nil {
		f.broken(err)
		return shared.TrailersStatusStop
	}
	f.handle.BufferedResponseBody().Append(out)
	return shared.TrailersStatusContinue
}

// OnStreamComplete implements shared.HttpFilter.
func (f *filter) OnStreamComplete() {
	defer func() { f.contain(recover(), func() {}) }()
	f.report()
	f.release()
}

// report tells the hub of a call that has ended, where it wants to know. By Envoy's access log that costs several times as much.
func (f *filter) report() {
	if len(f.facts) == 0 || f.fact(wire.KeyMethod) == "" {
		return
	}
	c := callreport.Call{Start: f.began, Duration: time.Since(f.began), Broker: f.decided && f.decision.Reply == nil && !f.direct}
	if status, ok := f.handle.GetAttributeNumber(shared.AttributeIDResponseCode); ok {
		c.Status = int(status)
	}
	if !f.over && !f.got.IsZero() && (c.Status == http.StatusOK || !f.isLocal()) { // Envoy itself makes no such answer
		c.Upstream = f.got.Sub(f.sent)
	}
	if f.teller == nil {
		f.teller = f.mirror.Teller()
	}
	f.teller.Ended(&c, f.facts)
	f.facts = f.facts[:0]
}

// passed notes when the end of a server's answer has come by.
func (f *filter) passed(end bool) {
	if end && !f.sent.IsZero() {
		f.got = time.Now()
	}
}

// release ends what goes on for a request outside of its callbacks.
func (f *filter) release() {
	f.over, f.watched = true, false
	f.open.Opened(-1)
	cancel, endCall := f.cancel, f.endCall
	f.cancel, f.endCall, f.open = nil, nil, nil
	if cancel != nil {
		cancel()
	}
	if endCall != nil {
		endCall()
	}
}

// OnDestroy implements shared.HttpFilter: Envoy calls nothing of it any more.
func (f *filter) OnDestroy() {
	defer func() { f.contain(recover(), func() {}) }()
	f.release()
	if f.faulty {
		return
	}
	by := f.factory
	f.begin(by, nil) // bodies and sessions must not live on in the pool
	by.pool.Put(f)
}
