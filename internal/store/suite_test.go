package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

// life is longer than any test.
const life = time.Minute

// testRecords is what holds of the records of every store. open returns a view of one and the same store, as another replica has it.
func testRecords(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("fields come back as they were", func(t *testing.T) {
		a, b := open(t), open(t)
		fields := map[string]string{"owner": "a", "data": "\x00\xff{}\r\n", "not there": ""}
		require.NoError(t, a.Create(t.Context(), "k", fields, life))
		fields["owner"] = "changed by the caller"
		want := map[string]string{"owner": "a", "data": "\x00\xff{}\r\n"}
		for _, s := range []store.Store{a, b} {
			got := load(t, s, "k")
			require.Equal(t, want, got)
			got["owner"] = "changed by the reader"
			require.Equal(t, want, load(t, s, "k"))
		}
	})
	t.Run("a record takes the place of an older one", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Create(t.Context(), "replaced", map[string]string{"a": "1", "b": "2"}, life))
		require.NoError(t, s.Create(t.Context(), "replaced", map[string]string{"b": "3"}, life))
		require.Equal(t, map[string]string{"b": "3"}, load(t, s, "replaced"))
	})
	t.Run("a record without fields is there", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Create(t.Context(), "empty", nil, life))
		require.Equal(t, map[string]string{}, load(t, s, "empty"))
		require.Equal(t, "x", swap(t, s, "empty", "f", "", "x"))
		require.Empty(t, swap(t, s, "empty", "f", "x", ""))
		require.Equal(t, map[string]string{}, load(t, s, "empty"), "not gone with its last field")
	})
	t.Run("delete", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Create(t.Context(), "deleted", map[string]string{"a": "1"}, life))
		for _, want := range []bool{true, false} {
			was, err := s.Delete(t.Context(), "deleted")
			require.NoError(t, err)
			require.Equal(t, want, was)
			require.Nil(t, load(t, s, "deleted"))
		}
	})
	t.Run("swap", func(t *testing.T) { testSwap(t, open) })
	t.Run("what is no record", func(t *testing.T) {
		s := open(t)
		require.ErrorContains(t, s.Create(t.Context(), "wrong", map[string]string{"": "secret"}, life), "a field needs a name")
		require.ErrorContains(t, s.Create(t.Context(), "wrong", nil, 0), "lifetime must be positive, not 0s")
		_, err := s.Extend(t.Context(), -time.Second, "wrong")
		require.ErrorContains(t, err, "lifetime must be positive, not -1s")
		_, err = s.Swap(t.Context(), "wrong", "", "", "x")
		require.ErrorContains(t, err, "a field needs a name")
		require.Nil(t, load(t, s, "wrong"))
	})
}

func testSwap(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("by what it is", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Create(t.Context(), "swapped", map[string]string{"owner": "a", "other": "o"}, life))
		for _, step := range []struct{ old, next, now string }{
			{"", "b", "a"}, {"b", "c", "a"}, {"b", "", "a"}, {"a", "b", "b"}, {"a", "b", "b"}, {"b", "", ""}, {"b", "c", ""}, {"", "", ""}, {"", "d", "d"},
		} {
			require.Equal(t, step.now, swap(t, s, "swapped", "owner", step.old, step.next), "%+v", step)
		}
		require.Equal(t, map[string]string{"owner": "d", "other": "o"}, load(t, s, "swapped"))
	})
	t.Run("never makes a record", func(t *testing.T) {
		s := open(t)
		for _, next := range []string{"x", ""} {
			_, err := s.Swap(t.Context(), "missing", "owner", "", next)
			require.ErrorIs(t, err, store.ErrNoRecord)
		}
		require.Nil(t, load(t, s, "missing"))
	})
	t.Run("one of many wins", func(t *testing.T) {
		stores := []store.Store{open(t), open(t)}
		require.NoError(t, stores[0].Create(t.Context(), "raced", nil, life))
		const many = 50
		now := make([]string, many)
		var wg sync.WaitGroup
		for i := range now {
			wg.Go(func() {
				var err error
				now[i], err = stores[i%2].Swap(t.Context(), "raced", "owner", "", fmt.Sprint(i))
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		winner, winners := load(t, stores[0], "raced")["owner"], 0
		for i, n := range now {
			require.Equal(t, winner, n)
			if n == fmt.Sprint(i) {
				winners++
			}
		}
		require.Equal(t, 1, winners)
	})
}

func load(t *testing.T, s store.Store, key string) map[string]string {
	t.Helper()
	fields, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	return fields
}

func swap(t *testing.T, s store.Store, key, field, old, next string) string {
	t.Helper()
	now, err := s.Swap(t.Context(), key, field, old, next)
	require.NoError(t, err)
	return now
}

// testLives is what holds of the end of records; pass lets time pass.
func testLives(t *testing.T, s store.Store, pass func(t *testing.T, d time.Duration)) {
	const short = 300 * time.Millisecond
	ctx := t.Context()
	for _, key := range []string{"ends", "extended", "replaced with longer"} {
		require.NoError(t, s.Create(ctx, key, map[string]string{"f": "x"}, short))
	}
	require.NoError(t, s.Create(ctx, "cut short", nil, life))
	require.NoError(t, s.Create(ctx, "replaced with longer", map[string]string{"f": "y"}, life))
	require.NoError(t, s.Create(ctx, "least", nil, 1))
	there, err := s.Extend(ctx, life, "extended", "missing")
	require.NoError(t, err)
	require.Equal(t, []bool{true, false}, there)
	there, err = s.Extend(ctx, short, "cut short")
	require.NoError(t, err)
	require.Equal(t, []bool{true}, there)
	there, err = s.Extend(ctx, life)
	require.NoError(t, err)
	require.Empty(t, there)
	pass(t, short+50*time.Millisecond)
	for _, key := range []string{"ends", "cut short", "least"} {
		require.Nil(t, load(t, s, key), key)
		_, err := s.Swap(ctx, key, "f", "x", "y")
		require.ErrorIs(t, err, store.ErrNoRecord)
		was, err := s.Delete(ctx, key)
		require.NoError(t, err)
		require.False(t, was)
	}
	there, err = s.Extend(ctx, life, "ends", "extended", "replaced with longer")
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, true}, there)
	require.Equal(t, map[string]string{"f": "x"}, load(t, s, "extended"))
	require.Equal(t, map[string]string{"f": "y"}, load(t, s, "replaced with longer"))
}
