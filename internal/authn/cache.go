package authn

import (
	"container/list"
	"crypto/sha256"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// shards are locked each on its own.
const shards = 16

type digest = [sha256.Size]byte

// verified is an identity that holds until its token expires.
type verified struct {
	digest   digest
	identity *policy.Identity
	expires  uint64
}

// cache are the identities that were verified with one set of policies and one ring. It forgets those that were not asked for the longest time.
type cache struct {
	set   *policy.Set
	ring  *ring
	parts [shards]shard
}

type shard struct {
	mu      sync.Mutex
	size    int
	entries map[digest]*list.Element
	recent  list.List
}

func newCache(set *policy.Set, r *ring, size int) *cache {
	c := &cache{set: set, ring: r}
	for i := range c.parts {
		c.parts[i].size = max(1, size/shards)
		c.parts[i].entries = map[digest]*list.Element{}
	}
	return c
}

// of picks a shard. Nobody can choose digests that all fall into one.
func (c *cache) of(d digest) *shard { return &c.parts[d[0]%shards] }

func (c *cache) get(d digest) (verified, bool) {
	s := c.of(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[d]
	if !ok {
		return verified{}, false
	}
	s.recent.MoveToFront(e)
	return e.Value.(verified), true
}

func (c *cache) put(v verified) {
	s := c.of(v.digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[v.digest]; ok {
		e.Value = v
		s.recent.MoveToFront(e)
		return
	}
	s.entries[v.digest] = s.recent.PushFront(v)
	if len(s.entries) > s.size {
		last := s.recent.Back()
		s.recent.Remove(last)
		delete(s.entries, last.Value.(verified).digest)
	}
}

func (c *cache) drop(d digest) {
	s := c.of(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[d]; ok {
		s.recent.Remove(e)
		delete(s.entries, d)
	}
}

func (c *cache) len() int {
	n := 0
	for i := range c.parts {
		c.parts[i].mu.Lock()
		n += len(c.parts[i].entries)
		c.parts[i].mu.Unlock()
	}
	return n
}
