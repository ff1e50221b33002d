package session

import (
	"cmp"
	"slices"
)

// backends are the open sessions of one client's session with servers, in order of the servers' names. Most clients call one or two servers, for which
// a map takes six times as much. They are never modified.
type backends []namedBackend

type namedBackend struct {
	server string
	Backend
}

func (b backends) at(server string) (int, bool) {
	return slices.BinarySearchFunc(b, server, func(n namedBackend, server string) int { return cmp.Compare(n.server, server) })
}

func (b backends) of(server string) (Backend, bool) {
	i, ok := b.at(server)
	if !ok {
		return Backend{}, false
	}
	return b[i].Backend, true
}

func (b backends) with(server string, be Backend) *backends {
	next := slices.Clone(b)
	if i, ok := b.at(server); ok {
		next[i].Backend = be
	} else {
		next = slices.Insert(next[:len(next):len(next)], i, namedBackend{server, be})
	}
	return &next
}

func (b backends) without(server string) *backends {
	next := slices.DeleteFunc(slices.Clone(b), func(n namedBackend) bool { return n.server == server })
	return &next
}

func (b backends) byServer() map[string]Backend {
	out := make(map[string]Backend, len(b))
	for _, n := range b {
		out[n.server] = n.Backend
	}
	return out
}

func backendsOf(byServer map[string]Backend) *backends {
	out := make(backends, 0, len(byServer))
	for server, be := range byServer {
		out = append(out, namedBackend{server, be})
	}
	slices.SortFunc(out, func(x, y namedBackend) int { return cmp.Compare(x.server, y.server) })
	return &out
}
