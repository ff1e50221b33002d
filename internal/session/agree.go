package session

import (
	"context"
	"errors"
	"maps"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

// This file is about which session with a server is the one that all replicas use.

// Agree records a backend session that was opened, unless another replica has opened one meanwhile: then it returns that one, and the caller must close
// its own, as it must after an error. What replaced is, if it has an ID, was opened when the server was reached in another way. Nobody else is told of it:
// the caller must close it too, when calls in flight have ended.
func (s *Session) Agree(ctx context.Context, server string, b Backend) (taken, replaced Backend, err error) {
	if s.shared == nil {
		old, ok := s.setBackend(server, b)
		if !ok {
			return Backend{}, Backend{}, ErrUnknown
		}
		return b, other(old, b), nil
	}
	h, id, field := s.shared.registry.sharing, s.ID(), fieldBackend+server
	sealed := h.closeBackend(id, server, b)
	for range maxFetches {
		s.mu.Lock()
		have, ok := s.Backend(server, b.Fingerprint)
		old := s.shared.fields[field] // without a backend session, that of one which its server forgot
		s.mu.Unlock()
		if ok {
			return have, Backend{}, nil
		}
		now, err := s.swap(ctx, field, old, sealed)
		switch {
		case err != nil:
			return Backend{}, Backend{}, err
		case now == sealed:
			if !s.SetBackend(server, b) {
				return Backend{}, Backend{}, ErrUnknown
			}
			s.changedShared(ctx)
			_ = h.read(id, field, old, &replaced) // what cannot be read cannot be closed
			return b, other(replaced, b), nil
		}
		if now == "" {
			continue // another one that has been dropped
		}
		var theirs Backend
		if err := h.read(id, field, now, &theirs); err != nil {
			return Backend{}, Backend{}, unreachable(err)
		}
		if theirs.Fingerprint == b.Fingerprint {
			if !s.SetBackend(server, theirs) {
				return Backend{}, Backend{}, ErrUnknown
			}
			return theirs, Backend{}, nil
		}
	}
	return Backend{}, Backend{}, unreachable(errors.New("the session's record changes all the time"))
}

// other is what another has taken the place of, if that is not of the server as it is now: such a one was forgotten by its server.
func other(old, b Backend) Backend {
	if old.Fingerprint == b.Fingerprint {
		return Backend{}
	}
	return old
}

// Release forgets a backend session that is not to be used any more, and tells whether the caller must close it: of all replicas, one must.
func (s *Session) Release(ctx context.Context, server, id string) (mine bool, err error) {
	if s.shared == nil {
		mine = s.drop(server, id)
		s.change()
		return mine, nil
	}
	h, field := s.shared.registry.sharing, fieldBackend+server
	s.mu.Lock()
	old := s.shared.fields[field]
	s.mu.Unlock()
	var kept Backend
	if err := h.read(s.ID(), field, old, &kept); err != nil || kept.ID != id {
		return false, nil //nolint:nilerr // another replica has been here
	}
	// A mark that nobody else can have made tells who was first. Whoever finds it takes it for a session that is of no use.
	mark := h.closeBackend(s.ID(), server, Backend{})
	if now, err := s.swap(ctx, field, old, mark); err != nil || now != mark {
		return false, err
	}
	_, _ = s.swap(ctx, field, mark, "") // what stays is replaced or ends with the record
	s.drop(server, id)
	s.change()
	s.changedShared(ctx)
	return true, nil
}

// swap sets a field of the record, and takes note of what it is then. The error is ErrUnknown or ErrStore.
func (s *Session) swap(ctx context.Context, field, old, next string) (now string, err error) {
	now, err = s.shared.registry.sharing.store.Swap(ctx, recordKey(s.ID()), field, old, next)
	if errors.Is(err, store.ErrNoRecord) {
		return "", ErrUnknown
	}
	if err != nil {
		return "", unreachable(err)
	}
	s.setField(field, now)
	return now, nil
}

func (s *Session) setField(field, sealed string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Others may read the map that is there.
	next := maps.Clone(s.shared.fields)
	if next[field] = sealed; sealed == "" {
		delete(next, field)
	}
	s.shared.fields = next
}

// dropShared has the other replicas forget a backend session too. It does not wait.
func (s *Session) dropShared(server string) {
	if s.shared == nil {
		return
	}
	field := fieldBackend + server
	s.mu.Lock()
	old := s.shared.fields[field]
	s.mu.Unlock()
	if old == "" {
		return
	}
	h := s.shared.registry.sharing
	go func() {
		now, err := h.store.Swap(h.ctx, recordKey(s.ID()), field, old, "")
		if err == nil && now == "" {
			s.setField(field, "")
			s.changedShared(h.ctx)
		}
	}()
}
