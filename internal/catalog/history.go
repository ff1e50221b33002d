package catalog

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// maxRemembered is how many tools of one server are remembered: a server that calls its tools something else each time shall not fill the memory.
	maxRemembered = 100_000
	// maxChangesShown are told of one server.
	maxChangesShown = 100
)

// History remembers what servers said of their tools when these were first seen. A snapshot knows no past, and a tool that is another than the one that
// somebody has looked at and agreed to may be a trap. It is safe for concurrent use.
type History struct {
	mu      sync.Mutex // guards servers
	servers map[string]*told
}

// told is what one server said, by its own names for its tools.
type told struct {
	first   map[string]Digest
	changed map[string]version // of those few that have not always been what they were first
}

// version is the last digest of a tool, and since when it is that.
type version struct {
	last Digest
	at   time.Time
}

// Change is a tool whose definition is another than the time before.
type Change struct {
	Tool     string
	Old, New Digest
}

// Note takes what a server says now, and tells which of its tools it has spoken of in other words. A tool that has been away is remembered.
func (h *History) Note(server string, l *Listing, now time.Time) []Change {
	if l == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.servers[server]
	if t == nil {
		if h.servers == nil {
			h.servers = map[string]*told{}
		}
		t = &told{first: make(map[string]Digest, len(l.Digests)), changed: map[string]version{}}
		h.servers[server] = t
	}
	var out []Change
	for i, digest := range l.Digests {
		name, _, err := stringMember(l.Items[Tool][i], "name")
		if err != nil {
			continue // it is not offered
		}
		last, known := t.last(name)
		switch {
		case !known && len(t.first) == maxRemembered:
		case !known:
			t.first[name] = digest
		case last != digest:
			out = append(out, Change{Tool: name, Old: last, New: digest})
			t.changed[name] = version{digest, now}
		}
	}
	return out
}

// last is the digest of a tool that is known.
func (t *told) last(tool string) (Digest, bool) {
	if v, ok := t.changed[tool]; ok {
		return v.last, true
	}
	first, known := t.first[tool]
	return first, known
}

// Keep forgets all servers but those.
func (h *History) Keep(servers map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.servers {
		if !servers[name] {
			delete(h.servers, name)
		}
	}
}

// Problems are the tools of a snapshot's servers that are not what they were when they were first seen, by the names that clients use.
func (h *History) Problems(snap *Snapshot) []Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Problem
	for _, s := range snap.Servers() {
		t := h.servers[s.Name]
		if t == nil {
			continue
		}
		shown := 0
		for _, name := range slices.Sorted(maps.Keys(t.changed)) {
			v, first := t.changed[name], t.first[name]
			if first == v.last {
				continue // it is what it was
			}
			if shown++; shown > maxChangesShown {
				out = append(out, Problem{Server: s.Name, Message: fmt.Sprintf("the definitions of more than these %d tools have changed", maxChangesShown)})
				break
			}
			out = append(out, Problem{Server: s.Name, Kind: Tool.String(), Name: s.Prefix + name, Message: fmt.Sprintf(
				"the definition of tool %q changed at %s (%s -> %s): look at what it says now; pin keeps a tool at one definition",
				name, v.at.UTC().Format(time.RFC3339), first, v.last)})
		}
	}
	return out
}
