package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// subscription is a Subscribe that runs until the test ends.
type subscription struct {
	mu        sync.Mutex
	connected int
	got       []string
	end       context.CancelFunc
	ended     chan struct{}
}

func subscribe(t *testing.T, s store.Store) *subscription {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	sub := &subscription{end: cancel, ended: make(chan struct{})}
	go func() {
		defer close(sub.ended)
		s.Subscribe(ctx, func() {
			sub.mu.Lock()
			defer sub.mu.Unlock()
			sub.connected++
		}, func(message []byte) {
			sub.mu.Lock()
			defer sub.mu.Unlock()
			sub.got = append(sub.got, string(message))
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-sub.ended
	})
	sub.awaitConnected(t, 1)
	return sub
}

func (s *subscription) awaitConnected(t *testing.T, times int) {
	t.Helper()
	testbed.Await(t, fmt.Sprintf("the subscription to be connected %d times", times), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.connected >= times
	})
}

func (s *subscription) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

func (s *subscription) await(t *testing.T, messages ...string) {
	t.Helper()
	testbed.Await(t, "messages", func() bool { return len(s.messages()) >= len(messages) })
	require.Equal(t, messages, s.messages())
}

// testMessages is what holds of the messages of every store.
func testMessages(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("all subscribers get all messages in order", func(t *testing.T) {
		a, b := open(t), open(t)
		subs := []*subscription{subscribe(t, a), subscribe(t, a), subscribe(t, b)}
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprintf("%d \x00\xff\r\n", i))
			require.NoError(t, []store.Store{a, b}[i%2].Publish(t.Context(), []byte(want[i])))
		}
		for _, s := range subs {
			s.await(t, want...)
		}
	})
	t.Run("who subscribes later gets what is published later", func(t *testing.T) {
		s := open(t)
		require.NoError(t, s.Publish(t.Context(), []byte("nobody is there")))
		first := subscribe(t, s)
		require.NoError(t, s.Publish(t.Context(), []byte("1")))
		second := subscribe(t, s)
		require.NoError(t, s.Publish(t.Context(), nil))
		first.await(t, "1", "")
		second.await(t, "")
	})
	t.Run("a subscriber may publish", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		s.Subscribe(ctx, func() { require.NoError(t, s.Publish(ctx, []byte("1"))) }, func(message []byte) {
			if got = append(got, string(message)); len(got) == 3 {
				cancel()
				return
			}
			require.NoError(t, s.Publish(ctx, append(message, '1')))
		})
		require.Equal(t, []string{"1", "11", "111"}, got)
	})
	t.Run("nothing comes after the end", func(t *testing.T) {
		s := open(t)
		ended, other := subscribe(t, s), subscribe(t, s)
		ended.end()
		<-ended.ended
		require.NoError(t, s.Publish(t.Context(), []byte("late")))
		other.await(t, "late")
		require.Empty(t, ended.messages())
	})
}
