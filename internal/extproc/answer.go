package extproc

import (
	"strconv"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// watched is a server's answer on its way to the client. Envoy shows its headers, and then, until the stream ends, its body
// chunk by chunk: each is answered once, and what Envoy has not shown when the stream ends passes unchanged.
type watched struct {
	*exchange
	call   *router.Call
	answer *answer.Answer
}

func (x *exchange) watch(c *router.Call) *watched {
	return &watched{exchange: x, call: c, answer: answer.New(c, answer.Options{
		Asks: x.p.opts.Forgotten != nil, Replays: x.p.opts.Replay != nil,
		Drop:         func(c *router.Call) { c.Session.DropBackend(c.Server.Name, c.Backend.ID) },
		Unauthorized: x.p.opts.Unauthorized,
	})}
}

func (w *watched) headers(h *extprocv3.HttpHeaders) error {
	head := answer.Head{Local: true, End: h.EndOfStream}
	for _, f := range h.GetHeaders().GetHeaders() {
		switch f.Key {
		case ":status":
			head.Status, _ = strconv.Atoi(value(f))
		case "content-type":
			head.ContentType = value(f)
		case "content-encoding":
			head.Encoding = value(f)
		case wire.HeaderAnswered:
			head.Local = false
		}
	}
	return w.take(w.answer.Head(head))
}

// take does what the answer asks for.
func (w *watched) take(step answer.Step) error {
	ctx := w.stream.Context()
	switch step.Verb {
	case answer.Ask:
		return w.take(w.answer.Told(w.p.opts.Forgotten(ctx, w.call)))
	case answer.Replay:
		resp, err := w.p.opts.Replay(ctx, w.call) //nolint:bodyclose // Repeated closes it
		return w.only(immediate(answer.Repeated(w.call, resp, err), w.decision.Metadata))
	case answer.Reply:
		return w.only(immediate(step.Reply, nil))
	case answer.Hold:
		return w.send(responseHeaders([]router.Header{{Name: "content-type", Value: "application/json"}}, "content-length"))
	case answer.Rewrite:
		return w.send(responseHeaders(nil, "content-length"))
	default:
		return w.only(responseHeaders(nil))
	}
}

// only sends the last message of an exchange.
func (w *watched) only(r *extprocv3.ProcessingResponse) error {
	if err := w.send(r); err != nil {
		return err
	}
	return errDone
}

func (w *watched) chunk(data []byte, end bool) error {
	out, more, err := w.answer.Chunk(data, end)
	switch {
	case err != nil:
		return err
	case more:
		return w.send(responseChunk(out))
	default:
		return w.only(responseChunk(out))
	}
}
