package scale_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestStoreOperations counts what sessions cost the store that replicas share: some operations at their beginning and end, and none for a call.
func TestStoreOperations(t *testing.T) {
	const n, more = 200, 10 // sessions, and calls of each beside the two first
	s := startServer(t)
	address := testbed.FreeAddress(t)
	testbed.Redis(t, address)
	g := testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Plain: true, Store: "redis://" + address, Servers: []config.ServerSpec{spec("s", s.url, 0)},
		Env: []string{"MCP_GATEWAY_SESSION_KEY=" + strings.Repeat("k", 32)}, Flags: []string{"--log-level", "warn"},
	})
	const tool = "s0_tool"
	g.AwaitTools(t, tool)
	g.AwaitProgrammed(t)
	l := newLoader(t, g.Base)
	l.each(l.openMany(10, tool), l.end)

	before := operations(t, address)
	sessions := l.openMany(n, tool)
	opened := operations(t, address)
	for range more {
		l.each(sessions, func(s *session) error { return l.call(s, tool) })
	}
	called := operations(t, address)
	l.each(sessions, l.end)
	l.check(t)
	ended := operations(t, address)
	t.Logf("a session that is opened and calls a server: %v", perOne(before, opened, n))
	t.Logf("a call: %v", perOne(opened, called, n*more))
	t.Logf("the end of a session: %v", perOne(called, ended, n))
	for command, count := range perOne(opened, called, n*more) {
		assert.Less(t, count, 0.05, "%s for each call", command)
	}
}

// operations is how often a Redis was asked what.
func operations(t testing.TB, address string) map[string]float64 {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "INFO commandstats\r\n")
	r := bufio.NewReader(c)
	head, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	size, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, m := range regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`).FindAllSubmatch(text, -1) {
		if name := string(m[1]); name != "info" {
			out[name], _ = strconv.ParseFloat(string(m[2]), 64)
		}
	}
	return out
}

func perOne(before, after map[string]float64, n int) map[string]float64 {
	out := map[string]float64{}
	for name, count := range after {
		if more := count - before[name]; more > 0 {
			out[name], _ = strconv.ParseFloat(fmt.Sprintf("%.2f", more/float64(n)), 64)
		}
	}
	return out
}
