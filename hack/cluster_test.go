package hack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tools puts more of the machine's basic tools on the PATH.
func (s *sandbox) tools(names ...string) {
	s.t.Helper()
	for _, name := range names {
		path, err := exec.LookPath(name)
		require.NoError(s.t, err)
		require.NoError(s.t, os.Symlink(path, filepath.Join(s.bin, name)))
	}
}

func TestClusterCommandLine(t *testing.T) {
	s := newSandbox(t)
	for want, args := range map[string][]string{
		`the name of a cluster is "My_cluster": want at most 40 small letters`: {"--name", "My_cluster", "status"},
		`the name of a cluster is "../x"`:                                      {"--name", "../x", "down"},
		`unknown command "bring"`:                                              {"bring"},
		`the cluster "x" is not up: hack/cluster.sh --name x up`:               {"--name", "x", "kubectl", "get", "pods"},
		`the cluster "mcp-gateway" is not up`:                                  {"env"},
		`up knows no "--fast"`:                                                 {"up", "--fast"},
		`--publish wants PORT:NODEPORT, such as 8080:30080, not "80"`:          {"up", "--publish", "80"},
		`the owner "999999999" is not a process that runs`:                     {"up", "--owner", "999999999"},
	} {
		stdout, stderr, ok := s.runArgs("cluster.sh", args)
		assert.False(t, ok, args)
		assert.Empty(t, stdout, args)
		assert.Contains(t, stderr, want)
	}
	stdout, _, ok := s.runArgs("cluster.sh", []string{"--name", "x", "status"})
	assert.True(t, ok)
	assert.Equal(t, "down", stdout)
	_, stderr, ok := s.runArgs("cluster.sh", []string{"down"}, "CLUSTER_NAME=y")
	assert.True(t, ok, "down is for cleaning up after anything: %s", stderr)
	assert.Contains(t, stderr, `there is no cluster "y"`)

	s.onPath("uname", "echo Darwin")
	s.wantErrorOf("cluster.sh", "up", `made of Linux namespaces, which "Darwin" does not have`)
	s.onPath("uname", "echo Linux")
	if os.Geteuid() != 0 {
		s.wantErrorOf("cluster.sh", "up", "which only root can make: run this as root")
	}
}

func (s *sandbox) wantErrorOf(script, command, want string, env ...string) {
	s.t.Helper()
	_, stderr, ok := s.runArgs(script, []string{command}, env...)
	assert.False(s.t, ok)
	assert.Contains(s.t, stderr, want)
}

// What a cluster started is ended when it goes; a process that has got the id of one of them since is somebody else's.
func TestClusterEndsOnlyItsOwn(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip("there are no clusters where there is no /proc")
	}
	s := newSandbox(t)
	s.tools("rmdir")
	mine, foreign := sleeper(t), sleeper(t)
	dir := s.cache("clusters", "x")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	note := fmt.Sprintf("door %d 1 %snode %d %s %s", foreign.Process.Pid, boot, mine.Process.Pid, start(t, mine), boot)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "processes"), []byte(note), 0o600))

	_, stderr, ok := s.runArgs("cluster.sh", []string{"--name", "x", "down"})
	require.True(t, ok, stderr)
	assert.Contains(t, stderr, `the cluster "x" is gone`)
	assert.NoDirExists(t, dir)
	require.ErrorContains(t, mine.Wait(), "killed")
	assert.NotEmpty(t, start(t, foreign), "it still runs")
}

// sleeper is a process that does nothing.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	require.NoError(t, cmd.Start())
	return cmd
}

// start is when a process was started, as /proc tells it.
func start(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	require.NoError(t, err)
	_, fields, _ := strings.Cut(string(stat), ") ")
	require.NotEqual(t, "Z", fields[:1])
	return strings.Fields(fields)[19]
}

// nodePrograms are the system's that a node is made of.
func nodePrograms() []string {
	return []string{"containerd", "ctr", "runc", "ip", "iptables", "openssl", "unshare", "nsenter", "setsid", "mount"}
}

func TestClusterPackages(t *testing.T) {
	s := newSandbox(t)
	s.tools("sort")
	plugins := filepath.Join(s.home, "cni")
	env := "CNI_BIN_DIR=" + plugins
	s.wantError("cluster-packages.sh", "install what Debian calls containerd iproute2 iptables mount openssl runc util-linux containernetworking-plugins", env)

	var has []string
	for _, name := range nodePrograms() {
		if name != "runc" {
			s.onPath(name, "")
		}
		has = append(has, filepath.Join(s.bin, name))
	}
	log := filepath.Join(s.home, "apt")
	s.onPath("apt-get", `echo "$@" >>`+log+`
case $1 in
update) ;;
install)
  mkdir `+plugins+`
  for f in `+filepath.Join(s.bin, "runc")+` `+plugins+`/bridge `+plugins+`/host-local `+plugins+`/loopback `+plugins+`/portmap; do echo >$f; chmod 755 $f; done
esac`)
	if os.Geteuid() != 0 {
		s.wantError("cluster-packages.sh", "as root, run apt-get install runc containernetworking-plugins", env)
		return
	}
	stderr := s.wantPath("cluster-packages.sh", plugins, env)
	assert.Contains(t, stderr, "installing runc containernetworking-plugins with apt-get (once)")
	asked, err := os.ReadFile(log)
	require.NoError(t, err)
	assert.Contains(t, string(asked), "--no-install-recommends runc containernetworking-plugins\n")
	s.onPath("apt-get", "exit 1") // a second run needs no network
	s.wantPath("cluster-packages.sh", plugins, env)

	require.NoError(t, os.Remove(has[0]))
	s.wantError("cluster-packages.sh", "apt-get could not install containerd (its words are above): check the network", env)
	s.onPath("apt-get", "")
	s.wantError("cluster-packages.sh", "still not there after they were installed: what Debian calls containerd", env)
}

func TestClusterPrograms(t *testing.T) {
	s := newSandbox(t)
	s.wantError("cluster-programs.sh", "Go is not on the PATH")
	s.onPath("nice", `exec "$@"`)
	s.onPath("go", "echo no space left; exit 1")
	s.wantError("cluster-programs.sh", `could not build "pause" (Go's words are above)`)

	log := filepath.Join(s.home, "builds")
	s.onPath("go", `while [ "$1" != -o ]; do shift; done; basename "$2" >>`+log+`; echo >"$2"; chmod 755 "$2"`)
	var mu sync.Mutex
	var folders []string
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			stdout, stderr, ok := s.run("cluster-programs.sh")
			assert.True(t, ok, stderr)
			mu.Lock()
			defer mu.Unlock()
			folders = append(folders, stdout)
		})
	}
	both.Wait()
	assert.Equal(t, folders[0], folders[1])
	assert.FileExists(t, filepath.Join(folders[0], "pilot-discovery"))
	if _, err := os.Stat(filepath.Join(s.bin, "flock")); err == nil {
		built, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.Equal(t, "pause forward coredns helm pilot-agent pilot-discovery", strings.Join(strings.Fields(string(built)), " "), "of two runs at once, one waits for the other")
	}
	s.onPath("go", "exit 1") // a second run needs neither Go nor a network
	s.wantPath("cluster-programs.sh", folders[0])
}

func TestClusterImages(t *testing.T) {
	s := newSandbox(t)
	s.onPath("nice", `exec "$@"`)
	packed := filepath.Join(s.home, "packed")
	// Whatever this Go builds tells its arguments.
	s.onPath("go", `while [ "$1" != -o ]; do shift; done; printf '#!/bin/sh\necho "$@" >>`+packed+`\n' >"$2"; chmod 755 "$2"`)
	usage := "usage: cluster-images.sh platform | cluster-images.sh gateway|example|envoy|keycloak|redis OUT NAME..."
	for _, args := range [][]string{nil, {"gateway", "x.tar"}, {"other", "x.tar", "localhost/x:1"}} {
		_, stderr, ok := s.runArgs("cluster-images.sh", args)
		assert.False(t, ok)
		assert.Contains(t, stderr, usage)
	}
	_, stderr, ok := s.runArgs("cluster-images.sh", []string{"gateway", "/out/x.tar", "localhost/x:1", "localhost/x:2"})
	require.True(t, ok, stderr)
	said, err := os.ReadFile(packed)
	require.NoError(t, err)
	assert.Regexp(t, `^--out /out/x\.tar --name localhost/x:1 --name localhost/x:2 --ca-certificates `+
		`--file /mcp-broker-router=\S+/mcp-broker-router --file /keycloak-import=\S+/keycloak-import -- /mcp-broker-router\n$`, string(said))
	left, err := filepath.Glob(s.cache(".staging*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
