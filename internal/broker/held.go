package broker

import "sync"

const (
	// maxHeld bounds the calls that wait for their clients, maxHeldCaller those of one caller.
	maxHeld       = 1024
	maxHeldCaller = 32
)

// held are the calls whose clients were asked for input, from the first time on and until they are over.
type held struct {
	mu    sync.Mutex
	calls map[[16]byte]*bridged
	count map[string]int // by caller
}

// add takes a call in. It reports false if there are too many.
func (h *held) add(c *bridged) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls == nil {
		h.calls, h.count = map[[16]byte]*bridged{}, map[string]int{}
	}
	if h.calls[c.key] != nil {
		return true
	}
	if len(h.calls) >= maxHeld || h.count[c.asker.who] >= maxHeldCaller {
		return false
	}
	h.calls[c.key] = c
	h.count[c.asker.who]++
	return true
}

func (h *held) remove(c *bridged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls[c.key] != c {
		return
	}
	delete(h.calls, c.key)
	if h.count[c.asker.who]--; h.count[c.asker.who] == 0 {
		delete(h.count, c.asker.who)
	}
}

func (h *held) find(key [16]byte) *bridged {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[key]
}
