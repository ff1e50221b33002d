package authn

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

const (
	defaultInterval = time.Minute
	defaultPause    = 2 * time.Second
	// fetchTimeout is for all requests of one fetch.
	fetchTimeout = 10 * time.Second
)

// KeySet are the keys of one issuer at one time. It is never modified.
type KeySet struct {
	// Issuer is empty where no issuer is in force.
	Issuer string
	// JWKS is the JWK Set of the public keys with which the issuer signs, in one order and one form, so that it changes only when they do. Without
	// any key its list is empty: whoever is given it believes no token.
	JWKS []byte
	// Fetched is when the keys were last fetched, zero before that.
	Fetched time.Time
	// Err is why the last fetch failed, or why it brought no key. The keys are those of the last fetch that did not fail.
	Err  error
	ring *ring
}

// NewKeySet reads a JWK Set. Keys that sign no tokens are left out.
func NewKeySet(issuer string, jwks []byte) (*KeySet, error) {
	r, err := parseRing(jwks)
	if err != nil {
		return nil, fmt.Errorf("cannot use the keys of the issuer %q: %w", issuer, err)
	}
	return newKeySet(issuer, r), nil
}

func newKeySet(issuer string, r *ring) *KeySet { return &KeySet{Issuer: issuer, JWKS: r.jwks, ring: r} }

// Len is how many keys there are.
func (s *KeySet) Len() int {
	if s.ring == nil {
		return 0
	}
	return len(s.ring.keys)
}

// KeysOptions are what [Keys] need. All but the logger are optional.
type KeysOptions struct {
	Client *http.Client
	Logger *slog.Logger
	// Interval is the time between two fetches; default 1 min. Pause is the least that it may be, when somebody asks or a fetch has failed; default 2 s.
	Interval, Pause time.Duration
}

// Keys keeps the keys of the issuer in force fresh. When a fetch fails, the last good keys stay, for as long as it takes; a key that the issuer has
// withdrawn is gone with the next fetch that does not fail. Keys of an issuer that is in force no more are gone at once.
type Keys struct {
	fetcher         *fetcher
	logger          *slog.Logger
	interval, pause time.Duration
	current         atomic.Pointer[KeySet]
	missed          atomic.Pointer[string]
	// asked and switched wake Run.
	asked, switched chan struct{}

	mu sync.Mutex
	// source is nil where there is no issuer; stop ends the fetch that is under way.
	source  *source
	stop    context.CancelFunc
	changed chan struct{}
}

// NewKeys makes keys of no issuer. Nothing is fetched before [Keys.Run].
func NewKeys(o KeysOptions) *Keys {
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	if o.Pause <= 0 {
		o.Pause = defaultPause
	}
	k := &Keys{
		fetcher: newFetcher(o.Client), logger: o.Logger, interval: max(o.Interval, o.Pause), pause: o.Pause,
		asked: make(chan struct{}, 1), switched: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	k.current.Store(&KeySet{})
	return k
}

// Current are the keys now; never nil.
func (k *Keys) Current() *KeySet { return k.current.Load() }

// Changed is closed when the issuer, the keys or the error of the last fetch have changed. Take it before [Keys.Current], which then misses nothing.
func (k *Keys) Changed() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// Set puts another issuer in force; nil means none. Its keys are fetched at once, and until then it has none.
func (k *Keys) Set(a *policy.Authentication) {
	next := sourceOf(a)
	k.mu.Lock()
	defer k.mu.Unlock()
	if next == k.source || next != nil && k.source != nil && *next == *k.source {
		return
	}
	k.source = next
	if k.stop != nil {
		k.stop()
	}
	if next == nil {
		k.publish(&KeySet{})
	} else {
		k.publish(newKeySet(next.issuer, noKeys()))
		if next.exposed() {
			k.logger.Warn("the keys of the issuer come over plain HTTP: whoever can change what is on the way can make tokens", "issuer", next.issuer)
		}
	}
	signal(k.switched)
}

func noKeys() *ring { return &ring{jwks: []byte(`{"keys":[]}`)} }

// publish needs the lock.
func (k *Keys) publish(s *KeySet) {
	old := k.current.Swap(s)
	if old.Issuer == s.Issuer && bytes.Equal(old.JWKS, s.JWKS) && message(old.Err) == message(s.Err) {
		return
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Missed says that somebody has a token of a key that is not among the current ones. They are fetched soon, but never more often than every Pause, and
// more and more seldom, up to every Interval, while that brings no news: a stranger with made-up key ids costs the issuer next to nothing, and delays new keys
// by no more than an Interval.
func (k *Keys) Missed(kid string) {
	k.missed.Store(&kid)
	signal(k.asked)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run fetches until the context ends.
func (k *Keys) Run(ctx context.Context) {
	s := schedule{interval: k.interval, pause: k.pause}
	var src *source
	for {
		if now := k.inForce(); now != src {
			src = now
			s.restart(time.Now())
		}
		var due <-chan time.Time
		if src != nil {
			due = time.After(time.Until(s.due))
		}
		select {
		case <-ctx.Done():
			return
		case <-k.switched:
		case <-k.asked:
			if r := k.Current().ring; r != nil && !r.knows(*k.missed.Load()) {
				s.ask()
			}
		case <-due:
			failed, news := k.fetch(ctx, src)
			s.done(time.Now(), failed, news)
		}
	}
}

func (k *Keys) inForce() *source {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.source
}

// fetch gets the keys and publishes them, unless another issuer has come in the meantime.
func (k *Keys) fetch(ctx context.Context, src *source) (failed, news bool) {
	limited, stop := context.WithTimeout(ctx, fetchTimeout)
	defer stop()
	if !k.begin(src, stop) {
		return false, false
	}
	r, err := k.fetcher.keys(limited, src)

	k.mu.Lock()
	defer k.mu.Unlock()
	if k.source != src || ctx.Err() != nil {
		return false, false
	}
	k.stop = nil
	old := k.current.Load()
	next := newKeySet(src.issuer, old.ring)
	next.Fetched, next.Err = old.Fetched, err
	if err == nil {
		next.Fetched, next.Err = time.Now(), r.empty()
		if news = !bytes.Equal(r.jwks, old.JWKS); news {
			next.JWKS, next.ring = r.jwks, r
		}
	}
	k.publish(next)
	k.report(ctx, old, next)
	return next.Err != nil, news
}

func (k *Keys) begin(src *source, stop context.CancelFunc) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.source != src {
		return false
	}
	k.stop = stop
	return true
}

// report logs what has changed, not every fetch.
func (k *Keys) report(ctx context.Context, old, next *KeySet) {
	log := k.logger.With("issuer", next.Issuer, "keys", next.Len())
	switch {
	case next.Err != nil && message(next.Err) != message(old.Err):
		log.WarnContext(ctx, "cannot refresh the issuer's keys; those that it had stay in force unless it withdrew them", "error", next.Err)
	case next.Err == nil && (old.Err != nil || !bytes.Equal(old.JWKS, next.JWKS)):
		log.InfoContext(ctx, "took the issuer's keys")
	}
}
