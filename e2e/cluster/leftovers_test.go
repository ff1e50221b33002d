package cluster_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// A run that is killed leaves no cluster behind, however far that was: not even one that is still being made, by a script that is killed too.
func TestKilledRunLeavesNothing(t *testing.T) {
	t.Parallel()
	owner := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, owner.Start())
	c := &cluster{name: "e2e-killed-" + strconv.Itoa(owner.Process.Pid), script: shared.script}
	t.Cleanup(func() { _, _ = c.try(context.Background(), "", "down") })
	up := c.command(t.Context(), "up", "--owner", strconv.Itoa(owner.Process.Pid))
	var progress strings.Builder
	up.Stderr = &progress
	require.NoError(t, up.Start())
	testbed.AwaitWithin(t, patience, "the node to live", func() bool {
		_, err := c.try(t.Context(), "", "exec", "true")
		return err == nil
	})
	require.NoError(t, up.Process.Kill())
	require.NoError(t, owner.Process.Kill())
	_, _ = up.Wait(), owner.Wait()
	require.NotContains(t, progress.String(), "is up", "it was killed too late to prove anything")

	testbed.AwaitWithin(t, patience, "the cluster to be gone", func() bool {
		_, err := c.try(t.Context(), "", "exec", "true")
		return err != nil
	})
	out, err := c.try(t.Context(), "", "down")
	require.NoError(t, err)
	assert.Empty(t, out)
	mounts, err := exec.CommandContext(t.Context(), "grep", "-c", c.name, "/proc/self/mountinfo").Output()
	require.Error(t, err, "mounts are left")
	assert.Equal(t, "0\n", string(mounts))
	groups, err := exec.CommandContext(t.Context(), "find", "/sys/fs/cgroup", "-name", "mcp-gateway-"+c.name).Output()
	require.NoError(t, err)
	assert.Empty(t, string(groups), "control groups are left")
}
