package upstream

import (
	"context"
	"io"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// pace bounds how many bytes a second are read of all answers of a server together. A server that sends more waits, by TCP.
type pace struct {
	limiter *rate.Limiter
	piece   int
}

// piecesPerSecond is how often a second some answer has its turn where all of them have more to say than may be said.
const piecesPerSecond = 20

// newPace is nil where there is no limit. What was not used of one second may be used in the next, as in Envoy.
func newPace(bytesPerSecond uint32) *pace {
	if bytesPerSecond == 0 {
		return nil
	}
	n := int(bytesPerSecond)
	return &pace{limiter: rate.NewLimiter(rate.Limit(n), n), piece: max(n/piecesPerSecond, 1)}
}

// hold bounds how fast an answer is read.
func (p *pace) hold(req *http.Request, resp *http.Response) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	resp.Body = &pacedBody{ReadCloser: resp.Body, pace: p, ctx: ctx, cancel: cancel}
}

// pacedBody reads no more at a time than lets the others have their turn soon.
type pacedBody struct {
	io.ReadCloser

	pace   *pace
	ctx    context.Context // of the request; readers have none of their own
	cancel context.CancelFunc
}

// Read waits after the bytes, which have been sent already, and so holds back those that follow.
func (b *pacedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.pace.piece)])
	if n == 0 {
		return n, err
	}
	turn := b.pace.limiter.ReserveN(time.Now(), n)
	wait := turn.Delay()
	if wait == 0 {
		return n, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return n, err
	case <-b.ctx.Done():
		turn.Cancel()
		return 0, b.ctx.Err()
	}
}

// Close also ends a Read that waits.
func (b *pacedBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}
