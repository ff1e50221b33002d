package store_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

func TestMemory(t *testing.T) {
	s := store.NewMemory()
	open := func(*testing.T) store.Store { return s }
	testRecords(t, open)
	testMessages(t, open)
	testLives(t, s, func(t *testing.T, d time.Duration) { time.Sleep(d) })
	require.NoError(t, s.Close())
	require.NoError(t, s.Publish(t.Context(), nil), "others may share it")
}

// TestMemoryByTheClock: to the nanosecond, under a clock of the test's own.
func TestMemoryByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		require.NoError(t, s.Create(t.Context(), "k", nil, time.Hour))
		time.Sleep(time.Hour - 1)
		require.NotNil(t, load(t, s, "k"))
		require.Empty(t, swap(t, s, "k", "f", "", ""), "which does not make it longer")
		time.Sleep(time.Nanosecond)
		require.Nil(t, load(t, s, "k"))

		ctx, cancel := context.WithCancel(t.Context())
		var said []string
		go s.Subscribe(ctx, func() { said = append(said, "connected") }, func(m []byte) { said = append(said, string(m)) })
		synctest.Wait()
		require.NoError(t, s.Publish(t.Context(), []byte("1")))
		synctest.Wait()
		require.Equal(t, []string{"connected", "1"}, said)
		cancel()
		synctest.Wait()
	})
}

func TestMemoryForgetsWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		for i := range 100_000 {
			require.NoError(t, s.Create(t.Context(), fmt.Sprint(i), nil, time.Second))
			time.Sleep(10 * time.Millisecond) // so that a hundred are there at a time
		}
		require.LessOrEqual(t, store.Held(s), 1024)
	})
}

// TestMemorySlowSubscriber: what it cannot take does not pile up, and it hears that it has missed something.
func TestMemorySlowSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		var said []string
		goOn := make(chan struct{})
		go s.Subscribe(ctx, func() { said = append(said, "connected") }, func(m []byte) {
			said = append(said, string(m[:1]))
			<-goOn
		})
		synctest.Wait()
		publish := func(name byte, size int) {
			message := make([]byte, size)
			message[0] = name
			require.NoError(t, s.Publish(t.Context(), message))
		}
		publish('1', 1)
		synctest.Wait()
		for range 4 {
			publish('x', 8<<20)
		}
		publish('x', 1) // one byte too many
		publish('2', 1)
		close(goOn)
		synctest.Wait()
		require.Equal(t, []string{"connected", "1", "connected", "2"}, said)
		cancel()
		synctest.Wait()
	})
}

func TestMemoryEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErrors(t, ctx, store.NewMemory(), func(err error) { require.ErrorIs(t, err, context.Canceled) })
}

// wantErrors does everything once.
func wantErrors(t *testing.T, ctx context.Context, s store.Store, want func(err error)) {
	t.Helper()
	want(s.Create(ctx, "private-key", map[string]string{"private-field": "private-value"}, life))
	_, err := s.Load(ctx, "private-key")
	want(err)
	_, err = s.Swap(ctx, "private-key", "private-field", "private-value", "private-next")
	want(err)
	_, err = s.Extend(ctx, life, "private-key", "private-key-2")
	want(err)
	_, err = s.Delete(ctx, "private-key")
	want(err)
	want(s.Publish(ctx, []byte("private-message")))
}
