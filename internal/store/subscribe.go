package store

import (
	"context"
	"math/rand/v2"
	"strings"
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
	who := s.who(ctx)
	if err := sub.Subscribe(ctx, s.channel()); err != nil {
		return tame(err)
	}
	pinging.Go(func() { s.watch(ctx, sub, who) })
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

// watch ends a subscription, for those who read of it, whose end nobody tells. A dead connection is made to answer, in vain. And a server whose place
// another has taken may be alive: until it is made to follow, which takes sentinels ten seconds, no message comes by it.
func (s *server) watch(ctx context.Context, sub *redis.PubSub, who string) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * s.o.Timeout):
		}
		_ = sub.Ping(ctx) // that it failed is seen by who reads
		if now := s.who(ctx); now != "" && who != "" && now != who {
			s.o.Logger.InfoContext(ctx, "another server is in charge", "store", s.where)
			_ = sub.Close()
			return
		}
	}
}

// who tells operations' server from others; empty if it does not say so. In a cluster messages are everywhere.
func (s *server) who(ctx context.Context) string {
	if s.cluster {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	info, _ := s.client.Info(ctx, "server").Result()
	_, id, _ := strings.Cut(info, "run_id:")
	id, _, _ = strings.Cut(id, "\r\n")
	return id
}
