package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// maxLastError is how long the error that is shown of a server may be.
const maxLastError = 600

// worker keeps what is known of one server fresh. All but mark and poke belongs to its one goroutine.
type worker struct {
	ep      *Endpoint
	opts    *ManagerOptions
	log     *slog.Logger
	publish func(catalog.State)
	state   catalog.State

	discovered atomic.Pointer[Discovery] // nil as long as there was none

	dirty   atomic.Uint32 // kindSet of what must be listed again
	told    atomic.Uint32 // kindSet of what the server said to have changed
	mute    time.Time     // when the server last left the question unanswered which revisions it speaks
	kick    chan struct{} // dirty is another
	poked   chan struct{}
	leaving sync.WaitGroup // ends of sessions
}

// mark says that the lists of some kinds may have changed. It does not block.
func (w *worker) mark(kinds kindSet) {
	if kinds == 0 {
		return
	}
	w.dirty.Or(uint32(kinds))
	signal(w.kick)
}

// heard is mark where the server itself says so.
func (w *worker) heard(kinds kindSet) {
	w.told.Or(uint32(kinds))
	w.mark(kinds)
}

func (w *worker) marked() kindSet { return kindSet(w.dirty.Swap(0)) }

func (w *worker) poke() { signal(w.poked) }

// signal makes sure that the reader of the channel goes round once more.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run works until the context ends, and then ends its session.
func (w *worker) run(ctx context.Context) {
	defer w.leaving.Wait()
	failing := time.Now() // since when there was no session that settled
	for {
		began := time.Now()
		readyAt, err := w.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		if !readyAt.IsZero() && time.Since(readyAt) >= settled {
			failing = time.Now()
			if isBreak(err) {
				// Servers restart and forget sessions. That one is no failure unless the next one cannot be opened.
				w.log.InfoContext(ctx, "session lost", "error", err)
				continue
			}
		}
		w.fail(err)
		w.pause(ctx, began, w.opts.Backoff.after(time.Since(failing)))
	}
}

// isBreak tells whether a session ended in a way from which a new one may be had at once.
func isBreak(err error) bool {
	return errors.Is(err, ErrSessionUnknown) || errors.Is(err, errAnother) || wasCut(err) && !errors.Is(err, context.DeadlineExceeded)
}

// pause waits until the next attempt is due. A poke shortens it, but not below the shortest wait.
func (w *worker) pause(ctx context.Context, began time.Time, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-w.poked:
		Sleep(ctx, w.opts.Backoff.First-time.Since(began))
	}
}

// attempt opens a session and stays with it until it fails. readyAt is when all that the server has was listed, and zero
// if that did not come about.
func (w *worker) attempt(ctx context.Context) (readyAt time.Time, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.ErrorContext(ctx, "worker panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("server %q: an internal error of the gateway: the log has more", w.ep.Name())
		}
	}()
	opening, cancel := context.WithTimeout(ctx, w.opts.DiscoveryTimeout)
	c, err := w.meet(opening)
	cancel()
	if err != nil {
		return time.Time{}, err
	}
	defer func() { w.leave(ctx, c.s, err) }()
	w.marked() // all is listed now
	if err := c.relist(ctx, everyKind()); err != nil {
		return time.Time{}, err
	}
	readyAt = time.Now()
	return readyAt, c.watch(ctx)
}

// leave ends a session without anyone waiting for it, but for the end of the worker.
func (w *worker) leave(ctx context.Context, s Session, err error) {
	if s.ID == "" || errors.Is(err, ErrSessionUnknown) {
		return
	}
	w.leaving.Go(func() { w.ep.abandon(ctx, s) })
}

// ready takes what a server offers, and tells whether that is news.
func (w *worker) ready(l *catalog.Listing) (news bool) {
	if news = !sameListing(w.state.Listing, l); !news {
		l = w.state.Listing
	} else {
		l.Digests = catalog.DigestsOf(l.Items[catalog.Tool])
		w.log.Info("server listed", "revision", l.Revision, "modern", l.Modern, "sessions", l.Sessions, "tools", len(l.Items[catalog.Tool]),
			"prompts", len(l.Items[catalog.Prompt]), "resources", len(l.Items[catalog.Resource]),
			"templates", len(l.Items[catalog.Template]), "problems", len(l.Problems))
	}
	w.set(catalog.State{Health: catalog.HealthReady, Listing: l})
	return news
}

// fail takes why a server cannot be used. What it offered last stays.
func (w *worker) fail(err error) {
	text := lastError(w.ep.Name(), err)
	if w.state.Health != catalog.HealthFailing {
		w.log.Warn("server failing", "error", text)
	}
	w.set(catalog.State{Health: catalog.HealthFailing, Listing: w.state.Listing, LastError: text, Cause: causeOf(err)})
}

// lastError is an error as it is shown beside the server's name.
func lastError(server string, err error) string {
	return brief(strings.TrimPrefix(err.Error(), fmt.Sprintf("server %q: ", server)), maxLastError)
}

// set publishes a state unless it is the one that is published.
func (w *worker) set(st catalog.State) {
	if old := w.state; old.Health == st.Health {
		if old.Listing == st.Listing && old.LastError == st.LastError {
			return
		}
		st.Since = old.Since
	} else {
		st.Since = time.Now()
	}
	w.state = st
	w.publish(st)
}
