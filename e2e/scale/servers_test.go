package scale_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// toolsOfEach is how many tools each of many servers has.
const toolsOfEach = 10

// manyTools is a list of tools with definitions of the usual size.
func manyTools() string {
	var b strings.Builder
	b.WriteString(`{"tools":[{"name":"tool","inputSchema":{"type":"object"}}`)
	for i := 1; i < toolsOfEach; i++ {
		fmt.Fprintf(&b, `,{"name":"tool_%05d","description":"Looks number %d up in the register of all numbers, and tells what is known of it.","inputSchema":{"type":"object",`+
			`"properties":{"number":{"type":"integer","description":"The number."},"unit":{"type":"string","enum":["one","ten","hundred"]}},"required":["number"]}}`, i, i)
	}
	return b.String() + "]}"
}

// TestServers: a thousand servers with ten thousand tools. The gateway holds no more for them than it may, and calls go on as with one.
func TestServers(t *testing.T) {
	// Bytes beside what is resident of the program's file: that is 50 to 65 MiB, as the kernel likes it, and 150 are wanted for all.
	const most = 95 << 20
	s := startServer(t)
	s.tools.Store(new(manyTools()))
	counts := []int{1_000}
	if _, full := soakTime(t); full {
		counts = []int{1_000, 2_000, 5_000, 10_000}
	}
	for _, n := range counts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			raiseLimit(t, n+n/2+1_000) // a connection to each, and for a moment another
			var servers []config.ServerSpec
			for i := range n {
				servers = append(servers, testbed.ServerSpec(fmt.Sprintf("s%05d", i), s.url+fmt.Sprint("/", i)))
			}
			began := time.Now()
			g := testbed.StartGateway(t, testbed.Options{Mode: testbed.Fed, Plain: true, Servers: servers, Flags: []string{"--log-level", "warn"}})
			testbed.AwaitWithin(t, 4*testbed.Patience, "all tools to be listed", func() bool {
				time.Sleep(time.Duration(n) * 100 * time.Microsecond) // what it costs to ask grows with them
				return listings(t, g) == n
			})
			listed := time.Since(began)
			g.AwaitProgrammed(t)
			programmed := time.Since(began)
			l := newLoader(t, g.Base)
			open := l.openMany(100, fmt.Sprintf("s%05d_tool", n/2))
			calling := time.Now()
			for time.Since(calling) < 2*time.Second {
				l.each(open, func(s *session) error { return l.call(s, fmt.Sprintf("s%05d_tool", n/2)) })
			}
			l.check(t)
			loaded, file := resident(t, g.Process), residentFile(t, g.Process)
			m := measure(t, g)
			t.Logf("%d servers: all listed after %.1f s, in Envoy after %.1f s; %d calls; %.1f MiB resident under load, the file's %.1f included; then %v; Envoy %.1f MiB",
				n, listed.Seconds(), programmed.Seconds(), l.calls.Load(), loaded/(1<<20), file/(1<<20), m, resident(t, g.Envoy)/(1<<20))
			if len(counts) > 1 {
				t.Logf("servers that rest take %.1f %% of a CPU", 100*restingCPU(t, g))
			}
			if n == counts[0] {
				assert.LessOrEqual(t, loaded-file, float64(most))
			}
		})
	}
}

// listings is how many servers the gateway has read the lists of.
func listings(t testing.TB, g *testbed.Gateway) (n int) {
	t.Helper()
	for name, value := range metrics(t, g) {
		if strings.HasPrefix(name, "mcp_gateway_upstream_listings_total{") && value > 0 {
			n++
		}
	}
	return n
}

// residentFile is that part of what a process holds which the kernel takes from files, and takes away where memory is short.
func residentFile(t testing.TB, p *testbed.Process) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "RssFile:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib * 1024
		}
	}
	return 0
}
