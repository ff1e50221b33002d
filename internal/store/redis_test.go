package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// startRedis starts a Redis server of the test's own, or another one at an address where one was.
func startRedis(t *testing.T, address string, args ...string) *testbed.Process {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Redis: run without -short")
	}
	return testbed.Redis(t, address, args...)
}

// connect opens a store as one replica has it.
func connect(t *testing.T, o store.Options) store.Store {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := store.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// generous is a timeout that a busy machine does not reach.
const generous = 10 * time.Second

func testAll(t *testing.T, o store.Options) {
	t.Helper()
	o.Timeout = generous
	open := func(t *testing.T) store.Store { return connect(t, o) }
	testRecords(t, open)
	testMessages(t, open)
	testLives(t, open(t), func(_ *testing.T, d time.Duration) { time.Sleep(d) })
}

func TestRedis(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	startRedis(t, address)
	testAll(t, store.Options{URL: "redis://" + address + "/1"})

	t.Run("what others have there is another's", func(t *testing.T) {
		mine, other := connect(t, store.Options{URL: "redis://" + address}), connect(t, store.Options{URL: "redis://" + address, Prefix: "other:"})
		db := connect(t, store.Options{URL: "redis://" + address + "/2"})
		require.NoError(t, mine.Create(t.Context(), "k", nil, life))
		require.Nil(t, load(t, other, "k"))
		require.Nil(t, load(t, db, "k"))
		sub, otherSub := subscribe(t, mine), subscribe(t, other)
		require.NoError(t, other.Publish(t.Context(), []byte("theirs")))
		require.NoError(t, mine.Publish(t.Context(), []byte("mine")))
		sub.await(t, "mine")
		otherSub.await(t, "theirs")
	})
	t.Run("keys", func(t *testing.T) {
		s := connect(t, store.Options{URL: "redis://" + address + "/3"})
		require.NoError(t, s.Create(t.Context(), "a", map[string]string{"f": "x"}, life))
		require.Equal(t, "y", swap(t, s, "a", "f", "x", "y"))
		require.Equal(t, []string{"mcp-gateway:v1:a"}, strings.Fields(redis(t, address, "SELECT 3", "KEYS *")[1]))
		require.NotEqual(t, "-1", redis(t, address, "SELECT 3", "PTTL mcp-gateway:v1:a")[1], "an end that swap leaves")
	})
	t.Run("closed", func(t *testing.T) {
		s, err := store.Open(store.Options{URL: "redis://" + address})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		wantErrors(t, t.Context(), s, func(err error) { require.ErrorContains(t, err, "closed") })
	})
	t.Run("ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantErrors(t, ctx, connect(t, store.Options{URL: "redis://" + address}), func(err error) { require.ErrorIs(t, err, context.Canceled) })
	})
}

// redis says something to a server, each a command in one line, and returns the answers' words without their types and lengths.
func redis(t *testing.T, address string, commands ...string) []string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(generous)))
	var answers []string
	buf := make([]byte, 64<<10)
	for _, c := range commands {
		_, err := fmt.Fprintf(conn, "%s\r\n", c)
		require.NoError(t, err)
		n, err := conn.Read(buf)
		require.NoError(t, err)
		var words []string
		for line := range strings.Lines(string(buf[:n])) {
			switch line = strings.TrimSpace(line); {
			case line == "", line[0] == '$', line[0] == '*':
			case line[0] == '-':
				t.Fatalf("%q: %s", c, line)
			default:
				words = append(words, strings.TrimLeft(line, "+:"))
			}
		}
		answers = append(answers, strings.Join(words, " "))
	}
	return answers
}

// wantTame does everything once, and all of it must fail within about the timeout, saying so without what is private.
func wantTame(t *testing.T, s store.Store, within time.Duration, where, want string) {
	t.Helper()
	start := time.Now()
	wantErrors(t, t.Context(), s, func(err error) {
		t.Helper()
		took := time.Since(start)
		require.ErrorContains(t, err, where)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "private")
		require.Less(t, took, within)
		start = time.Now()
	})
}

// TestRedisComesBack: what is done while a server is away fails at once, and a subscription is told when messages come again.
func TestRedisComesBack(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	s := connect(t, store.Options{URL: "redis://" + address, Timeout: generous})
	if !testing.Short() { // which has no server to wait for
		wantTame(t, s, time.Second, "redis://"+address+"/0", "connection refused")
	}
	p := startRedis(t, address)
	require.NoError(t, s.Create(t.Context(), "k", nil, life))
	sub := subscribe(t, s)
	for times := 2; times <= 3; times++ {
		p.Kill()
		wantTame(t, s, time.Second, "redis://"+address+"/0", "") // refused, or broken off
		for range 100 {                                          // more than there are connections, so that the library has given dialing up
			_, err := s.Load(t.Context(), "k")
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		}
		p = startRedis(t, address)
		sub.awaitConnected(t, times)
		testbed.AwaitWithin(t, 5*time.Second, "the store to be back", func() bool { return s.Create(t.Context(), "k", nil, life) == nil })
		require.NotNil(t, load(t, s, "k"))
		message := fmt.Sprint(times)
		require.NoError(t, s.Publish(t.Context(), []byte(message)))
		testbed.Await(t, "a message after the loss", func() bool { m := sub.messages(); return len(m) > 0 && m[len(m)-1] == message })
	}
}

// TestRedisStartedAgainBetween: idle connections of before do not fail what is done after.
func TestRedisStartedAgainBetween(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	p := startRedis(t, address)
	s := connect(t, store.Options{URL: "redis://" + address, Timeout: generous})
	busy(t, s)
	p.Kill()
	startRedis(t, address)
	require.NoError(t, s.Publish(t.Context(), nil))
	require.Nil(t, load(t, s, "k"))
}

// busy has a store open several connections.
func busy(t *testing.T, s store.Store) {
	t.Helper()
	done := make(chan error)
	for range 20 {
		go func() {
			_, err := s.Load(t.Context(), "k")
			done <- err
		}()
	}
	for range 20 {
		require.NoError(t, <-done)
	}
}

func TestRedisHangs(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	p := startRedis(t, address)
	const timeout = 200 * time.Millisecond
	s := connect(t, store.Options{URL: "redis://" + address, Timeout: timeout})
	testbed.Await(t, "the server", func() bool { return s.Publish(t.Context(), nil) == nil })
	sub := subscribe(t, s)
	p.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { p.Signal(syscall.SIGCONT) }) // else it does not end
	const within = timeout + 500*time.Millisecond
	wantTame(t, s, within, "redis://"+address+"/0", "no answer within 200ms")
	// Nor does it take longer when many wait.
	start := time.Now()
	done := make(chan error)
	for range 100 {
		go func() { done <- s.Publish(t.Context(), nil) }()
	}
	for range 100 {
		require.ErrorContains(t, <-done, "no answer within 200ms")
	}
	require.Less(t, time.Since(start), within)
	// One that has not answered yet at all.
	wantTame(t, connect(t, store.Options{URL: "redis://" + address, Timeout: timeout}), within, "redis://"+address+"/0", "no answer within 200ms")
	time.Sleep(4 * timeout) // in which the subscription is given up
	p.Signal(syscall.SIGCONT)
	sub.awaitConnected(t, 2)
	testbed.Await(t, "the server to be back", func() bool { return s.Publish(t.Context(), []byte("back")) == nil })
}

func TestRedisFull(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	startRedis(t, address)
	s := connect(t, store.Options{URL: "redis://" + address, Timeout: generous})
	require.NoError(t, s.Create(t.Context(), "there", map[string]string{"f": "x", "g": "y"}, life))
	redis(t, address, "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1")
	for _, err := range []error{
		s.Create(t.Context(), "there", map[string]string{"f": "private"}, life),
		func() error { _, err := s.Swap(t.Context(), "there", "f", "x", "private"); return err }(),
	} {
		require.ErrorContains(t, err, "redis://"+address+"/0: OOM command not allowed when used memory > 'maxmemory'")
		require.NotContains(t, err.Error(), "private")
	}
	require.Equal(t, map[string]string{"f": "x", "g": "y"}, load(t, s, "there"), "as it was")
	require.Empty(t, swap(t, s, "there", "f", "x", ""), "what needs no memory works")
	was, err := s.Delete(t.Context(), "there")
	require.NoError(t, err)
	require.True(t, was)
}

func TestRedisPassword(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	startRedis(t, address, "--requirepass", "private/@:%", "--user", "gateway", "on", ">private2", "~mcp-gateway:*", "&mcp-gateway:*", "+@all", "-publish")
	for user, want := range map[string]string{
		":private%2F%40%3A%25@":        "",
		"default:private%2F%40%3A%25@": "",
		":private-wrong@":              "WRONGPASS",
		"nobody:private@":              "WRONGPASS",
		"":                             "NOAUTH",
	} {
		s := connect(t, store.Options{URL: "redis://" + user + address, Timeout: generous})
		if want == "" {
			require.NoError(t, s.Create(t.Context(), "k", nil, life))
			require.NoError(t, s.Publish(t.Context(), nil))
			continue
		}
		wantTame(t, s, generous, "redis://"+address+"/0", want)
	}
	s := connect(t, store.Options{URL: "redis://gateway:private2@" + address, Timeout: generous})
	require.NoError(t, s.Create(t.Context(), "k", nil, life))
	require.ErrorContains(t, s.Publish(t.Context(), nil), "NOPERM")
	other := connect(t, store.Options{URL: "redis://gateway:private2@" + address, Timeout: generous, Prefix: "private:"})
	require.ErrorContains(t, other.Create(t.Context(), "k", nil, life), "NOPERM")
}

// TestRedisPermissions: those that the guide names are enough.
func TestRedisPermissions(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guides/replicas.md")
	require.NoError(t, err)
	permissions := regexp.MustCompile(`gateway: \{permissions: "(.*)"\}`).FindSubmatch(guide)
	require.NotNil(t, permissions)
	address := testbed.FreeAddress(t)
	startRedis(t, address, append([]string{"--user", "gateway", "on", ">private"}, strings.Fields(string(permissions[1]))...)...)
	testAll(t, store.Options{URL: "redis://gateway:private@" + address})
}

// TestRedisUnknownCommand: a server names the arguments of a command that it does not know, which are private.
func TestRedisUnknownCommand(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	var renamed []string
	for _, c := range []string{"EVALSHA", "HGETALL", "PEXPIRE", "DEL", "PUBLISH", "HELLO"} {
		renamed = append(renamed, "--rename-command", c, "")
	}
	startRedis(t, address, renamed...)
	wantTame(t, connect(t, store.Options{URL: "redis://" + address, Timeout: generous}), generous, "redis://"+address+"/0", "unknown command")
}

// TestSubscriptionIsTold: once when it is lost, and once when it is back, however often it was tried.
func TestSubscriptionIsTold(t *testing.T) {
	t.Parallel()
	address := testbed.FreeAddress(t)
	var said logs
	s := connect(t, store.Options{URL: "redis://:private@" + address, Logger: slog.New(&said)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	s.Subscribe(ctx, func() { t.Error("connected to nothing") }, func([]byte) {})
	require.Len(t, said, 1)
	require.Contains(t, said[0], "connection refused")
	require.NotContains(t, said[0], "private")
	require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
}

type logs []string

func (*logs) Enabled(context.Context, slog.Level) bool { return true }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	*l = append(*l, line)
	return nil
}

func (l *logs) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logs) WithGroup(string) slog.Handler      { return l }

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	l := testbed.Listen(t) // and never accepts
	defer l.Close()
	const timeout = 100 * time.Millisecond
	for _, scheme := range []string{"redis://", "rediss://", "redis+cluster://"} {
		s := connect(t, store.Options{URL: scheme + l.Addr().String(), Timeout: timeout})
		wantTame(t, s, timeout+500*time.Millisecond, scheme+l.Addr().String(), "no answer within 100ms")
	}
	s := connect(t, store.Options{URL: "redis+sentinel://" + l.Addr().String() + "/m", Timeout: timeout})
	start := time.Now()
	require.Error(t, s.Publish(t.Context(), nil))
	require.Less(t, time.Since(start), timeout+500*time.Millisecond)
}
