package broker

import (
	"context"
	"time"
)

// answerTimeout bounds what a server is sent beside a call: answers to its own requests and cancellations.
const answerTimeout = 10 * time.Second

// reply sends a server the answer to a request of its own. One that cannot be answered finds out by itself.
func (b *Broker) reply(ctx context.Context, p *pooled, response []byte) {
	if err := b.deliver(ctx, p, response); err != nil {
		b.opts.Logger.DebugContext(ctx, "could not answer a server's request", "server", p.server.Name, "error", err)
	}
}

func (b *Broker) deliver(ctx context.Context, p *pooled, response []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ep := p.endpoint()
	resp, err := ep.Post(ctx, p.session, response, nil)
	if err != nil {
		return err
	}
	if err := ep.Refused(p.session, resp); err != nil {
		return err
	}
	return resp.Body.Close() // it says nothing
}
