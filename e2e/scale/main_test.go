// Package scale_test shows what the gateway does with many sessions, many reloads and much time, and what that costs: the real binary, a real Envoy, and
// clients and servers that cost as little as they can. It reads the wire and what operators see, never the inside.
//
// `make test` runs it in a small form; `make soak` in full, for as long as SOAK_TIME says.
package scale_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func TestMain(m *testing.M) { os.Exit(testbed.MainPlain(m)) }

// soakTime is how long the gateway has to stand the load: a moment, or as long as SOAK_TIME says, which asks for all else in full as well.
func soakTime(t testing.TB) (d time.Duration, full bool) {
	t.Helper()
	text := os.Getenv("SOAK_TIME")
	if text == "" {
		return 3 * time.Second, false
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK_TIME: %v", err)
	}
	return d, true
}

// inFull chooses between the small form of a test and the full one.
func inFull(t testing.TB, small, full int) int {
	t.Helper()
	if _, yes := soakTime(t); yes {
		return full
	}
	return small
}

// raiseLimit gives this process and those that it starts as many descriptors as they may have, and returns how many that is.
func raiseLimit(t testing.TB, need int) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// Without this, Go gives children the limit that it was started with itself.
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < uint64(need) {
		t.Fatalf("this test needs %d file descriptors in one process and may have %d: raise the hard limit (ulimit -Hn %d as root, or LimitNOFILE= of the service)", need, limit.Max, need)
	}
	return int(min(limit.Max, 1<<30))
}

// spec is the one server, whose tools have a prefix with a number in it, so that a reload can change it.
func spec(name, url string, version int) config.ServerSpec {
	s := testbed.ServerSpec(name, url)
	s.ToolPrefix = fmt.Sprintf("%s%d_", name, version)
	return s
}
