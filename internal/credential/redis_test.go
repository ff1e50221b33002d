package credential

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// needsRedis starts a server with nothing in it.
func needsRedis(t *testing.T) (*testbed.Process, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real Redis: run without -short")
	}
	address := testbed.FreeAddress(t)
	return testbed.Redis(t, address), address
}

// generous is a time that a busy machine does not reach.
const generous = 10 * time.Second

// inRedis is a store as a replica has it, but for its patience.
func inRedis(t *testing.T, address string) store.Store {
	t.Helper()
	s, err := store.Open(store.Options{URL: "redis://" + address, Timeout: generous})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// redis says something to a server, and returns its answer as it stands on the wire. Nothing is in there that looks like the end.
func redis(t *testing.T, address, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s\r\nQUIT\r\n", command)
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return strings.TrimSuffix(string(answer), "+OK\r\n")
}

// TestTokensInRedis: replicas share a token through a real store, where it can be read by nobody else, and ends by itself.
func TestTokensInRedis(t *testing.T) {
	_, address := needsRedis(t)
	key, as := session.GenerateKey(), granting(300)
	replica := func() *Manager {
		m, _ := manage(t, as, Options{Replicas: sharedBy(inRedis(t, address), key)})
		m.sharing.patience = generous
		return m
	}
	a, b, c := replica(), replica(), replica()
	tokenAt(t, a, "bob") // the first time, the server is told the scripts as well
	tokenAt(t, b, "bob") // and is connected with
	alice := jwt("alice", time.Now().Add(time.Hour)).Reveal()
	before := commands(t, address)
	require.Equal(t, "token-2", tokenAt(t, a, alice))
	exchanged := commands(t, address)
	require.Equal(t, "token-2", tokenAt(t, b, alice))
	found := commands(t, address)
	require.Equal(t, "token-2", tokenAt(t, b, alice))
	assert.Equal(t, 2, as.count())
	assert.Equal(t, 7, exchanged-before, "a look, and a script of five commands")
	assert.Equal(t, 1, found-exchanged)
	assert.Equal(t, found, commands(t, address), "the next call asks for nothing")

	at := "mcp-gateway:v1:" + a.sharing.record(keyOf(oauth()), config.NewSecret(alice)).key
	left, err := strconv.Atoi(strings.Trim(redis(t, address, "PTTL "+at), ":\r\n"))
	require.NoError(t, err)
	assert.Positive(t, left)
	assert.LessOrEqual(t, left, 295_000)
	value := redis(t, address, "HGETALL "+at)
	assert.Contains(t, value, fieldToken)
	for _, secret := range []string{"token-2", alice, "alice", "weather", clientSecret, "mcp gateway"} {
		assert.NotContains(t, value+at, secret)
	}
	t.Logf("%s bytes", strings.Trim(redis(t, address, "MEMORY USAGE "+at), ":\r\n"))

	rejectAt(a, alice, "token-2")
	assert.Equal(t, "token-3", tokenAt(t, a, alice))
	assert.Equal(t, "token-3", tokenAt(t, c, alice))
	assert.Equal(t, 3, as.count())
}

// TestRedisHangs: a call waits for a server that does not answer as long as it should, and not as long as the server would be given; those after it do not
// wait at all.
func TestRedisHangs(t *testing.T) {
	p, address := needsRedis(t)
	r := &records{Store: inRedis(t, address), kept: map[string]string{}}
	m, _ := manage(t, granting(300), Options{Replicas: sharedBy(r, session.GenerateKey())})
	m.sharing.patience = generous
	tokenAt(t, m, "alice")
	m.sharing.patience = shareTimeout
	r.take()
	p.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { p.Signal(syscall.SIGCONT) }) // else it does not end
	began := time.Now()
	for _, who := range []string{"bob", "carol", "dave"} {
		tokenAt(t, m, who)
	}
	assert.Less(t, time.Since(began), generous/2)
	t.Logf("three callers: %v", time.Since(began))
	assert.Equal(t, "load", r.take())
}

// commands is how many a server has done, those of scripts included, but for those that were asked here.
func commands(t *testing.T, address string) int {
	t.Helper()
	sum := 0
	for _, m := range regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`).FindAllStringSubmatch(redis(t, address, "INFO commandstats"), -1) {
		if m[1] != "info" && m[1] != "quit" {
			n, err := strconv.Atoi(m[2])
			require.NoError(t, err)
			sum += n
		}
	}
	return sum
}
