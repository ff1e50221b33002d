package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const (
	// askTimeout bounds one request for a token, metadata included.
	askTimeout = 15 * time.Second
	// firstPause and longestPause bound the time after a failure in which nobody is asked again.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// rejectPause is the least time between two tokens that were given up because a server refused them: a server that refuses every token
	// must not become an attack on the authorization server.
	rejectPause = 10 * time.Second
)

// known is what a cell knows as it needs a token.
type known struct {
	have bool // one that still serves
	// doubt says that one was refused since the last was had: by a server, if refused has it, or by the authorization server.
	doubt   bool
	refused config.Secret
}

// cell is one token and the getting of the next: one request at a time, however many wait for it.
type cell struct {
	fetch func(ctx context.Context, k known) (*grant, error)
	// changed, if not nil, is called after each request, and when a token is given up.
	changed func()
	// strict says that a token is given up as soon as its renewal is refused: the caller whose it is may have lost it.
	strict bool

	mu       sync.Mutex // guards the rest
	have     *grant
	err      error     // of the last request, if it failed
	failures int       // in a row
	retry    time.Time // before which nobody is asked again
	rejected time.Time
	doubt    bool          // see known, as for the next
	refused  config.Secret // the last token that a server refused, until there is another
	flight   chan struct{} // closed when the request that runs has ended; nil if none runs
}

// get returns the token. One that is due for renewal is renewed while it still serves; only without one does the caller wait.
func (c *cell) get(ctx context.Context) (config.Secret, error) {
	c.mu.Lock()
	have := c.valid(time.Now())
	flight := c.start(time.Now()) //nolint:contextcheck // a request serves others than this caller too
	if have != nil {
		c.mu.Unlock()
		return have.token, nil
	}
	err := c.err
	c.mu.Unlock()
	if flight == nil {
		return config.Secret{}, err
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return config.Secret{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.valid(time.Now()); have != nil {
		return have.token, nil
	}
	if c.err == nil { // a server has refused it already
		return config.Secret{}, errGivenUp
	}
	return config.Secret{}, c.err
}

var errGivenUp = errors.New("the token was refused as soon as it was there")

// current is the token, if there is one. It asks nobody.
func (c *cell) current() (config.Secret, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.valid(time.Now()); have != nil {
		return have.token, true
	}
	return config.Secret{}, false
}

func (c *cell) valid(now time.Time) *grant {
	if c.have != nil && now.Before(c.have.expires) {
		return c.have
	}
	return nil
}

// start makes sure that a request runs if one is due, and returns what is closed at its end.
func (c *cell) start(now time.Time) <-chan struct{} {
	if c.flight != nil {
		return c.flight
	}
	if c.valid(now) != nil && now.Before(c.have.renew) || now.Before(c.retry) {
		return nil
	}
	c.flight = make(chan struct{})
	go c.ask(c.flight, known{have: c.valid(now) != nil, doubt: c.doubt, refused: c.refused})
	return c.flight
}

func (c *cell) ask(flight chan struct{}, k known) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	got, err := c.tryFetch(ctx, k)
	c.mu.Lock()
	now := time.Now()
	c.flight = nil
	if err == nil {
		c.have, c.err, c.failures, c.retry = got, nil, 0, time.Time{}
		c.doubt, c.refused = false, config.Secret{}
	} else {
		c.err = err
		c.retry = now.Add(min(firstPause<<min(c.failures, 10), longestPause))
		c.failures++
		if refused(err) {
			c.retry, c.doubt = now.Add(rejectPause), true // asking the same again gets the same answer
			if c.strict {
				c.have = nil
			}
		}
	}
	c.mu.Unlock()
	close(flight)
	if c.changed != nil {
		c.changed()
	}
}

func (c *cell) tryFetch(ctx context.Context, k known) (got *grant, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("asking for a token panicked: %v", p)
		}
	}()
	return c.fetch(ctx, k)
}

// reject gives a token up that a server has refused, unless another has taken its place or the last one has just been given up.
func (c *cell) reject(token config.Secret) {
	c.mu.Lock()
	now := time.Now()
	if c.have == nil || !c.have.token.Equal(token) || now.Sub(c.rejected) < rejectPause {
		c.mu.Unlock()
		return
	}
	c.have, c.rejected, c.retry = nil, now, time.Time{}
	c.doubt, c.refused = true, token
	c.mu.Unlock()
	if c.changed != nil {
		c.changed()
	}
}

// due is when the token has to be asked for, renewed, or is lost.
func (c *cell) due(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.valid(now)
	switch {
	case have == nil && now.Before(c.retry):
		return c.retry
	case have == nil:
		return now
	case now.Before(c.retry):
		return earlier(c.retry, have.expires)
	case now.Before(have.renew):
		return have.renew
	default:
		return now
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
