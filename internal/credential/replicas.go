package credential

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/strongbox"
)

// This file is about what replicas tell each other of the tokens that they have got for callers, so that what one has exchanged serves at all of them. The
// memory of each is asked first. The store is a convenience: what it cannot do, the authorization server can.

const (
	// shareTimeout is how long a call waits for the store before the authorization server is asked. A healthy one answers within a millisecond.
	shareTimeout = 250 * time.Millisecond
	// shareRest is for how many times as long the store is left alone as it took to fail: so waiting for one that is away is a small part of the time,
	// and one that refuses at once is asked again at once.
	shareRest = 40
	// maxShared bounds how long a token is in the store that lives longer, or for ever.
	maxShared = 24 * time.Hour
)

// Records is what is needed here of a store that replicas share, see package store.
type Records interface {
	Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error
	Load(ctx context.Context, key string) (map[string]string, error)
	Swap(ctx context.Context, key, field, old, next string) (now string, err error)
}

// Replicas is how the replicas of a gateway share callers' tokens. Nobody else may have the keys.
type Replicas struct {
	Records Records
	// Box seals tokens; DigestKey is for the names of records, so that nobody can tell of them who has called what.
	Box       strongbox.Box
	DigestKey []byte
}

// sharing is Replicas with what was seen of their store.
type sharing struct {
	Replicas

	patience time.Duration // shareTimeout, but in tests

	mu   sync.Mutex
	rest time.Time // until when the store is left alone; zero while it does what it is asked
}

func newSharing(r *Replicas) *sharing {
	if r == nil {
		return nil
	}
	return &sharing{Replicas: *r, patience: shareTimeout}
}

// record is where replicas find the token that a client got for a caller's token.
type record struct {
	*sharing // nil if there is nothing to share by

	key string
}

// fieldToken is the one field of a record.
const fieldToken = "token"

// record has another key for each client that would get another token, so that one with other settings never finds what was got with the former.
func (s *sharing) record(client [sha256.Size]byte, caller config.Secret) record {
	if s == nil {
		return record{}
	}
	subject := sha256.Sum256([]byte(caller.Reveal()))
	m := hmac.New(sha256.New, s.DigestKey)
	m.Write(client[:])
	m.Write(subject[:])
	return record{s, "exchanged:" + base64.RawURLEncoding.EncodeToString(m.Sum(nil))}
}

// found is what a record holds: as it stands there, and what it says, if it was sealed by a replica.
type found struct {
	sealed string
	grant  *grant
}

// load reads the record. What cannot be read is not there.
func (r record) load(ctx context.Context) (f found) {
	r.do(ctx, func(ctx context.Context) error {
		fields, err := r.Records.Load(ctx, r.key)
		f.sealed = fields[fieldToken]
		return err
	})
	if f.sealed == "" {
		return f
	}
	if plain, err := r.Box.Open(r.key, f.sealed); err == nil {
		f.grant, _ = parseGrant(plain) // what it cannot be read as will be replaced
	}
	return f
}

// keep has the others find a token, in place of any other, for as long as it may be used.
func (r record) keep(ctx context.Context, g *grant) {
	life := min(time.Until(g.expires), maxShared)
	if life <= 0 {
		return
	}
	r.do(ctx, func(ctx context.Context) error {
		return r.Records.Create(ctx, r.key, map[string]string{fieldToken: r.Box.Close(r.key, g.marshal())}, life)
	})
}

// remove takes away what was found, and nothing that another replica has put in its place since: sealing the same twice gives different texts. What stays
// because the store is away costs the next replica a refusal, after which it does what was done here.
func (r record) remove(ctx context.Context, f found) {
	if f.sealed == "" {
		return
	}
	r.do(ctx, func(ctx context.Context) error {
		_, err := r.Records.Swap(ctx, r.key, fieldToken, f.sealed, "")
		return err
	})
}

// do asks the store for something, unless it is left alone.
func (r record) do(ctx context.Context, ask func(ctx context.Context) error) {
	if r.sharing == nil || !r.begin(time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	began := time.Now()
	err := ask(ctx)
	r.end(time.Now(), began, err)
}

// begin tells whether the store may be asked. After a rest one goes first, and the others learn from what it meets.
func (s *sharing) begin(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rest.IsZero() {
		return true
	}
	if now.Before(s.rest) {
		return false
	}
	s.rest = now.Add(s.patience)
	return true
}

func (s *sharing) end(now, began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rest = (time.Time{}); err != nil {
		s.rest = now.Add(shareRest * now.Sub(began))
	}
}

// storedGrant is a grant as replicas write it. One that means something else needs a key of its own.
type storedGrant struct {
	Token   string `json:"token"`
	Renew   int64  `json:"renew"`   // in Unix milliseconds, like the next
	Expires int64  `json:"expires"` // rounded down: the next replica must not take the token for a fresher one
}

func (g *grant) marshal() []byte {
	plain, _ := json.Marshal(storedGrant{g.token.Reveal(), g.renew.UnixMilli(), g.expires.UnixMilli()}) // a string and numbers can be written
	return plain
}

var errNoGrant = errors.New("this is no token with its times")

func parseGrant(plain []byte) (*grant, error) {
	var s storedGrant
	if json.Unmarshal(plain, &s) != nil || !sendable(s.Token) || s.Expires <= 0 || s.Renew > s.Expires {
		return nil, errNoGrant
	}
	return &grant{token: config.NewSecret(s.Token), renew: time.UnixMilli(s.Renew), expires: time.UnixMilli(s.Expires)}, nil
}
