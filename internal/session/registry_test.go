package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{MaxAge: 10 * time.Minute, MaxIdle: time.Hour})
		s := create(t, r)
		release := s.Hold()
		defer release()
		time.Sleep(10*time.Minute - time.Second)
		_, err := r.Lookup(s.Token())
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = r.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnknown, "use and open streams do not prolong the longest life")
		require.NotErrorIs(t, err, ErrGone)
		assert.Zero(t, r.Count())
	})
}

func TestMaxIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		r := newRegistry(t, Options{MaxIdle: time.Minute, OnEnd: func(*Session) { ended++ }})
		used, idle := create(t, r), create(t, r)
		for range 5 {
			time.Sleep(50 * time.Second)
			_, err := r.Lookup(used.Token())
			require.NoError(t, err)
			r.Sweep()
		}
		_, err := r.Lookup(idle.Token())
		require.ErrorIs(t, err, ErrUnknown)
		assert.Equal(t, 1, ended)
		assert.Equal(t, 1, r.Count())
		time.Sleep(2 * time.Minute)
		_, err = r.Lookup(used.Token())
		require.ErrorIs(t, err, ErrUnknown, "an expired session is refused before any sweep")
		assert.Equal(t, 2, ended)
	})
}

func TestHoldKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{MaxIdle: time.Minute})
		s := create(t, r)
		first, second := s.Hold(), s.Hold()
		time.Sleep(time.Hour)
		r.Sweep()
		assert.Equal(t, 1, r.Count())
		first()
		first() // once is enough, and twice is not two
		time.Sleep(time.Hour)
		r.Sweep()
		assert.Equal(t, 1, r.Count(), "the second stream is still open")
		second()
		r.Sweep()
		assert.Equal(t, 1, r.Count(), "the rest begins when the last stream ends")
		time.Sleep(2 * time.Minute)
		r.Sweep()
		assert.Zero(t, r.Count())
	})
}

func TestRunSweepsUntilItIsToldToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		r := newRegistry(t, Options{MaxIdle: time.Minute, OnEnd: func(*Session) { ended++ }})
		create(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
		assert.Equal(t, 1, ended)
	})
}

func TestMax(t *testing.T) {
	r := newRegistry(t, Options{Max: 2})
	a := create(t, r)
	create(t, r)
	_, err := r.Create(t.Context(), Start{})
	require.ErrorIs(t, err, ErrTooMany)
	assert.Equal(t, 2, r.Count())
	require.NoError(t, r.Delete(t.Context(), a))
	require.NoError(t, r.Delete(t.Context(), a))
	assert.Equal(t, 1, r.Count())
	create(t, r)
}

// TestOnEndOnce proves that a session ends once, whoever ends it at the same time.
func TestOnEndOnce(t *testing.T) {
	for range 100 {
		var ends atomic.Int32
		r := newRegistry(t, Options{MaxAge: time.Nanosecond, OnEnd: func(*Session) { ends.Add(1) }})
		s := create(t, r)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = r.Delete(t.Context(), s) })
			wg.Go(r.Sweep)
			wg.Go(func() {
				if _, err := r.Lookup(s.Token()); !errors.Is(err, ErrUnknown) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, ends.Load())
		require.Zero(t, r.Count())
	}
}

// TestOnEndMayAskTheRegistry proves that OnEnd can take its time and use the registry, and that nobody waits for it.
func TestOnEndMayAskTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *Registry
		proceed := make(chan struct{})
		r = newRegistry(t, Options{OnEnd: func(s *Session) {
			if _, err := r.Lookup(s.Token()); !errors.Is(err, ErrUnknown) {
				t.Error(err)
			}
			_ = r.Delete(t.Context(), s)
			assert.Len(t, s.Backends(), 1, "its backend sessions are still listed")
			<-proceed
		}})
		s := create(t, r)
		s.SetBackend("a", Backend{ID: "1"})
		go func() { _ = r.Delete(t.Context(), s) }()
		synctest.Wait()
		require.NoError(t, r.Delete(t.Context(), s)) // returns, though OnEnd has not
		_, err := r.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnknown)
		close(proceed)
	})
}

func TestDeletedIsGone(t *testing.T) {
	r := newRegistry(t, Options{})
	s := create(t, r)
	require.NoError(t, r.Delete(t.Context(), s))
	_, err := r.Lookup(s.Token())
	require.ErrorIs(t, err, ErrGone)
	require.ErrorIs(t, err, ErrUnknown)
}

func TestAll(t *testing.T) {
	r := newRegistry(t, Options{})
	want := map[string]bool{}
	for range 5 {
		want[create(t, r).Token()] = true
	}
	got := map[string]bool{}
	r.All(func(s *Session) bool { got[s.Token()] = true; return true })
	assert.Equal(t, want, got)
	calls := 0
	r.All(func(*Session) bool { calls++; return false })
	assert.Equal(t, 1, calls)
}

func BenchmarkLookup(b *testing.B) {
	r := newRegistry(b, Options{})
	token := create(b, r).Token()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Lookup(token); err != nil {
				b.Error(err)
			}
		}
	})
}
