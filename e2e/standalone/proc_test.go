package standalone_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// processes are a process and its children, by id, with their names.
func processes(t *testing.T, pid int) map[int]string {
	t.Helper()
	found := map[int]string{}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	require.NotEmpty(t, tasks, "this test reads /proc")
	pids := []int{pid}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		require.NoError(t, err)
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			require.NoError(t, err)
			pids = append(pids, child)
		}
	}
	for _, pid := range pids {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		require.NoError(t, err)
		found[pid] = filepath.Base(exe)
	}
	return found
}

// awaitEnd waits until none of the processes is left.
func awaitEnd(t *testing.T, family map[int]string) {
	t.Helper()
	for pid, name := range family {
		testbed.Await(t, name+" to end", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			// What nobody has waited for yet is a zombie.
			return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
		})
	}
}

// listening are the addresses that the processes listen on, as the kernel writes them, without ports.
func listening(t *testing.T, family map[int]string) []string {
	t.Helper()
	inodes := map[string]bool{}
	for pid := range family {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		require.NoError(t, err)
		for _, link := range links {
			target, _ := os.Readlink(link) // it may have been closed meanwhile
			if inode, ok := strings.CutPrefix(target, "socket:["); ok {
				inodes[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	addresses := map[string]string{} // by address and port: Envoy has one socket per worker
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			const listen = "0A"
			if len(f) > 9 && f[3] == listen && inodes[f[9]] {
				addresses[f[1]], _, _ = strings.Cut(f[1], ":")
			}
		}
	}
	var out []string
	for _, a := range addresses {
		out = append(out, a)
	}
	return out
}
