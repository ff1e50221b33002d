package consent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// Limits of a store.
const (
	// MaxValue is the longest credential in bytes.
	MaxValue = 8 << 10
	// maxPerUser and maxStored are how many a user and all users together may have stored, maxSealed how many bytes all may have.
	maxPerUser = 100
	maxStored  = 20_000
	maxSealed  = 32 << 20
)

// ErrFull means that a limit of the store is reached.
var ErrFull = errors.New("no more credentials can be stored")

// Kept is a stored credential.
type Kept struct {
	Value  config.Secret
	Stored time.Time
	// Refused is when the server refused it, zero if it has not.
	Refused time.Time
}

// Listed is a stored credential without itself.
type Listed struct {
	Server          string
	Stored, Refused time.Time
}

// Store keeps credentials by user and server. Its methods are safe for concurrent use.
type Store interface {
	// Get is nil if there is none.
	Get(u User, server string) (*Kept, error)
	Put(u User, server string, k Kept) error
	// Refuse marks a credential as refused, if it is still this value and was not marked before.
	Refuse(u User, server string, value config.Secret, at time.Time) (marked bool, err error)
	Delete(u User, server string) error
	// List has them in order of the servers' names.
	List(u User) ([]Listed, error)
}

// vault is a Store that holds everything sealed, in memory and, if it has a place for that, in a file too.
type vault struct {
	box   box
	index []byte
	// persist writes the contents before they count; nil means that they last as long as the process.
	persist func(*contents) error

	writing sync.Mutex
	now     atomic.Pointer[contents]
}

// contents are never modified.
type contents struct {
	// users holds what is sealed by a digest of the user and by server.
	users       map[string]map[string][]byte
	count, size int
}

// NewMemory makes a store that ends with the process.
func NewMemory() (Store, error) { return newVault(randomKey()) }

// newVault makes an empty store with a key of 32 bytes.
func newVault(key []byte) (*vault, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of the credential store has %d bytes, want %d", len(key), keySize)
	}
	b, err := newBox(mac(key, "credentials"))
	if err != nil {
		return nil, err
	}
	v := &vault{box: b, index: mac(key, "users")}
	v.now.Store(&contents{})
	return v, nil
}

func (v *vault) owner(u User) string {
	return base64.RawURLEncoding.EncodeToString(mac(v.index, u.Issuer, u.Subject))
}

// plain is what is sealed.
type plain struct {
	Value   string    `json:"value"`
	Stored  time.Time `json:"stored"`
	Refused time.Time `json:"refused,omitzero"`
}

// Get implements Store.
func (v *vault) Get(u User, server string) (*Kept, error) {
	return v.open(u, server, v.now.Load().users[v.owner(u)][server])
}

func (v *vault) open(u User, server string, sealed []byte) (*Kept, error) {
	if sealed == nil {
		return nil, nil
	}
	text, err := v.box.open(sealed, "credential", u.Issuer, u.Subject, server)
	if err != nil {
		return nil, fmt.Errorf("the stored credential for server %q cannot be read: %w", server, err)
	}
	var p plain
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("the stored credential for server %q cannot be read: it has another format", server)
	}
	return &Kept{Value: config.NewSecret(p.Value), Stored: p.Stored, Refused: p.Refused}, nil
}

// Put implements Store.
func (v *vault) Put(u User, server string, k Kept) error {
	if n := len(k.Value.Reveal()); n == 0 || n > MaxValue || !utf8.ValidString(k.Value.Reveal()) {
		return fmt.Errorf("a credential is UTF-8 text of 1 to %d bytes; this one has %d", MaxValue, n)
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	return v.put(u, server, k)
}

// put is called with the lock held.
func (v *vault) put(u User, server string, k Kept) error {
	text, err := json.Marshal(plain{Value: k.Value.Reveal(), Stored: k.Stored.UTC(), Refused: k.Refused.UTC()})
	if err != nil {
		return fmt.Errorf("cannot store a credential for server %q: it is not text", server)
	}
	return v.change(v.owner(u), server, v.box.seal(text, "credential", u.Issuer, u.Subject, server))
}

// Refuse implements Store. The mark holds for this process even where it cannot be written.
func (v *vault) Refuse(u User, server string, value config.Secret, at time.Time) (bool, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	k, err := v.Get(u, server)
	if err != nil || k == nil || !k.Refused.IsZero() || !k.Value.Equal(value) {
		return false, err
	}
	k.Refused = at
	if err := v.put(u, server, *k); err != nil {
		persist := v.persist
		v.persist = nil
		defer func() { v.persist = persist }()
		return true, errors.Join(err, v.put(u, server, *k))
	}
	return true, nil
}

// Delete implements Store.
func (v *vault) Delete(u User, server string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	owner := v.owner(u)
	if _, ok := v.now.Load().users[owner][server]; !ok {
		return nil
	}
	return v.change(owner, server, nil)
}

// List implements Store.
func (v *vault) List(u User) ([]Listed, error) {
	kept := v.now.Load().users[v.owner(u)]
	var out []Listed
	for _, server := range slices.Sorted(maps.Keys(kept)) {
		k, err := v.open(u, server, kept[server])
		if err != nil {
			return nil, err
		}
		out = append(out, Listed{Server: server, Stored: k.Stored, Refused: k.Refused})
	}
	return out, nil
}

// change puts one sealed credential in place of another, or nil in the place of one. It is called with the lock held.
func (v *vault) change(owner, server string, sealed []byte) error {
	old := v.now.Load()
	next := &contents{users: maps.Clone(old.users), count: old.count, size: old.size}
	if next.users == nil {
		next.users = map[string]map[string][]byte{}
	}
	mine := maps.Clone(next.users[owner])
	if was, ok := mine[server]; ok {
		next.count, next.size = next.count-1, next.size-len(was)
		delete(mine, server)
	}
	if sealed != nil {
		if mine == nil {
			mine = map[string][]byte{}
		}
		mine[server] = sealed
		next.count, next.size = next.count+1, next.size+len(sealed)
		if len(mine) > maxPerUser || next.count > maxStored || next.size > maxSealed {
			return ErrFull
		}
	}
	next.users[owner] = mine
	if len(mine) == 0 {
		delete(next.users, owner)
	}
	if v.persist != nil {
		if err := v.persist(next); err != nil {
			return err
		}
	}
	v.now.Store(next)
	return nil
}
