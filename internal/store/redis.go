package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// marker is the name of a field that every record has, since Redis keeps no hash without fields.
	marker = ""
	// poolSize is how many connections there may be for operations: each takes a fraction of a millisecond.
	poolSize = 32

	// createScript makes a record whole. The first command may be refused, by a server that is full, while nothing has happened yet; what follows
	// is not.
	createScript = `
redis.call('HSET', KEYS[1], '', '')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', '')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1`
	swapScript = `
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then
  return now
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return ARGV[3]`
)

// server is a Store on a Redis or Valkey server, or on several.
type server struct {
	o            Options // without the URL
	where        string  // for errors, without user and password
	cluster      bool
	client       redis.UniversalClient
	create, swap *redis.Script
}

// Open connects to Redis or Valkey. It does not wait for the server: each operation tells whether it is there. What is wrong with the options is
// reported at once.
func Open(o Options) (Store, error) {
	o, t, tlsConfig, err := o.read()
	if err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	// The library logs to one place per process, which nobody reads, what its errors say as well.
	logging.Disable()
	all := &redis.UniversalOptions{
		Addrs: t.addresses, MasterName: t.master, IsClusterMode: t.kind == cluster, DB: t.db, Username: t.user, Password: t.password, TLSConfig: tlsConfig,
		SentinelUsername: o.SentinelUser, SentinelPassword: o.SentinelPassword,
		// An operation ends with its context, and so do all of its parts. It is not repeated here: only who asked knows whether it may be.
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, PoolSize: poolSize, PipelinePoolSize: -1,
		// No more is asked of a server than needed: some, and proxies before them, know nothing else.
		Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	o.URL, o.SentinelUser, o.SentinelPassword = "", "", ""
	s := &server{o: o, where: t.String(), cluster: t.kind == cluster, create: redis.NewScript(createScript), swap: redis.NewScript(swapScript)}
	if t.kind == cluster {
		c := all.Cluster()
		c.DisableRoutingPolicies = true // they need COMMAND, and nothing here does
		s.client = redis.NewClusterClient(c)
	} else {
		s.client = redis.NewUniversalClient(all)
	}
	return s, nil
}

func (s *server) Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error {
	return s.do(ctx, "create a record", true, func(ctx context.Context) error {
		if err := checkRecord(fields, life); err != nil {
			return err
		}
		args := make([]any, 1, 1+2*len(fields))
		args[0] = milliseconds(life)
		for name, value := range fields {
			if value != "" {
				args = append(args, name, value)
			}
		}
		return s.create.Run(ctx, s.client, []string{s.o.Prefix + key}, args...).Err()
	})
}

func (s *server) Load(ctx context.Context, key string) (fields map[string]string, err error) {
	err = s.do(ctx, "load a record", true, func(ctx context.Context) error {
		fields, err = s.client.HGetAll(ctx, s.o.Prefix+key).Result()
		return err
	})
	if err != nil || len(fields) == 0 {
		return nil, err
	}
	delete(fields, marker)
	return fields, nil
}

func (s *server) Swap(ctx context.Context, key, field, old, next string) (now string, err error) {
	err = s.do(ctx, "swap a field of a record", true, func(ctx context.Context) error {
		if err := checkField(field); err != nil {
			return err
		}
		now, err = s.swap.Run(ctx, s.client, []string{s.o.Prefix + key}, field, old, next).Text()
		if errors.Is(err, redis.Nil) {
			return ErrNoRecord
		}
		return err
	})
	return now, err
}

func (s *server) Extend(ctx context.Context, life time.Duration, keys ...string) (there []bool, err error) {
	err = s.do(ctx, "extend records", true, func(ctx context.Context) error {
		if err := checkLife(life); err != nil {
			return err
		}
		there = make([]bool, len(keys))
		asked := make([]*redis.Cmd, len(keys))
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, key := range keys {
				asked[i] = p.Do(ctx, "PEXPIRE", s.o.Prefix+key, milliseconds(life))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, a := range asked {
			there[i], _ = a.Bool()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return there, nil
}

func (s *server) Delete(ctx context.Context, key string) (was bool, err error) {
	err = s.do(ctx, "delete a record", false, func(ctx context.Context) error {
		n, err := s.client.Del(ctx, s.o.Prefix+key).Result()
		was = n > 0
		return err
	})
	return was, err
}

func (s *server) Publish(ctx context.Context, message []byte) error {
	return s.do(ctx, "publish a message", false, func(ctx context.Context) error {
		c, ok := s.client.(*redis.ClusterClient)
		if !ok {
			return s.client.Publish(ctx, s.channel(), message).Err()
		}
		// Any node of a cluster would do, but messages by several nodes come in any order.
		node, err := c.MasterForKey(ctx, s.channel())
		if err != nil {
			return err
		}
		return node.Publish(ctx, s.channel(), message).Err()
	})
}

func (s *server) Close() error { return s.client.Close() }

func (s *server) channel() string { return s.o.Prefix + "messages" }

// do runs an operation within the timeout. A connection that the server has closed, as it does when it is started again, is known at once, or, with
// TLS, by the first operation on it: one that may be done twice goes on with the next connection,
// until none from before is left.
func (s *server) do(ctx context.Context, what string, twice bool, f func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	err := f(limited)
	if twice && closed(err) {
		for left := s.client.PoolStats().IdleConns + 1; left > 0 && closed(err); left-- {
			err = f(limited)
		}
	}
	if err == nil {
		return nil
	}
	var timeout net.Error
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case limited.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("no answer within %v: %w", s.o.Timeout, err)
	default:
		err = tame(err)
	}
	return fmt.Errorf("%s at %s: %w", what, s.where, err)
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// tame takes the arguments out of what a server says of a command that it does not know: they may be keys, fields, or a password.
func tame(err error) error {
	if text, _, ok := strings.Cut(err.Error(), ", with args"); ok {
		return errors.New(text)
	}
	return err
}

// milliseconds are rounded up: 0 would end a record at once.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
