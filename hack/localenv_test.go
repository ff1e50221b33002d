package hack

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// localEnvironment is a sandbox with what local-env.sh takes for granted.
func localEnvironment(t *testing.T) *sandbox {
	t.Helper()
	s := newSandbox(t)
	s.tools("date", "grep", "rmdir", "sed", "tail", "tr")
	return s
}

func TestLocalEnvCommandLine(t *testing.T) {
	s := localEnvironment(t)
	for _, command := range []string{"deploy", "reload", "policies", "forward", "status", "logs", "token", "kubectl", "helm"} {
		s.wantErrorOf("local-env.sh", command, `there is no local environment "mcp-gateway": make local-env-setup`)
	}
	s.wantErrorOf("local-env.sh", "bring", `unknown command "bring"`)
	s.wantErrorOf("local-env.sh", "setup", `CLUSTER is "minikube": want kind, which needs Docker, or node, which needs Linux and root`, "CLUSTER=minikube")
	s.wantErrorOf("local-env.sh", "setup", "curl is not on the PATH: install it", "CLUSTER=kind")
	_, stderr, ok := s.runArgs("local-env.sh", []string{"up"})
	assert.False(t, ok)
	assert.Empty(t, stderr, "it is asked in passing")
	_, stderr, ok = s.runArgs("local-env.sh", []string{"teardown"})
	assert.True(t, ok, "teardown is for cleaning up after anything: %s", stderr)
	assert.Contains(t, stderr, `there is no local environment "mcp-gateway"`)

	s.onPath("curl", "")
	s.onPath("openssl", "")
	s.wantErrorOf("local-env.sh", "setup", "kind needs Docker, which is not on the PATH: install it, or take CLUSTER=node", "CLUSTER=kind")
	s.onPath("docker", "exit 1")
	s.wantErrorOf("local-env.sh", "setup", "kind needs Docker, which does not answer (docker info says why)", "CLUSTER=kind")
	s.onPath("uname", "echo Darwin")
	s.wantErrorOf("local-env.sh", "setup", "made of Linux namespaces") // without Docker it is the node
}

// kindWorld puts fakes of all that a local environment in kind is made with on the PATH. They log what they are asked.
func kindWorld(s *sandbox) (log string, env []string) {
	log = filepath.Join(s.home, "log")
	cluster := filepath.Join(s.home, "cluster")
	say := func(name string) string { return `echo "` + name + ` $*" >>` + log + "\n" }
	s.onPath("docker", "")
	s.onPath("kind", say("kind")+`case "$*" in
"get clusters") [ ! -e `+cluster+` ] || echo mcp-gateway ;;
"get kubeconfig"*) echo config ;;
create*) cat >`+cluster+` ;;
delete*) rm `+cluster+` ;;
esac`)
	// Without policies nobody has to log in, which a fake cannot.
	s.onPath("kubectl", say("kubectl")+`case "$*" in *"get secret"*|*"get configmap"*) exit 1 ;; *"apply"*"-f -"*) cat >/dev/null ;; esac`)
	installed := filepath.Join(s.home, "installed")
	helm := s.onPath("helm-of-the-test", say("helm")+`case "$*" in
"status mcp-gateway"*) [ -e `+installed+` ] ;;
"upgrade --install mcp-gateway"*) echo >`+installed+` ;;
esac`)
	s.onPath("openssl", "")
	s.onPath("curl", "printf 200")
	s.onPath("nice", `exec "$@"`)
	// What this Go builds is a packer, which prints the names that it is given.
	s.onPath("go", `case "$*" in *"mod download"*) printf '{\n\t"Dir": "/modules"\n}\n'; exit ;; esac
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" != --name ] || echo "$2" | sed s/{digest}/0a1b2c/; shift; done\n' >"$2"; chmod 755 "$2"`)
	return log, []string{"CLUSTER=kind", "HELM_BIN=" + helm}
}

// freePort is one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// published opens the port as soon as the cluster is there.
func published(ctx context.Context, s *sandbox, port string) {
	for ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(s.home, "cluster")); err == nil {
			if l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+port); err == nil {
				<-ctx.Done()
				_ = l.Close()
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// asked is what the fakes were asked since the last time.
func asked(t *testing.T, log string) string {
	t.Helper()
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NoError(t, os.Remove(log))
	return string(data)
}

// No kind runs where these tests do: what it is asked is compared with its documentation. All else is proved by e2e/cluster/localenv on the node.
func TestLocalEnvWithKind(t *testing.T) {
	s := localEnvironment(t)
	log, env := kindWorld(s)
	http, https := freePort(t), freePort(t)
	env = append(env, "KIND_HOST_PORT_HTTP="+http, "KIND_HOST_PORT_HTTPS="+https)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go published(ctx, s, http)

	stdout, stderr, ok := s.runArgs("local-env.sh", []string{"setup"}, env...)
	require.True(t, ok, stderr)
	assert.Contains(t, stdout, "make dev-gateway-forward", "it tells what to do next")
	did := asked(t, log)
	assert.Regexp(t, `kind create cluster --name mcp-gateway --image kindest/node:v\S+@sha256:[0-9a-f]{64} --wait 180s --config -\n`, did)
	config, err := os.ReadFile(filepath.Join(s.home, "cluster"))
	require.NoError(t, err)
	assert.Contains(t, string(config), fmt.Sprintf("{containerPort: 30080, hostPort: %s, listenAddress: 127.0.0.1}", http))
	assert.Contains(t, string(config), fmt.Sprintf("{containerPort: 30443, hostPort: %s, listenAddress: 127.0.0.1}", https))
	assert.Contains(t, did, "kubectl apply --server-side -f /modules/config/crd/standard\n", "the Gateway API of go.mod")
	assert.Regexp(t, `helm upgrade --install istiod istiod --repo https://\S+ --version 1\.\d+\.\d+ --namespace istio-system .*PILOT_JWT_PUB_KEY_REFRESH_INTERVAL=1m`, did)
	assert.Equal(t, 2, strings.Count(did, "kind load image-archive --name mcp-gateway "), did)
	assert.Regexp(t, `helm upgrade --install mcp-gateway .*--set global.image.tag=0a1b2c .*--set policies.enabled=false`, did, "Keycloak comes first")
	assert.NotContains(t, did, "keycloak.instance.image", "kind fetches the public image")

	_, stderr, ok = s.runArgs("local-env.sh", []string{"setup"}, "CLUSTER=", env[1], env[2], env[3])
	require.True(t, ok, stderr)
	did = asked(t, log)
	assert.NotContains(t, did, "kind create")
	assert.NotContains(t, did, "--install istiod", "nothing is fetched again")
	assert.NotContains(t, did, "policies.enabled=false")
	s.wantErrorOf("local-env.sh", "status", `the local environment "mcp-gateway" was made with CLUSTER=kind`, "CLUSTER=node")
	port, err := strconv.Atoi(http)
	require.NoError(t, err)
	_, stderr, ok = s.runArgs("local-env.sh", []string{"setup"}, env[0], env[1], "KIND_HOST_PORT_HTTP="+strconv.Itoa(port+1), env[3])
	require.True(t, ok, stderr)
	assert.Contains(t, stderr, "which only make local-env-teardown can change")

	_, stderr, ok = s.runArgs("local-env.sh", []string{"teardown"}, env...)
	require.True(t, ok, stderr)
	assert.Contains(t, asked(t, log), "kind delete cluster --name mcp-gateway\n")
	assert.NoDirExists(t, s.cache("local-env"))
}

// What does not come up is told of, and stays.
func TestLocalEnvFails(t *testing.T) {
	s := localEnvironment(t)
	_, env := kindWorld(s)
	s.wantErrorOf("local-env.sh", "setup", "is taken: free it, or choose others with KIND_HOST_PORT_HTTP=", append(env, "KIND_HOST_PORT_HTTP="+listening(t))...)
	env = append(env, "KIND_HOST_PORT_HTTP="+freePort(t), "KIND_HOST_PORT_HTTPS="+freePort(t))
	helm := filepath.Join(s.bin, "helm-of-the-test")
	s.program(helm, `case "$*" in "upgrade --install mcp-gateway"*) echo no such image; exit 1 ;; status*) exit 1 ;; esac`)
	s.onPath("kubectl", `case "$*" in *"get pods --no-headers"*) echo broken-1 0/1 ErrImageNeverPull 0 1m ;; *logs*) echo last words ;; *"get events --field-selector involved"*) echo Warning Failed ;; esac`)
	_, stderr, ok := s.runArgs("local-env.sh", []string{"setup"}, env...)
	assert.False(t, ok)
	for _, want := range []string{
		"waiting for broken-1 (ErrImageNeverPull)", "helm could not install the release: no such image", "--- pod broken-1: events", "Warning Failed", "last words",
		"it stays as it is, to be looked at",
	} {
		assert.Contains(t, stderr, want)
	}
	assert.FileExists(t, filepath.Join(s.home, "cluster"))
}

// listening is a port that is taken while the test runs.
func listening(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}
