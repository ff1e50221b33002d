package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// listenTimeout is the time in which a server must agree to a stream. One that does not is asked for its lists instead.
const listenTimeout = 10 * time.Second

// settled is how long something must have worked for its end to be a first failure and not one more.
const settled = 5 * time.Second

// connection is one session of a worker: what it heard in it and what it has to find out.
type connection struct {
	w     *worker
	s     Session
	eras  eras
	metAt time.Time
	about about
	lists map[catalog.Kind]listed

	faulty    bool          // a list was lost the last time
	listening bool          // the server tells us of changes
	listedAt  time.Time     // when the last listing was finished
	rest      time.Duration // until the next one, whatever the server says
}

// idleAfterListing is how long connections may rest after a listing: the last answer has been read, and calls have come who would come at once.
const idleAfterListing = time.Second

// maxRest is the longest rest that notifications of nothing lead to.
const maxRest = 5 * time.Second

func (w *worker) newConnection(s Session, e eras, a about) *connection {
	c := &connection{w: w, s: s, eras: e, metAt: time.Now(), about: a, lists: map[catalog.Kind]listed{}, rest: w.opts.Spacing}
	if last := w.state.Listing; last != nil {
		for _, kind := range allKinds() {
			if c.about.lists().has(kind) {
				c.lists[kind] = listed{items: last.Items[kind], cache: last.Cache[kind]}
			}
		}
	}
	return c
}

// relist reads the lists of some kinds and publishes what is known then. A list that the server fails to give stays what
// it was and is reported, for the others are none the worse for it.
func (c *connection) relist(ctx context.Context, kinds kindSet) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.w.opts.ListTimeout)
	defer cancel()
	if c.about.lists() == 0 {
		// There is nothing to list, and still it must be found out whether the server lives.
		method := "ping"
		if c.s.modern() {
			method = methodDiscover
		}
		if _, err := c.call(ctx, method, nil); err != nil {
			return err
		}
	}
	c.faulty = false
	told := kindSet(c.w.told.Swap(0))
	before := c.w.state.Listing
	for _, kind := range allKinds() {
		if !c.about.lists().has(kind) {
			continue
		}
		if kinds.has(kind) {
			if err := c.list(ctx, kind); err != nil {
				return err
			}
		}
		c.faulty = c.faulty || c.lists[kind].lost
	}
	calm := began.Sub(c.listedAt) >= c.rest+c.rest/4
	c.listedAt = time.Now()
	c.w.discovered.Store(&Discovery{At: c.listedAt, Took: c.listedAt.Sub(began)})
	news := c.w.ready(c.about.listing(c.eras, c.lists))
	c.w.unchanged(told, before)
	// A server that cries change all the time costs no more than a quarter of its own and our time, and less and less if
	// there is no change, until it keeps still for longer than it had to.
	if news || told == 0 || calm {
		c.rest = c.w.opts.Spacing
	} else {
		c.rest = min(2*c.rest, max(c.w.opts.Spacing, maxRest))
	}
	c.rest = max(c.rest, 3*c.listedAt.Sub(began))
	// Most servers are not asked for anything until the next listing. A connection that rests takes 24 KiB here, which makes much with a thousand of them.
	time.AfterFunc(idleAfterListing, c.w.ep.transport.CloseIdleConnections)
	return nil
}

func (c *connection) list(ctx context.Context, kind catalog.Kind) error {
	l := lister{kind: kind, limits: c.w.opts.Limits, modern: c.s.modern(), call: c.call}
	got, err := l.list(ctx)
	var lost *fault
	if errors.As(err, &lost) {
		got, err = listed{items: c.lists[kind].items, cache: c.lists[kind].cache, problems: []string{lost.message}, lost: true}, nil
	}
	if err == nil {
		got.items = kept(c.lists[kind].items, got.items)
		c.lists[kind] = got
	}
	return err
}

// kept are the items of a list as they stay in memory: those that were there before if they are the same, else without what lies around them.
func kept(before, items []json.RawMessage) []json.RawMessage {
	if sameItems(before, items) {
		return before
	}
	return packed(items)
}

// packed are items that lie one behind the other. One by one they are spread among all that a listing leaves behind, which with thousands of tools
// takes half as much memory again.
func packed(items []json.RawMessage) []json.RawMessage {
	size := 0
	for _, item := range items {
		size += len(item)
	}
	out, text := make([]json.RawMessage, len(items)), make([]byte, 0, size)
	for i, item := range items {
		start := len(text)
		text = append(text, item...)
		out[i] = text[start:len(text):len(text)]
	}
	return out
}

func (c *connection) call(ctx context.Context, method string, params json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.w.opts.DiscoveryTimeout)
	defer cancel()
	return c.w.ep.Call(ctx, c.s, method, params)
}

// watch keeps the lists fresh until the session fails, which is the error.
func (c *connection) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	states, ended := make(chan bool), make(chan struct{})
	go func() {
		defer close(ended)
		c.listen(ctx, states)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	timer := time.NewTimer(time.Until(c.due()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c.listening = <-states:
		case <-c.w.kick:
		case <-c.w.poked:
			c.w.mark(everyKind())
		case <-timer.C:
			kinds := c.w.marked()
			if kinds == 0 {
				if err := c.meetAgain(ctx); err != nil {
					return err
				}
				kinds = everyKind()
			}
			if err := c.relist(ctx, kinds); err != nil {
				return err
			}
		}
		timer.Reset(time.Until(c.due()))
	}
}

// due is when the lists are to be read next.
func (c *connection) due() time.Time {
	if c.w.dirty.Load() != 0 {
		return c.listedAt.Add(c.rest)
	}
	if c.listening && c.about.announces() && !c.faulty {
		return c.listedAt.Add(c.w.opts.Refresh)
	}
	return c.listedAt.Add(c.fresh())
}

// fresh is the time between two listings of a server that does not tell of all its changes, which may know better when there will be some.
func (c *connection) fresh() time.Duration {
	var all catalog.Cache
	for _, list := range c.lists {
		if list.cache.Told && (!all.Told || list.cache.TTL < all.TTL) {
			all = list.cache
		}
	}
	return max(c.w.opts.Poll, min(all.TTL, c.w.opts.Refresh))
}

// listen holds the session's event stream open, as long as the server offers one, and tells whether it is.
func (c *connection) listen(ctx context.Context, states chan<- bool) {
	tell := func(listening bool) {
		select {
		case states <- listening:
		case <-ctx.Done():
		}
	}
	defer func() {
		if p := recover(); p != nil {
			c.w.log.ErrorContext(ctx, "event stream panicked", "panic", p, "stack", string(debug.Stack()))
			tell(false)
		}
	}()
	if c.s.modern() && c.about.lists() == 0 {
		return // there is nothing to listen to
	}
	f := c.feed()
	failing := time.Now()
	for {
		var opened time.Time
		err := c.listenOnce(ctx, f, func(all bool) {
			opened = time.Now()
			// What changed while nobody listened was told to nobody.
			c.w.mark(everyKind())
			tell(all)
		})
		if ctx.Err() != nil {
			return
		}
		tell(false)
		c.w.log.DebugContext(ctx, "event stream ended", "error", err)
		if !opened.IsZero() && time.Since(opened) >= settled {
			failing = time.Now()
		}
		if opened.IsZero() && !c.refusedStream(f, err) {
			return
		}
		if !Sleep(ctx, max(f.retry, c.w.opts.Backoff.after(time.Since(failing)))) {
			return
		}
	}
}

// refusedStream sorts out why no stream opened, and tells whether it may still.
func (c *connection) refusedStream(f *feed, err error) (again bool) {
	if f.lastID != "" {
		// It may be the resumption alone that is refused.
		f.lastID = ""
		return true
	}
	var (
		status *StatusError
		asOp   *net.OpError
	)
	switch {
	case errors.As(err, &asOp) && asOp.Op == "dial":
		// The server may be gone. A timeout here says nothing of streams.
		c.w.mark(everyKind())
		return true
	case errors.Is(err, ErrSessionUnknown):
		// Or else the server has no streams: the next listing will tell.
		c.w.mark(everyKind())
		return false
	case errors.As(err, &status):
		return status.Status >= 500 && status.Status != http.StatusNotImplemented ||
			status.Status == http.StatusTooManyRequests || status.Status == http.StatusConflict
	case errors.Is(err, context.DeadlineExceeded):
		return false
	case wasCut(err):
		// The server may be gone.
		c.w.mark(everyKind())
		return true
	}
	return false
}
