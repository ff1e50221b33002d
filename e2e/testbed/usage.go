package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Usage is what a process takes of the machine.
type Usage struct {
	// Memory is what it has in memory, Peak the most that it ever had, in bytes.
	Memory, Peak int64
	// Descriptors are its open files and connections.
	Descriptors int
}

// Usage reads what the process takes. A machine without /proc skips the test.
func (p *Process) Usage(t testing.TB) Usage {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(p.PID()))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if os.IsNotExist(err) {
		t.Skip("there is no /proc to measure by")
	}
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	u := Usage{Descriptors: len(open)}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		to := map[string]*int64{"VmRSS": &u.Memory, "VmHWM": &u.Peak}[name]
		if to == nil {
			continue
		}
		if _, err := fmt.Sscanf(value, "%d kB", to); err != nil {
			t.Fatalf("%s of process %d: %v", name, p.PID(), err)
		}
		*to <<= 10
	}
	return u
}
