package istio_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// The hosts of testdata/world.yaml and of the servers.
const (
	endpointHost = "mcp.example.com"
	shopHost     = "shop.example.com"
)

func serverHost(name string) string { return name + ".example.com" }

// world is a Gateway that others share with the endpoint, and all that is behind it.
type world struct {
	cluster *k8stest.Cluster
	envoy   *testbed.Process
	// base is the Gateway's address, admin that of its Envoy's admin interface.
	base, admin string
	// router and broker are where Envoy finds those.
	router, broker string
	gateway        *testbed.Process
	status         string

	plain, sessions, secret *testbed.Upstream
	// release ends the calls of the tool sessions_wait.
	release chan struct{}
	shop    *echo
}

// newWorld starts everything but the gateway's EnvoyFilters.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*world) []string { return nil })
}

// newWorldWith is newWorld with further flags for the gateway.
func newWorldWith(t *testing.T, flags func(*world) []string) *world {
	t.Helper()
	w := newMesh(t)
	w.release = make(chan struct{})
	w.plain = testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{{Name: "hello"}, {Name: "forbidden"}}})
	w.sessions = testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "hello"}, {Name: "stream", Call: streamed}, {Name: "wait", Call: w.waiting}}})
	w.secret = testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{{Name: "hello"}}})
	for name, u := range w.servers() {
		w.apply(t, "server.yaml", "NAME", name, "PORT", port(hostOf(u.URL)))
	}
	w.startGateway(t, flags(w)...)
	return w
}

// newMesh starts all that is not ours.
func newMesh(t *testing.T) *world {
	t.Helper()
	w := &world{cluster: k8stest.Start(t), shop: newEcho(t), router: testbed.FreeAddress(t), broker: testbed.FreeAddress(t)}
	listen, admin := testbed.FreeAddress(t), testbed.FreeAddress(t)
	w.base, w.admin = "http://"+listen, "http://"+admin
	w.installIstio(t)
	w.apply(t, "world.yaml", "LISTEN_PORT", port(listen), "ROUTER_PORT", port(w.router), "BROKER_PORT", port(w.broker), "SHOP_PORT", port(w.shop.address))
	istiod := w.startIstiod(t)
	w.startEnvoy(t, port(istiod), port(admin), listen)
	return w
}

func (w *world) servers() map[string]*testbed.Upstream {
	if w.plain == nil {
		return nil
	}
	return map[string]*testbed.Upstream{"plain": w.plain, "sessions": w.sessions, "secret": w.secret}
}

// streamed answers a call with an event stream.
func streamed(rw http.ResponseWriter, c *testbed.Call) {
	send := testbed.SSE(rw)
	send("event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"on its way\"}}\n\n")
	send("event: message\ndata: " + c.Result(testbed.TextResult("streamed")) + "\n\n")
}

// waiting answers a call with an event stream that goes on until it may end.
func (w *world) waiting(rw http.ResponseWriter, c *testbed.Call) {
	send := testbed.SSE(rw)
	send("event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"on its way\"}}\n\n")
	select {
	case <-w.release:
		send("event: message\ndata: " + c.Result(testbed.TextResult("waited")) + "\n\n")
	case <-c.Context().Done():
	}
}

// installIstio adds the definitions of Istio's kinds and the namespaces that are used.
func (w *world) installIstio(t *testing.T) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-C", "../../../hack/cluster/istio", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatalf("where is the module of Istio? %v", err)
	}
	w.kubectl(t, "", "apply", "--server-side", "-f", filepath.Join(strings.TrimSpace(string(dir)), "manifests", "charts", "base", "files", "crd-all.gen.yaml"))
	w.kubectl(t, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	for _, namespace := range []string{"istio-system", "gateways", "mcp-system", "tools", "shop"} {
		w.kubectl(t, "", "create", "namespace", namespace)
	}
}

// startIstiod starts istiod for the API server. It looks after no certificates, injects nothing and deploys nothing: the node does not speak TLS with it.
func (w *world) startIstiod(t *testing.T) string {
	t.Helper()
	address := testbed.FreeAddress(t)
	p := testbed.Start(t, "istiod", testbed.Command{
		Path: testbed.Program(t, pilotBin),
		Args: []string{
			"discovery", "--kubeconfig", w.cluster.Kubeconfig(), "--meshConfig", "testdata/mesh.yaml", "--networksConfig", "testdata/none",
			"--grpcAddr", address, "--httpAddr", testbed.FreeAddress(t), "--monitoringAddr", testbed.FreeAddress(t),
			"--httpsAddr", "", "--secureGRPCAddr", "", "--ctrlz_port", "0", "--log_output_level", "default:warn",
		},
		Env: []string{
			"POD_NAMESPACE=istio-system", "POD_NAME=istiod-0", "REVISION=default", "ENABLE_CA_SERVER=false",
			"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER=false", "PILOT_ENABLE_ANALYSIS=false",
			// Filters that a stock Envoy does not have.
			"PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false",
		},
	})
	testbed.AwaitListening(t, p, address)
	return address
}

func (w *world) startEnvoy(t *testing.T, istiodPort, adminPort, listen string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(read(t, "envoy.yaml", "ISTIOD_PORT", istiodPort, "ADMIN_PORT", adminPort)), 0o600); err != nil {
		t.Fatal(err)
	}
	w.envoy = testbed.Start(t, "envoy", testbed.Command{
		Path: testbed.Program(t, testbed.EnvoyBin),
		Args: []string{"--disable-hot-restart", "--concurrency", "2", "-l", "warn", "-c", path},
	})
	testbed.AwaitListening(t, w.envoy, listen)
}

// startGateway starts broker and router as they run beside Istio.
func (w *world) startGateway(t *testing.T, flags ...string) {
	t.Helper()
	file, status := filepath.Join(t.TempDir(), "config.yaml"), testbed.FreeAddress(t)
	var specs []config.ServerSpec
	for name, u := range w.servers() {
		spec := testbed.ServerSpec(name, u.URL)
		spec.Cluster, spec.Hostname = "outbound|80||"+name+".tools.internal", name+".tools.internal"
		if name == "secret" {
			spec.Credential = &config.CredentialSpec{Env: "SECRET_OF_TEST"}
		}
		specs = append(specs, spec)
	}
	slices.SortFunc(specs, func(a, b config.ServerSpec) int { return strings.Compare(a.Name, b.Name) })
	testbed.WriteFile(t, file, config.File{Servers: specs, VirtualServers: []config.VirtualServerSpec{{Name: "team", Tools: []string{"plain_hello", "secret_hello"}}}})
	w.status = "http://" + status
	w.gateway = testbed.Start(t, "gateway", testbed.Command{
		Path: testbed.Program(t, testbed.GatewayBin),
		Args: append([]string{
			"--envoy-control-plane", "istio", "--mcp-gateway-config", file, "--admin-address", status,
			"--mcp-router-address", w.router, "--mcp-broker-public-address", w.broker, "--public-url", "http://" + endpointHost,
		}, flags...),
		Env: []string{"SECRET_OF_TEST=only-the-broker-knows"},
	})
	testbed.AwaitListening(t, w.gateway, w.router)
	testbed.Await(t, "the gateway to know the servers' tools", func() bool {
		return strings.Count(testbed.Get(t, w.status+"/status").Body, `_hello"`) >= len(specs)
	})
}

// wire applies what istio-config prints.
func (w *world) wire(t *testing.T, more ...string) {
	t.Helper()
	args := append([]string{"istio-config", "--gateway", "gateways/mcp", "--pod-selector", "app=ingress", "--host", endpointHost}, more...)
	for name := range w.servers() {
		args = append(args, "--server-host", serverHost(name))
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), testbed.Program(t, testbed.GatewayBin), args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("istio-config: %v: %s", err, stderr.String())
	}
	w.kubectl(t, string(out), "apply", "--server-side", "-f", "-")
}

// client is one whose requests are for the endpoint's host.
func (w *world) client(t *testing.T) *testbed.Client {
	t.Helper()
	c := testbed.NewClient(t, "http://"+endpointHost+"/mcp")
	c.HTTP.Transport = w.through()
	return c
}

// through leads all requests to the Gateway, whatever their hosts are.
func (w *world) through() *http.Transport {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, hostOf(w.base))
	}
	return &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: dial}
}

func (w *world) apply(t *testing.T, file string, values ...string) {
	t.Helper()
	w.kubectl(t, read(t, file, values...), "apply", "-f", "-")
}

func (w *world) kubectl(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if out, ok := w.cluster.Kubectl(t.Context(), t, stdin, args...); !ok {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), out)
	}
}

// read is a file of testdata with its ${NAME}s replaced.
func read(t *testing.T, file string, values ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	out := string(text)
	for i := 0; i < len(values); i += 2 {
		out = strings.ReplaceAll(out, "${"+values[i]+"}", values[i+1])
	}
	return out
}

func hostOf(raw string) string {
	u, _ := url.Parse(raw)
	return u.Host
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}
