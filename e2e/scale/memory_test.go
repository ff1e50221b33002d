package scale_test

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// sample is what a process holds at one moment.
type sample struct {
	resident, live, stacks float64 // bytes; live is what the garbage collector found in use
	goroutines, files      float64
}

func (s sample) String() string {
	return fmt.Sprintf("%.1f MiB resident, live %.1f, stacks %.1f, %.0f goroutines, %.0f descriptors", s.resident/(1<<20), s.live/(1<<20), s.stacks/(1<<20), s.goroutines, s.files)
}

// per is how much more there is than before for each of n sessions.
type per struct {
	resident, live, stacks float64 // KiB
	goroutines, files      float64
}

func (s sample) per(before sample, n int) per {
	kib := func(a, b float64) float64 { return (a - b) / float64(n) / 1024 }
	return per{
		kib(s.resident, before.resident), kib(s.live, before.live), kib(s.stacks, before.stacks),
		(s.goroutines - before.goroutines) / float64(n), (s.files - before.files) / float64(n),
	}
}

func (p per) String() string {
	return fmt.Sprintf("%.2f KiB resident, live %.2f, stacks %.2f, %.2f goroutines, %.2f descriptors", p.resident, p.live, p.stacks, p.goroutines, p.files)
}

// measure reads what the gateway holds, from the kernel and from its own metrics, right after its garbage collector has run. That is brought about by
// the garbage of reading metrics.
func measure(t testing.TB, g *testbed.Gateway) sample {
	t.Helper()
	const collections = "go_gc_duration_seconds_count"
	m := metrics(t, g)
	before, live := m[collections], math.Inf(1)
	testbed.Await(t, "the gateway to collect its garbage", func() bool {
		for range 20 {
			if m = metrics(t, g); m[collections] > before {
				return true
			}
		}
		return false
	})
	for range 10 { // it is swept a moment later
		time.Sleep(5 * time.Millisecond)
		m = metrics(t, g)
		live = min(live, m["go_memstats_heap_alloc_bytes"])
	}
	return sample{
		resident: resident(t, g.Process), live: live, stacks: m["go_memstats_stack_inuse_bytes"],
		goroutines: m["go_goroutines"], files: m["process_open_fds"],
	}
}

func metrics(t testing.TB, g *testbed.Gateway) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for line := range strings.Lines(testbed.Get(t, g.Admin+"/metrics").Body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out
}

// restingCPU is what the gateway spends where nobody calls, as a share of one CPU.
func restingCPU(t testing.TB, g *testbed.Gateway) float64 {
	t.Helper()
	const cpu, rest = "process_cpu_seconds_total", 50 * time.Second // two keep-alives of a stream, almost two listings of a server
	before := metrics(t, g)[cpu]
	time.Sleep(rest)
	return (metrics(t, g)[cpu] - before) / rest.Seconds()
}

// resident is the memory that a process holds by the kernel's account, its program's file included.
func resident(t testing.TB, p *testbed.Process) float64 {
	t.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseUint(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages) * float64(os.Getpagesize())
}
