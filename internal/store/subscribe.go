package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	sub := s.client.Subscribe(ctx)
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })() // a read does not end with its context
	if err := sub.Subscribe(ctx, s.channel()); err != nil {
		return tame(err)
	}
	asked := true // an answer is due, first to the subscription
	for {
		wait := 2 * s.o.Timeout
		if asked {
			wait = s.o.Timeout
		}
		received, err := sub.ReceiveTimeout(ctx, wait)
		var silence net.Error
		switch {
		case err == nil:
			asked = false
		case !errors.As(err, &silence) || !silence.Timeout():
			return tame(err)
		case asked:
			return fmt.Errorf("no answer within %v: %w", s.o.Timeout, err)
		default:
			// Nothing was said, or the connection is dead and nobody has told us.
			if err := sub.Ping(ctx); err != nil {
				return tame(err)
			}
			asked = true
			continue
		}
		switch m := received.(type) {
		case *redis.Subscription:
			connected()
		case *redis.Message:
			got([]byte(m.Payload))
		}
	}
}
