package guides_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

// fed has Envoy get all from the gateway of the block, whose collector is on this machine.
func (s *sheet) fed(t *testing.T) {
	collector, sent := testbed.FreeAddress(t), make(chan string, 100)
	testbed.Serve(t, collector, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case sent <- r.URL.Path:
		default:
		}
	}))
	script := strings.Replace(s.script, "collector.example.com:4318", collector, 1)
	require.Contains(t, script, collector)
	s.feed(t, script)
	assert.Contains(t, []string{"/v1/metrics", "/v1/traces"}, <-sent)
}

// moreFlags are written in place of the dots.
func (s *sheet) moreFlags(t *testing.T) {
	script := strings.Replace(s.script, "…", "--xds-address 127.0.0.1:18000", 1)
	require.NotEqual(t, s.script, script)
	s.feed(t, script)
}

// feed has Envoy get all from the gateway of a script, and ends both.
func (s *sheet) feed(t *testing.T, script string) {
	t.Helper()
	p := s.serve(t, script)
	s.run(t, "mcp-broker-router envoy-bootstrap --xds-address 127.0.0.1:18000 > bootstrap.yaml")
	t.Cleanup(func() { _ = os.Remove(filepath.Join(s.dir, "bootstrap.yaml")) })
	envoy := s.serve(t, "exec envoy -c bootstrap.yaml")
	testbed.Await(t, "Envoy to serve", func() bool { return s.answers(t) })
	interrupt(t, envoy)
	interrupt(t, p)
}

// auditLog calls a tool, which is in the file then.
func (s *sheet) auditLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "mcp-audit.json")
	issuer := testbed.NewIssuer(t)
	s.write(t, "https://login.example.com/realms/mcp", issuer.URL)
	p := s.serve(t, strings.NewReplacer("/usr/local/bin/envoy", testbed.Program(t, testbed.EnvoyBin), "/var/log/mcp-audit.json", log).Replace(s.script))
	p.Said(t, stops)
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_get_forecast","arguments":{}}}`
	s.run(t, "curl -s "+endpoint+" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '"+call+"'")
	var line struct {
		Method string
		Status int
	}
	testbed.Await(t, "the call to be in the audit log", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && json.Unmarshal(text, &line) == nil
	})
	assert.Equal(t, "tools/call", line.Method)
	assert.Equal(t, http.StatusBadRequest, line.Status, "it has no session")
	interrupt(t, p)
}

// apply gives what is made to a kubectl that has no cluster, and keeps it.
func (s *sheet) apply(t *testing.T) {
	got := filepath.Join(t.TempDir(), "objects.yaml")
	s.program(t, "kubectl", "cat >'"+got+"'; echo \"kubectl $*\"")
	assert.Contains(t, s.run(t, s.script), "kubectl apply --server-side -f -")
	text, err := os.ReadFile(got)
	require.NoError(t, err)
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	objects := 0
	for {
		var object struct{ Kind string }
		if decoder.Decode(&object) != nil {
			break
		}
		assert.Equal(t, "EnvoyFilter", object.Kind)
		objects++
	}
	assert.Greater(t, objects, 1)
	assert.Contains(t, string(text), "weather.mcp.local")
}

// signingKey makes a pair of keys; the cluster is only told of them.
func (s *sheet) signingKey(t *testing.T) {
	s.program(t, "kubectl", `for file; do case "$file" in --from-file=*) test -s "${file#--from-file=}" || exit 1 ;; esac; done; echo "kubectl $*"`)
	t.Cleanup(func() { _ = os.Remove(filepath.Join(s.dir, "key.pem")) })
	out := s.run(t, s.script)
	assert.Contains(t, out, "kubectl create secret generic")
	assert.Contains(t, out, "-----BEGIN PUBLIC KEY-----")
}

// rateLimitService has a service look into its folder, and do nothing else: e2e/auth/limits runs the real one.
func (s *sheet) rateLimitService(t *testing.T) {
	values := ""
	for _, block := range guidetest.Blocks(s.block.Page, s.pages[s.block.Page]) {
		if block.Language == "yaml" && strings.Contains(block.Text, "rateLimitService:") {
			values = block.Text
		}
	}
	s.file(t, "policies.yaml", values)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(s.dir, "ratelimit")) })
	s.program(t, "ratelimit", `test "$GRPC_PORT" = 8081 && exec cat "$RUNTIME_ROOT/config/mcp-gateway.yaml"`)
	out := s.run(t, s.script)
	assert.Contains(t, out, "domain: mcp-gateway")
	assert.Contains(t, out, "requests_per_unit: 10")
}

// console shows, byte for byte, what the page shows, for the values of policies/examples/per-team.yaml. One of its items changes nothing.
func (s *sheet) console(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "policies", "examples", "per-team.yaml"))
	require.NoError(t, err)
	policies := string(text)
	if strings.Contains(s.block.Text, "warning:") {
		const item = `- {server: ledger, prompt: "*"} `
		require.Contains(t, policies, item)
		policies = strings.Replace(policies, item, `- "invoices_list" `, 1)
	}
	s.file(t, "policies.yaml", policies)
	servers := ""
	for server, tool := range map[string]string{"erp": "pay", "ledger": "book", "weather": "get_forecast"} {
		prefix := server + "_"
		if server == "erp" {
			prefix = "invoices_"
		}
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: tool}}})
		servers += "  - {name: " + server + ", url: \"" + u.URL + "\", toolPrefix: " + prefix + "}\n"
	}
	s.file(t, "servers.yaml", "servers:\n"+servers)
	s.gateway(t, "--mcp-gateway-config servers.yaml")
	assert.Equal(t, s.block.Output(), s.run(t, s.commands[0]))
}

// replica is one of those that share a store; here that is on this machine, and without TLS.
func (s *sheet) replica(t *testing.T) {
	address := testbed.FreeAddress(t)
	testbed.Redis(t, address)
	s.write(t)
	s.file(t, "session-key", strings.Repeat("k", 48))
	s.file(t, "bootstrap.yaml", "")
	script := strings.NewReplacer("rediss://:$PASSWORD@valkey.example.com:6379", "redis://"+address, "10.0.0.7", "127.0.0.1", "0.0.0.0:8888\n", "0.0.0.0:8888 &\n").Replace(s.script)
	require.Contains(t, script, address)
	p := s.serve(t, script)
	testbed.Await(t, "Envoy to serve", func() bool { return s.answers(t) })
	interrupt(t, p)
}

// module has the block's two programs, where a folder of this machine is in place of the one that is installed to.
func (s *sheet) module(t *testing.T) {
	s.file(t, "bootstrap.yaml", "")
	socket := filepath.Join(t.TempDir(), "m.sock")
	script := strings.NewReplacer("/run/mcp-gateway/module.sock", socket, " …", " &", "/usr/local/lib/mcp-gateway", filepath.Join(s.dir, "bin")).Replace(s.script)
	require.Contains(t, script, socket)
	p := s.serve(t, script)
	testbed.Await(t, "Envoy to serve", func() bool { return s.answers(t) })
	interrupt(t, p)
}
