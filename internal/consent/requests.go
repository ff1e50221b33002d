package consent

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// requestLife is how long a link is good for.
	requestLife = 10 * time.Minute
	// maxRequests bounds the open requests, maxUserRequests those of one user, whose oldest makes room for another.
	maxRequests     = 10_000
	maxUserRequests = 32
)

// ErrTooMany means that too many requests are open.
var ErrTooMany = errors.New("too many requests for credentials are open; try again later")

// errNobody is about a caller who cannot be asked.
var errNobody = errors.New("a credential can only be asked of a caller with a verified token that names a subject")

// Need is a call that cannot be made without a credential of its caller's.
type Need struct {
	User   User
	Server string
	// Client tells the clients of one user apart.
	Client string
	// Completed is told, with the request's ID, that the user has given it.
	Completed func(id string)
}

// Request is what a user is to be shown.
type Request struct{ ID, URL, Message string }

// Ask begins a request, or finds the one that was begun for the same need and is good for a while still.
func (c *Consent) Ask(n Need) (Request, error) {
	if !n.User.known() {
		return Request{}, errNobody
	}
	server, ok := c.opts.Server(n.Server)
	if !ok {
		return Request{}, fmt.Errorf("server %q asks no user for a credential", n.Server)
	}
	id, err := c.requests.begin(n, time.Now())
	if err != nil {
		return Request{}, err
	}
	return Request{
		ID: id, URL: c.opts.Public.JoinPath(Path, "for", id).String(),
		Message: fmt.Sprintf("The server %q needs a credential of your own: %s. Open the page of the gateway to give it, then try again.", n.Server, server.Title),
	}, nil
}

// requests are those that are open.
type requests struct {
	mu     sync.Mutex // guards the rest
	byID   map[string]*request
	byUser map[User][]*request // oldest first
	swept  time.Time
}

type request struct {
	Need

	id      string
	expires time.Time
}

func (r *requests) begin(n Need, now time.Time) (id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID, r.byUser = map[string]*request{}, map[User][]*request{}
	}
	for _, open := range r.byUser[n.User] {
		if open.Server == n.Server && open.Client == n.Client && open.expires.Sub(now) > requestLife/2 {
			return open.id, nil
		}
	}
	r.sweep(now)
	if len(r.byUser[n.User]) >= maxUserRequests {
		r.remove(r.byUser[n.User][0])
	}
	if len(r.byID) >= maxRequests {
		return "", ErrTooMany
	}
	r.add(&request{Need: n, id: newToken(), expires: now.Add(requestLife)})
	open := r.byUser[n.User]
	return open[len(open)-1].id, nil
}

// find is an open request.
func (r *requests) find(id string, now time.Time) *request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live(id, now)
}

// take closes a request, and with it all others of the user's for the same server. It returns none if the request is not open any more.
func (r *requests) take(id string, now time.Time) []*request {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.live(id, now)
	if first == nil {
		return nil
	}
	var taken []*request
	for _, open := range slices.Clone(r.byUser[first.User]) {
		if open.Server == first.Server {
			r.remove(open)
			taken = append(taken, open)
		}
	}
	return taken
}

// restore opens requests again that could not be fulfilled.
func (r *requests) restore(taken []*request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range taken {
		r.add(t)
	}
}

// The rest is called with the lock held.

func (r *requests) live(id string, now time.Time) *request {
	open := r.byID[id]
	if open == nil || !now.Before(open.expires) {
		return nil
	}
	return open
}

func (r *requests) add(one *request) {
	r.byID[one.id] = one
	r.byUser[one.User] = append(r.byUser[one.User], one)
}

func (r *requests) remove(one *request) {
	delete(r.byID, one.id)
	left := slices.DeleteFunc(r.byUser[one.User], func(o *request) bool { return o == one })
	if len(left) == 0 {
		delete(r.byUser, one.User)
	} else {
		r.byUser[one.User] = left
	}
}

// sweep forgets what has expired, now and then.
func (r *requests) sweep(now time.Time) {
	if now.Sub(r.swept) < time.Minute && len(r.byID) < maxRequests {
		return
	}
	r.swept = now
	for _, open := range r.byID {
		if !now.Before(open.expires) {
			r.remove(open)
		}
	}
}

// newToken is a text that nobody can guess, for URLs and cookies.
func newToken() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
