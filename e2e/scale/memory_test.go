package scale_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// sample is what a process holds at one moment.
type sample struct {
	resident, heap, stacks float64 // bytes; heap is what is in use or free and not given back
	goroutines, files      float64
}

func (s sample) String() string {
	return fmt.Sprintf("%.1f MiB resident, heap %.1f, stacks %.1f, %.0f goroutines, %.0f descriptors", s.resident/(1<<20), s.heap/(1<<20), s.stacks/(1<<20), s.goroutines, s.files)
}

// perSession is how much more each of n sessions takes than before.
func (s sample) perSession(before sample, n int) string {
	kib := func(a, b float64) float64 { return (a - b) / float64(n) / 1024 }
	return fmt.Sprintf("%.2f KiB resident, heap %.2f, stacks %.2f, %.2f goroutines, %.2f descriptors a session",
		kib(s.resident, before.resident), kib(s.heap, before.heap), kib(s.stacks, before.stacks),
		(s.goroutines-before.goroutines)/float64(n), (s.files-before.files)/float64(n))
}

func (s sample) kibMore(before sample, n int) float64 {
	return (s.resident - before.resident) / float64(n) / 1024
}

// measure reads what the gateway holds, from the kernel and from its own metrics.
func measure(t testing.TB, g *testbed.Gateway) sample {
	t.Helper()
	m := metrics(t, g)
	return sample{
		resident: resident(t, g.Process), heap: m["go_memstats_heap_inuse_bytes"], stacks: m["go_memstats_stack_inuse_bytes"],
		goroutines: m["go_goroutines"], files: m["process_open_fds"],
	}
}

// settled is measure once nothing moves any more.
func settled(t testing.TB, g *testbed.Gateway) sample {
	t.Helper()
	last := measure(t, g)
	for range 20 {
		time.Sleep(250 * time.Millisecond)
		now := measure(t, g)
		still := now.goroutines <= last.goroutines+2 && now.goroutines >= last.goroutines-2 && now.resident <= last.resident*1.01
		last = now
		if still {
			break
		}
	}
	return last
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
