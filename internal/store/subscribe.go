package store

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The pauses before a subscription is tried again.
const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

func (s *server) Subscribe(ctx context.Context, connected func(), got func(message []byte)) {
	pause, told := minPause, false
	for ctx.Err() == nil {
		err := s.listen(ctx, func() {
			if told {
				s.o.Logger.InfoContext(ctx, "messages between replicas come again", "store", s.where)
			}
			pause, told = minPause, false
			connected()
		}, got)
		if ctx.Err() != nil {
			return
		}
		if !told {
			s.o.Logger.WarnContext(ctx, "no messages between replicas come", "store", s.where, "error", err)
			told = true
		}
		// Replicas that lost it together do not all come back together.
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// listen subscribes once and returns when that is lost. The library's own way of coming back would not tell of it, and drops messages where they
// are not taken in time.
func (s *server) listen(ctx context.Context, connected func(), got func(message []byte)) error {
	ctx, cancel := context.WithCancel(ctx)
	sub := s.client.Subscribe(ctx)
	var pinging sync.WaitGroup
	defer func() {
		cancel()
		_ = sub.Close()
		pinging.Wait()
	}()
	context.AfterFunc(ctx, func() { _ = sub.Close() }) // a read does not end with its context
	if err := sub.Subscribe(ctx, s.channel()); err != nil {
		return tame(err)
	}
	// A connection can be dead without anybody having told us, so it is made to answer now and then.
	pinging.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(2 * s.o.Timeout):
				_ = sub.Ping(ctx) // that it failed is seen by who reads
			}
		}
	})
	for {
		received, err := sub.ReceiveTimeout(ctx, 3*s.o.Timeout)
		if err != nil {
			return tame(err)
		}
		switch m := received.(type) {
		case *redis.Subscription:
			connected()
		case *redis.Message:
			got([]byte(m.Payload))
		}
	}
}
