package authn

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEnvoyAgrees shows every token of [tokens] to a real Envoy as well, whose filter is configured as internal/xds does it.
func TestEnvoyAgrees(t *testing.T) {
	p := newPeople(t)
	keys := keySet(t, p.jwks(t))
	url := startEnvoy(t, keys.JWKS)
	v := verifierOf(values(), keys, nil)
	believed := 0
	for _, c := range tokens(t, p) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		if c.header != "" {
			req.Header.Set("Authorization", c.header)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err, c.name)
		require.NoError(t, resp.Body.Close())
		_, refused := v.Verify(t.Context(), c.header)
		want := http.StatusOK
		if refused != nil {
			want = http.StatusUnauthorized
		} else {
			believed++
		}
		if resp.StatusCode == http.StatusForbidden {
			resp.StatusCode = http.StatusUnauthorized // what Envoy says of a wrong audience
		}
		assert.Equal(t, want, resp.StatusCode, "%s: %v", c.name, refused)
	}
	assert.Greater(t, believed, 15)
}

// startEnvoy runs an Envoy that answers requests with tokens by 200, until the test ends.
func startEnvoy(t *testing.T, jwks []byte) string {
	t.Helper()
	bin := os.Getenv("ENVOY_BIN")
	if bin == "" {
		t.Fatal(`this test needs a real Envoy: run eval "$(hack/test-env.sh)" in the repository's root first, or set ENVOY_BIN`)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().(*net.TCPAddr)
	require.NoError(t, l.Close())
	file := filepath.Join(t.TempDir(), "envoy.json")
	require.NoError(t, os.WriteFile(file, envoyConfig(t, jwks, address.Port), 0o600))

	var log lockedBuffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "--disable-hot-restart", "--concurrency", "1", "-l", "warn", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("envoy said:\n%s", log.String())
		}
	})
	url := fmt.Sprintf("http://127.0.0.1:%d/", address.Port)
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized
	}, 20*time.Second, 20*time.Millisecond, "envoy did not start")
	return url
}

func envoyConfig(t *testing.T, jwks []byte, port int) []byte {
	t.Helper()
	type object = map[string]any
	a := values().Authentication
	provider := func(headers ...object) object {
		return object{
			"issuer": a.Issuer, "audiences": a.Audiences, "require_expiration": true, "forward": true, "clock_skew_seconds": skewSeconds(a.ClockSkew),
			"from_headers": headers, "payload_in_metadata": "jwt_payload", "local_jwks": object{"inline_string": string(jwks)},
		}
	}
	const manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	chain := object{
		"@type": manager, "stat_prefix": "test",
		"http_filters": []object{
			{"name": "jwt", "typed_config": object{
				"@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
				"providers": object{
					"token": provider(object{"name": "authorization", "value_prefix": "Bearer "}, object{"name": "authorization", "value_prefix": "bearer "}),
					"none":  provider(object{"name": "x-mcp-no-token"}),
				},
				"rules": []object{
					{"match": object{"prefix": "/", "headers": []object{{"name": "authorization", "string_match": object{"safe_regex": object{
						"regex": `[Bb]earer [A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`,
					}}}}}, "requires": object{"provider_name": "token"}},
					{"match": object{"prefix": "/"}, "requires": object{"provider_name": "none"}},
				},
			}},
			{"name": "router", "typed_config": object{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
		},
		"route_config": object{"virtual_hosts": []object{{"name": "all", "domains": []string{"*"}, "routes": []object{
			{"match": object{"prefix": "/"}, "direct_response": object{"status": 200}},
		}}}},
	}
	out, err := json.Marshal(object{
		"static_resources": object{"listeners": []object{{
			"address":       object{"socket_address": object{"address": "127.0.0.1", "port_value": port}},
			"filter_chains": []object{{"filters": []object{{"name": "http", "typed_config": chain}}}},
		}}},
	})
	require.NoError(t, err)
	return out
}

// lockedBuffer takes what a process says while a test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(b.buf.String())
}
