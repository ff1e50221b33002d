package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// eras is what a server speaks: revisions with sessions, one without, or both.
type eras struct {
	revision string // with sessions
	sessions bool   // it gave an id of one
	modern   string // without
	compares []string
}

const (
	// reprobe is the time between two questions which revisions a server speaks.
	reprobe = 5 * time.Minute
	// muteTime is that for a server which left the last one unanswered.
	muteTime = time.Hour
)

// errAnother means that a server speaks other revisions than it did.
var errAnother = errors.New("the server speaks other revisions of the protocol than before")

// meet finds out what a server speaks, and opens the connection in which its lists are read: without a session where the server can do without.
func (w *worker) meet(ctx context.Context) (*connection, error) {
	d, err := w.probe(ctx)
	if err != nil {
		return nil, err
	}
	if d.Modern == "" {
		o, err := w.ep.Open(ctx, w.opts.initialize())
		if err != nil {
			return nil, err
		}
		return w.newConnection(o.Session, eras{revision: o.Revision, sessions: o.ID != ""}, aboutOf(o.Result)), nil
	}
	e, a := eras{modern: d.Modern}, aboutModern(d.Result)
	if d.Sessions {
		switch o, err := w.ep.Open(ctx, w.opts.initialize()); {
		case err == nil:
			e.revision, e.sessions = o.Revision, o.ID != ""
			w.leave(ctx, o.Session, nil)
		case causeOf(err) != catalog.CauseProtocol:
			return nil, err
		default:
			a.problems = append(a.problems, "the server names revisions with sessions and opened none: "+lastError(w.ep.Name(), err))
		}
	}
	e.compares = w.compares(ctx, Session{Revision: d.Modern}, a.lists())
	return w.newConnection(Session{Revision: d.Modern}, e, a), nil
}

// probe asks a server which revisions it speaks, unless it would not answer.
func (w *worker) probe(ctx context.Context) (Discovered, error) {
	if !w.mute.IsZero() && time.Since(w.mute) < muteTime {
		return Discovered{Sessions: true}, nil
	}
	asking, cancel := context.WithTimeout(ctx, min(probeTimeout, w.opts.DiscoveryTimeout))
	defer cancel()
	d, err := w.ep.Discover(asking)
	asOp := (*net.OpError)(nil)
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &asOp) && asOp.Op == "dial":
		return d, err
	case asking.Err() != nil:
		w.mute = time.Now()
		return Discovered{Sessions: true}, nil
	case wasCut(err):
		return Discovered{Sessions: true}, nil // some servers hang up on what they do not know
	}
	return d, err
}

// meetAgain is an error if the server has become another since it was met, so that it must be met anew.
func (c *connection) meetAgain(ctx context.Context) error {
	if time.Since(c.metAt) < reprobe {
		return nil
	}
	c.metAt = time.Now()
	d, err := c.w.probe(ctx)
	if err != nil {
		return err
	}
	if d.Modern != c.eras.modern || d.Modern != "" && d.Sessions != (c.eras.revision != "") {
		return errAnother
	}
	return nil
}

func (c *connection) feed() *feed {
	what := "event stream"
	if c.s.modern() {
		what = methodListen
	}
	f := c.w.ep.feed(c.s, what)
	f.lenient = true
	return f
}

// listenOnce hears what a server tells of its lists until the stream ends. It calls opened once the server has agreed, with whether it tells of all.
func (c *connection) listenOnce(ctx context.Context, f *feed, opened func(all bool)) error {
	within := min(listenTimeout, c.w.opts.DiscoveryTimeout)
	if !c.s.modern() {
		return f.listen(ctx, within, func() { opened(true) })
	}
	lists := c.about.lists()
	return f.subscribe(ctx, within, Subscription{
		Params:       listenParams(lists),
		Acknowledged: func(filter json.RawMessage) { opened(agreesTo(filter, lists)) },
		Notified:     c.w.ep.opts.OnNotification,
	})
}

// agreesTo tells whether a filter lets the changes of all lists through.
func agreesTo(filter json.RawMessage, lists kindSet) bool {
	for _, kind := range allKinds() {
		if value, err := memberOf(filter, filterMember(kind)); lists.has(kind) && (err != nil || string(value) != "true") {
			return false
		}
	}
	return true
}

// unchanged tells of what the server said to have changed, and has not.
func (w *worker) unchanged(told kindSet, before *catalog.Listing) {
	if told == 0 || before == nil {
		return
	}
	var same []catalog.Kind
	for _, kind := range allKinds() {
		if told.has(kind) && sameItems(before.Items[kind], w.state.Listing.Items[kind]) {
			same = append(same, kind)
		}
	}
	if len(same) > 0 {
		w.opts.Unchanged(w.ep.Name(), same)
	}
}
