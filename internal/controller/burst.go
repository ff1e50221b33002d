package controller

import (
	"sync"
	"time"
)

const (
	// quiet is how long nothing may change before a translation, and longest how long one is waited for at most. A single change is thus live at once, and of
	// a thousand objects that are applied together there is a translation in each second.
	quiet   = 100 * time.Millisecond
	longest = time.Second
)

// burst tells when changes that come together are over.
type burst struct {
	mu          sync.Mutex
	first, last time.Time // zero when there is nothing to wait for
}

func (b *burst) touch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = time.Now()
	if b.first.IsZero() {
		b.first = b.last
	}
}

// wait is how long to wait still. Zero begins anew: what changes from then on is another burst.
func (b *burst) wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first.IsZero() {
		return 0
	}
	until := b.last.Add(quiet)
	if limit := b.first.Add(longest); limit.Before(until) {
		until = limit
	}
	if left := time.Until(until); left > 0 {
		return left
	}
	b.first = time.Time{}
	return 0
}
