package session

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newRegistry(tb testing.TB, o Options) *Registry {
	tb.Helper()
	if o.Key.secret == nil {
		o.Key = GenerateKey()
	}
	return NewRegistry(o)
}

func create(tb testing.TB, r *Registry) *Session {
	tb.Helper()
	s, err := r.Create(tb.Context(), Start{Revision: "2025-06-18"})
	require.NoError(tb, err)
	return s
}

func TestCreate(t *testing.T) {
	r := newRegistry(t, Options{})
	init := json.RawMessage(`{"n":9007199254740993}`)
	subject := Subject{1, 2, 3}
	s, err := r.Create(t.Context(), Start{Subject: subject, VirtualServer: "team/reports", Revision: "2025-06-18", InitParams: init})
	require.NoError(t, err)
	copy(init, `{"overwritten"`)
	assert.Equal(t, subject, s.Subject())
	assert.Equal(t, "2025-06-18", s.Revision())
	assert.JSONEq(t, `{"n":9007199254740993}`, string(s.InitParams()), "Invariant 1, and a copy of its own")
	found, err := r.Lookup(s.Token())
	require.NoError(t, err)
	assert.Same(t, s, found)
	for _, c := range s.Token() {
		assert.True(t, c > 0x20 && c < 0x7f, "the specification wants visible ASCII, not %q", c)
	}
}

func TestBackends(t *testing.T) {
	r := newRegistry(t, Options{})
	s := create(t, r)
	_, ok := s.Backend("a", "f1")
	assert.False(t, ok)

	first := Backend{ID: "1", Revision: "2025-03-26", Fingerprint: "f1"}
	require.True(t, s.SetBackend("a", first))
	require.True(t, s.SetBackend("b", Backend{ID: "1", Fingerprint: "f1"}))
	earlier := s.Backends()
	got, ok := s.Backend("a", "f1")
	assert.True(t, ok)
	assert.Equal(t, first, got)
	_, ok = s.Backend("a", "f2")
	assert.False(t, ok, "the server's address or credential has changed since")

	require.True(t, s.SetBackend("a", Backend{ID: "2", Fingerprint: "f2"}))
	s.DropBackend("a", "1")
	_, ok = s.Backend("a", "f2")
	assert.True(t, ok, "the one that was forgotten had been replaced already")
	s.DropBackend("a", "2")
	_, ok = s.Backend("a", "f2")
	assert.False(t, ok)
	s.DropBackend("nobody", "")
	assert.Len(t, s.Backends(), 1)
	assert.Equal(t, first, earlier["a"], "a map that was handed out is not modified")

	require.NoError(t, r.Delete(t.Context(), s))
	assert.False(t, s.SetBackend("a", first), "the caller has to close what it opened")
	assert.NotContains(t, s.Backends(), "a")
	select {
	case <-s.Done():
	default:
		t.Error("Done is open after the end")
	}
}

// TestNoBackendIsLost proves that each backend session opened while a session is deleted is either seen by OnEnd or
// refused to the one who opened it, who then closes it (Invariant 11).
func TestNoBackendIsLost(t *testing.T) {
	for range 200 {
		var listed map[string]Backend
		r := newRegistry(t, Options{OnEnd: func(s *Session) { listed = s.Backends() }})
		s := create(t, r)
		var accepted [4]bool
		var wg sync.WaitGroup
		for i := range accepted {
			wg.Go(func() { accepted[i] = s.SetBackend(string(rune('a'+i)), Backend{ID: "x"}) })
		}
		wg.Go(func() { _ = r.Delete(t.Context(), s) })
		wg.Wait()
		for i, ok := range accepted {
			_, seen := listed[string(rune('a'+i))]
			require.Equal(t, ok, seen)
		}
	}
}

func TestCalls(t *testing.T) {
	s := create(t, newRegistry(t, Options{}))
	owner := func(id string) string {
		server, ok := s.CallOwner([]byte(id))
		assert.Equal(t, ok, server != "")
		return server
	}
	assert.Empty(t, owner("1"))
	assert.Empty(t, owner(""))
	id := []byte("1")
	end := s.BeginCall(id, "a")
	id[0] = '9'
	endText := s.BeginCall([]byte(`"1"`), "b")
	assert.Equal(t, "a", owner("1"))
	assert.Equal(t, "b", owner(`"1"`), "ids of different types are different")
	end()
	end()
	assert.Empty(t, owner("1"))
	assert.Equal(t, "b", owner(`"1"`))
	endText()
	assert.Empty(t, owner(`"1"`))
}

func TestCallsOfOneID(t *testing.T) {
	s := create(t, newRegistry(t, Options{}))
	endFirst := s.BeginCall([]byte("1"), "a")
	endSecond := s.BeginCall([]byte("1"), "b")
	endFirst()
	server, ok := s.CallOwner([]byte("1"))
	assert.True(t, ok, "the second call is still in flight")
	assert.Equal(t, "b", server)
	endSecond()
	_, ok = s.CallOwner([]byte("1"))
	assert.False(t, ok)
}

func TestLogLevel(t *testing.T) {
	s := create(t, newRegistry(t, Options{}))
	assert.Nil(t, s.LogLevel())
	params := json.RawMessage(`{"level":"debug"}`)
	require.NoError(t, s.SetLogLevel(t.Context(), params))
	copy(params, "overwritten")
	assert.JSONEq(t, `{"level":"debug"}`, string(s.LogLevel()))
}
