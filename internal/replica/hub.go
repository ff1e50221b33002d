package replica

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/callreport"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/tally"
)

// Counter takes what mirrors have counted.
type Counter interface {
	Count(outcome string, status, n int)
	Faults(n int)
}

// HubOptions are the settings of a Hub.
type HubOptions struct {
	// Version is that of the program: a mirror of another one would route by other rules.
	Version  string
	Settings Settings
	Sessions *session.Registry
	// Snapshot is the one in force, until Publish is called.
	Snapshot func() *catalog.Snapshot
	// Forgotten, Replay and Unauthorized are as for package extproc.
	Forgotten    func(ctx context.Context, c *router.Call) bool
	Replay       func(ctx context.Context, c *router.Call) *router.Reply
	Unauthorized func(c *router.Call)
	// Token is told how tokens begin. Nil means that nobody asks.
	Token func(authorization string)
	// Ended is told of calls that have ended, by several goroutines at once. Nil means that nobody asks.
	Ended   func(*callreport.Call)
	Counter Counter
	// Patience is how long mirrors may take to say that they have taken something; DefaultPatience if it is zero. One that has not is not waited for again
	// until it has.
	Patience time.Duration
	Logger   *slog.Logger
}

// Hub serves mirrors.
type Hub struct {
	opts HubOptions

	mu      sync.Mutex // guards what follows, for moments only: calls wait for it
	peers   map[*peer]bool
	closed  bool
	refused error
	latest  *catalog.Snapshot
	serves  sync.WaitGroup

	encoding sync.Mutex        // guards what follows, and is taken before mu
	of       *catalog.Snapshot // of which model and sum are
	model    *catalog.Portable
	sum      [sha256.Size]byte
}

// NewHub makes a hub without mirrors.
func NewHub(o HubOptions) *Hub {
	o.Settings.Keys, o.Settings.Tokens, o.Settings.Calls = o.Sessions.Keys(), o.Token != nil, o.Ended != nil
	o.Patience = cmp.Or(o.Patience, DefaultPatience)
	return &Hub{opts: o, peers: map[*peer]bool{}}
}

// SessionChanged says that there is another session.Record for a token, or none any more. It does not wait.
func (h *Hub) SessionChanged(token string) {
	h.each(func(p *peer) { p.mark(token) })
}

// DefaultPatience is that of a hub which is not told otherwise.
const DefaultPatience = 500 * time.Millisecond

// Publish makes mirrors route by a snapshot that will be in force, and waits for them: nobody is told of a tool that a mirror does not know.
func (h *Hub) Publish(s *catalog.Snapshot) {
	before, none := h.take(s)
	if none {
		return
	}
	if _, sum, err := h.current(); err != nil || sum == before {
		return
	}
	h.each(func(p *peer) { p.update(func() { p.catalog = true }) })
	h.Sync()
}

// take notes a snapshot, and returns what told the one apart that was pushed last, and whether there are no mirrors.
func (h *Hub) take(s *catalog.Snapshot) (before [sha256.Size]byte, none bool) {
	h.encoding.Lock()
	defer h.encoding.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest = s
	return h.sum, len(h.peers) == 0
}

// Sync waits until the mirrors have taken what is true now, and what they have counted has come.
func (h *Hub) Sync() {
	var all []*syncing
	h.each(func(p *peer) {
		if p.synced.Load() && !p.lagging.Load() {
			all = append(all, p.sync())
		}
	})
	limit := time.NewTimer(h.opts.Patience)
	defer limit.Stop()
	for _, s := range all {
		select {
		case <-s.done:
		case <-limit.C:
			s.peer.lagging.Store(true)
			limit.Reset(0) // the others have had as much time
		}
	}
}

func (h *Hub) each(f func(*peer)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.peers {
		f(p)
	}
}

// Synced is how many mirrors have everything.
func (h *Hub) Synced() int {
	n := 0
	h.each(func(p *peer) {
		if p.synced.Load() {
			n++
		}
	})
	return n
}

// Serve takes mirrors until the listener is closed, and returns once all of them are gone.
func (h *Hub) Serve(l net.Listener) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer h.serves.Wait()
	defer cancel()
	for {
		conn, err := l.Accept()
		if err != nil {
			if h.isClosed() || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		h.serves.Go(func() { h.serve(ctx, conn) })
	}
}

func (h *Hub) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close disconnects all mirrors. They keep what they have.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for p := range h.peers {
		_ = p.conn.Close()
	}
}

func (h *Hub) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	p := &peer{hub: h, conn: conn, dirty: map[string]bool{}, open: map[*tally.Counter]int64{}, wake: make(chan struct{}, 1), questions: map[uint64]context.CancelFunc{}}
	decoder := gob.NewDecoder(conn)
	if err := h.greet(decoder); err != nil {
		h.refuse(ctx, err)
		return
	}
	if !h.add(p) {
		return
	}
	defer p.gone()
	defer h.remove(p)
	h.opts.Logger.InfoContext(ctx, "a router module has connected")
	written := make(chan error, 1)
	go func() {
		written <- p.write(ctx)
		_ = conn.Close()
	}()
	err := p.read(ctx, decoder)
	p.closed()
	cancel()
	p.poke()
	err = errors.Join(err, <-written)
	p.asked.Wait()
	gone := h.opts.Logger
	if err != nil {
		gone = gone.With("error", err)
	}
	gone.InfoContext(ctx, "a router module has gone")
}

// Refused is why a mirror was sent away, nil as long as none was.
func (h *Hub) Refused() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

func (h *Hub) refuse(ctx context.Context, err error) {
	h.mu.Lock()
	first := h.refused == nil
	h.refused = err
	h.mu.Unlock()
	if first { // it comes again and again
		h.opts.Logger.ErrorContext(ctx, "a router module cannot be used", "error", err)
	}
}

// greet reads the first message.
func (h *Hub) greet(decoder *gob.Decoder) error {
	var first tell
	if err := decoder.Decode(&first); err != nil {
		return err
	}
	if first.Version != h.opts.Version {
		return fmt.Errorf("it is of version %q, and this program of %q: build them together", first.Version, h.opts.Version)
	}
	return nil
}

func (h *Hub) add(p *peer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.peers[p] = true
	}
	return !h.closed
}

func (h *Hub) remove(p *peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, p)
}

// current is the catalog as it is pushed, with what tells two of them apart.
func (h *Hub) current() (*catalog.Portable, [sha256.Size]byte, error) {
	h.encoding.Lock()
	defer h.encoding.Unlock()
	h.mu.Lock()
	snapshot := h.latest
	h.mu.Unlock()
	if snapshot == nil {
		snapshot = h.opts.Snapshot()
	}
	if snapshot == h.of {
		return h.model, h.sum, nil
	}
	model := snapshot.Portable()
	hash := sha256.New()
	encoder := gob.NewEncoder(hash)
	for part := range model.Parts(partSize) {
		if err := encoder.Encode(part); err != nil {
			return nil, h.sum, fmt.Errorf("encoding the catalog: %w", err)
		}
	}
	h.of, h.model = snapshot, model
	hash.Sum(h.sum[:0])
	return model, h.sum, nil
}

// gone tells errors of a connection that has ended from others.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF)
}
