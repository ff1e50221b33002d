package charts

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/policy/policytest"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const (
	envKuadrantCluster = "KUADRANT_CLUSTER" // the namespace of the tests, in the cluster of KUBECONFIG
	inForceWithin      = 2 * time.Minute
)

// decider asks a gateway that enforces policies.
type decider struct {
	client    *http.Client
	url, host string
	token     func(claims map[string]any) string
}

// ask makes a request that bears the router's labels already, and returns the status.
func (d *decider) ask(t testing.TB, path string, headers map[string]string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+path, strings.NewReader("{}"))
	require.NoError(t, err)
	req.Host = d.host
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return 0 // a gateway that is told something new may cut a connection
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (d *decider) headers(c policytest.Case) map[string]string {
	token := ""
	if c.Claims != nil {
		token = d.token(c.Claims)
	}
	return asHeaders(c.Request, c.Method, token)
}

func statusOf(o policytest.Outcome) int {
	return map[policytest.Outcome]int{policytest.Allowed: 200, policytest.Denied: 403, policytest.Unauthenticated: 401, policytest.Limited: 429}[o]
}

// await waits until what must be refused is refused: a policy that is accepted need not be in force.
func (d *decider) await(t testing.TB, cases []policytest.Case) {
	t.Helper()
	for _, c := range cases {
		if c.Then == policytest.Denied || c.Then == policytest.Unauthenticated {
			require.Eventually(t, func() bool { return d.ask(t, wire.PathMCP, d.headers(c)) == statusOf(c.Then) }, inForceWithin, time.Second, "%s: not in force", c.Name)
			return
		}
	}
}

// decide passes the decision tests of a file.
func (d *decider) decide(t *testing.T, f policytest.File) {
	t.Helper()
	d.await(t, f.Cases)
	for _, c := range f.Cases {
		headers := d.headers(c)
		for n := range c.Repeat {
			want := policytest.Allowed
			if n == c.Repeat-1 {
				want = c.Then
			}
			require.Equal(t, statusOf(want), d.ask(t, wire.PathMCP, headers), "%s, time %d", c.Name, n+1)
		}
		if c.Then == policytest.Denied || c.Then == policytest.Unauthenticated {
			headers[wire.HeaderDirect] = "true"
			require.Equal(t, statusOf(c.Then), d.ask(t, "/a/server's/path", headers), "%s: a call that Envoy takes to its server itself", c.Name)
		}
	}
}

// TestKuadrantDriver has the tests for a cluster ask the model, so that they are known to work where there is no such cluster.
func TestKuadrantDriver(t *testing.T) {
	files, err := policytest.Load("../policies/tests")
	require.NoError(t, err)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			k := newKuadrant(t, withoutClockSkew(t, f.Values))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				headers := map[string]string{}
				for name := range r.Header {
					headers[strings.ToLower(name)] = r.Header.Get(name)
				}
				w.WriteHeader(statusOf(k.decide(t, headers)))
			}))
			defer server.Close()
			d := &decider{client: server.Client(), url: server.URL, token: func(claims map[string]any) string { return k.token(t, claims) }}
			d.decide(t, f)
		})
	}
}

// TestKuadrantCluster passes the decision tests on a cluster with Kuadrant: `make test-kuadrant`.
func TestKuadrantCluster(t *testing.T) {
	ns := os.Getenv(envKuadrantCluster)
	if ns == "" {
		t.Skip(envKuadrantCluster + " is not set: run `make test-kuadrant` with KUBECONFIG set")
	}
	files, err := policytest.Load("../policies/tests")
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	issuer := "http://mcp-gateway." + ns + ".svc.cluster.local:8080"
	inCluster(t, clusterObjects(t, ns, issuer, key), "apply", "--filename", "-")
	t.Cleanup(func() { inCluster(t, "", "delete", "namespace", ns, "--ignore-not-found", "--wait=false") })
	inCluster(t, "", "wait", "--namespace", ns, "--for=condition=Programmed", "gateway/mcp-gateway", "--timeout=120s")
	inCluster(t, "", "rollout", "status", "--namespace", ns, "deployment/answers", "--timeout=180s")
	url := forward(t, ns, "service/mcp-gateway-istio")
	for i, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			// A host of its own: what another file left in force is nothing to it.
			host, realm := fmt.Sprintf("f%d.example.com", i), fmt.Sprintf("%s/realms/%d", issuer, i)
			values := string(withoutClockSkew(t, f.Values))
			audience := ""
			if a := f.Set.Authentication; a != nil {
				audience = a.Audiences[0]
				values = strings.ReplaceAll(values, a.Issuer, realm)
			}
			manifest := ofPolicies(render(t, release, ns, "--values", valuesFile(t, values), "--set", "policies.enabled=true,policies.engine=kuadrant,global.hostnames={"+host+"}"))
			inCluster(t, manifest, "apply", "--filename", "-")
			defer inCluster(t, manifest, "delete", "--ignore-not-found", "--filename", "-")
			for _, o := range objects(t, manifest) {
				if o.GetKind() == "AuthPolicy" || o.GetKind() == "RateLimitPolicy" {
					inCluster(t, "", "wait", "--namespace", ns, "--for=condition=Enforced", o.GetKind()+"/"+o.GetName(), "--timeout=180s")
				}
			}
			d := &decider{client: &http.Client{Timeout: 10 * time.Second}, url: url, host: host, token: func(claims map[string]any) string {
				all := map[string]any{"aud": audience, "exp": time.Now().Add(time.Hour).Unix()}
				maps.Copy(all, claims)
				if a := f.Set.Authentication; a != nil && claims["iss"] == a.Issuer {
					all["iss"] = realm
				}
				text, err := signed("issuer", key, all)
				require.NoError(t, err)
				return text
			}}
			d.decide(t, f)
		})
	}
}

// clusterObjects are testdata/kuadrant/cluster.yaml with an issuer's public key.
func clusterObjects(t testing.TB, ns, issuer string, key *ecdsa.PrivateKey) string {
	t.Helper()
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "issuer", Algorithm: "ES256", Use: "sig"}}})
	require.NoError(t, err)
	manifest, err := template.ParseFiles(kuadrantData + "/cluster.yaml")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, manifest.Execute(&out, map[string]string{"Namespace": ns, "Issuer": issuer, "Keys": string(keys)}))
	return out.String()
}

// inCluster runs kubectl on the cluster of KUBECONFIG.
func inCluster(t testing.TB, stdin string, args ...string) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), "kubectl", args...) //nolint:gosec // the cluster that the tests are run on
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "kubectl %s: %s", strings.Join(args, " "), out)
}

// forward opens a port of this machine that leads to a Service until the test ends.
func forward(t *testing.T, ns, service string) (url string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	command := exec.CommandContext(ctx, "kubectl", "port-forward", "--namespace", ns, service, ":80") //nolint:gosec // as above
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() { stop(); _ = command.Wait() })
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "kubectl port-forward says nothing")
	port := regexp.MustCompile(`127\.0\.0\.1:([0-9]+)`).FindStringSubmatch(lines.Text())
	require.Len(t, port, 2, lines.Text())
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return "http://127.0.0.1:" + port[1]
}
