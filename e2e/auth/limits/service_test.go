package limits_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// The variables by which the tests find programs; hack/test-env.sh and hack/auth-env.sh print them.
const (
	redisBin     = "REDIS_BIN"
	ratelimitBin = "RATELIMIT_BIN"
)

// service is a global rate limit service with its Redis, as far as they run.
type service struct {
	grpc, health, debug string // its addresses
	redis               string
	folder              string // of its configuration
}

func newService(t *testing.T) *service {
	t.Helper()
	return &service{
		grpc: testbed.FreeAddress(t), health: testbed.FreeAddress(t), debug: testbed.FreeAddress(t), redis: testbed.FreeAddress(t), folder: t.TempDir(),
	}
}

// startRedis starts an empty one.
func (s *service) startRedis(t *testing.T) *testbed.Process {
	t.Helper()
	host, port, err := net.SplitHostPort(s.redis)
	require.NoError(t, err)
	p := testbed.Start(t, "redis", testbed.Command{Path: testbed.Program(t, redisBin), Args: []string{
		"--bind", host, "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no",
	}})
	testbed.AwaitListening(t, p, s.redis)
	return p
}

// start runs the service and waits until it serves.
func (s *service) start(t *testing.T, policies string) *testbed.Process {
	t.Helper()
	p := s.launch(t, policies)
	testbed.AwaitListening(t, p, s.grpc)
	testbed.AwaitListening(t, p, s.health)
	testbed.Await(t, "the rate limit service to be healthy", func() bool {
		resp, err := http.Get("http://" + s.health + "/healthcheck")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// configure gives the service what the gateway prints for it.
func (s *service) configure(t *testing.T, policies string) {
	t.Helper()
	file, err := exec.CommandContext(t.Context(), testbed.Program(t, testbed.GatewayBin), "acl", "render", "--engine", "ratelimit", "--policies", policies).Output()
	require.NoError(t, err)
	config := filepath.Join(s.folder, "config")
	require.NoError(t, os.MkdirAll(config, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(config, "mcp-gateway.yaml"), file, 0o600))
}

// launch runs the service as the guide to policies says.
func (s *service) launch(t *testing.T, policies string) *testbed.Process {
	t.Helper()
	s.configure(t, policies)
	env := []string{
		"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + s.redis, "REDIS_TIMEOUT=1s",
		"RUNTIME_ROOT=" + s.folder, "RUNTIME_WATCH_ROOT=false", "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT=true",
		"USE_STATSD=false", "DISABLE_STATS=true", "LOG_LEVEL=info",
	}
	for prefix, address := range map[string]string{"GRPC_": s.grpc, "": s.health, "DEBUG_": s.debug} {
		host, port, err := net.SplitHostPort(address)
		require.NoError(t, err)
		env = append(env, prefix+"HOST="+host, prefix+"PORT="+port)
	}
	p := testbed.Start(t, "rate limit service", testbed.Command{Path: testbed.Program(t, ratelimitBin), Env: env})
	t.Cleanup(p.Kill) // asked to end, it waits for its callers
	return p
}
