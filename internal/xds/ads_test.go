package xds_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// gateway is an Envoy that is fed over ADS, and what feeds it.
type gateway struct {
	options xds.Options
	server  *xds.Server
	envoy   *envoy
	version string
}

// startFed starts both, with the clusters.
func startFed(t *testing.T, o xds.Options, cs ...xds.Cluster) *gateway {
	t.Helper()
	g := &gateway{options: o, server: xds.NewServer(testLogger(t))}
	g.options.XDS = serveADS(t, g.server)
	g.update(t, cs...)
	boot, err := xds.Bootstrap(g.options)
	require.NoError(t, err)
	g.envoy = startEnvoy(t, g.options.Admin, boot)
	return g
}

func serveADS(t *testing.T, s *xds.Server) string {
	t.Helper()
	path := t.TempDir() + "/xds.sock"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	g := grpc.NewServer(append(xds.ServerOptions(), grpc.WaitForHandlers(true))...)
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return "unix:" + path
}

func (g *gateway) update(t *testing.T, cs ...xds.Cluster) {
	t.Helper()
	r, err := xds.Translate(g.options, cs)
	require.NoError(t, err)
	g.version, err = g.server.Update(r)
	require.NoError(t, err)
}

// await waits until the server's view of its Envoys is as wanted.
func (g *gateway) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	awaitServer(t, g.server, what, ok)
}

func awaitServer(t *testing.T, s *xds.Server, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := s.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "did not come about: "+what, "status: %+v", s.Status())
		}
	}
}

// awaitSynced waits until an Envoy holds the last update whole.
func (g *gateway) awaitSynced(t *testing.T) {
	t.Helper()
	g.await(t, "an Envoy that holds everything", func() bool {
		st := g.server.Status()
		return len(st.Envoys) == 1 && st.Envoys[0].Version == g.version
	})
}

func (g *gateway) url() string { return "http://" + g.options.Listen + "/mcp" }

func testOptions(t *testing.T) xds.Options {
	t.Helper()
	return xds.Options{Listen: freeAddress(t), Router: startRouter(t), Broker: freeAddress(t), Admin: freeAddress(t)}
}

// upstream runs an MCP server's stand-in and returns it as a cluster.
func upstream(t *testing.T, name string, h http.HandlerFunc) xds.Cluster {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return clusterAt(t, name, s.URL)
}

func clusterAt(t *testing.T, name, at string) xds.Cluster {
	t.Helper()
	u, err := url.Parse(at)
	require.NoError(t, err)
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	require.NoError(t, err)
	return xds.Cluster{Name: name, Server: config.Server{Name: name, Scheme: u.Scheme, Host: u.Hostname(), Port: uint16(port)}}
}

func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream") // of which nobody reads the body
		_, _ = io.WriteString(w, text)
	}
}

func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestADSFeedsEnvoy(t *testing.T) {
	a := upstream(t, "a", saying("from a"))
	g := startFed(t, testOptions(t), a)
	require.False(t, g.server.Programmed("b"), "there is no such cluster")
	g.await(t, "cluster a programmed", func() bool { return g.server.Programmed("a") })
	g.envoy.waitReady(t)
	require.Equal(t, "from a", send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)).body)

	b := upstream(t, "b", saying("from b"))
	g.update(t, a, b)
	g.await(t, "cluster b programmed", func() bool { return g.server.Programmed("b") })
	require.Equal(t, "from b", send(t, http.MethodPost, g.url(), stubCall{To: "b"}.body(t)).body)

	g.update(t, b)
	require.False(t, g.server.Programmed("a"))
	g.awaitSynced(t)
	require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)).status)
	st := g.server.Status()
	require.Equal(t, g.version, st.Version)
	require.Equal(t, xds.DefaultNodeID, st.Envoys[0].Node)
	require.True(t, st.Envoys[0].Serving)
	require.Contains(t, st.Envoys[0].Build, "envoy 1.")
	require.Nil(t, st.Envoys[0].LastRejection)
}

// A call in flight survives the removal of another server and a new cluster of its own.
func TestADSChangesCutNothing(t *testing.T) {
	release := make(chan struct{})
	a := upstream(t, "a-1", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-test-slow") == "" {
			_, _ = io.WriteString(w, "at once")
			return
		}
		_, _ = io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "last\n")
	})
	b := upstream(t, "b", saying("from b"))
	g := startFed(t, testOptions(t), a, b)
	g.await(t, "both programmed", func() bool { return g.server.Programmed("a-1") && g.server.Programmed("b") })
	g.envoy.waitReady(t)

	resp, err := http.Post(g.url(), "application/json", strings.NewReader(stubCall{To: "a-1", Set: map[string]string{"x-test-slow": "1"}}.body(t)))
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body := bufio.NewReader(resp.Body)
	line, err := body.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "first\n", line)

	g.update(t, a)
	g.awaitSynced(t)
	renamed := a
	renamed.Name = "a-2"
	renamed.Server.Headers = []config.Header{{Name: "x-new", Value: "1"}}
	g.update(t, a, renamed)
	g.await(t, "the new cluster programmed", func() bool { return g.server.Programmed("a-2") })
	g.update(t, renamed)
	g.awaitSynced(t)
	require.Equal(t, "at once", send(t, http.MethodPost, g.url(), stubCall{To: "a-2"}.body(t)).body)

	close(release)
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, "last\n", string(rest))
}

// Invariant 8: what Envoy refuses replaces nothing, and costs the other servers nothing (invariant 12).
func TestADSRefusedClusterCostsTheOthersNothing(t *testing.T) {
	a := upstream(t, "a", saying("from a"))
	bad := clusterAt(t, "bad", "https://127.0.0.1:9")
	bad.Server.TLS = &config.TLS{CA: []byte("no certificate")}
	cs := []xds.Cluster{a, bad}
	for i := range 9 {
		cs = append(cs, upstream(t, fmt.Sprintf("s%d", i), saying("fine")))
	}
	g := startFed(t, testOptions(t), cs...)
	g.await(t, "the others programmed", func() bool {
		for _, c := range cs {
			if c.Name != "bad" && !g.server.Programmed(c.Name) {
				return false
			}
		}
		return true
	})
	g.envoy.waitReady(t)
	require.False(t, g.server.Programmed("bad"))
	st := g.server.Status().Envoys[0]
	require.NotEqual(t, g.version, st.Version, "not everything is held")
	require.Len(t, st.Refused, 1)
	require.Equal(t, "Cluster", st.Refused[0].Type)
	require.Equal(t, "bad", st.Refused[0].Name)
	require.NotEmpty(t, st.Refused[0].Message)
	require.Equal(t, "bad", st.LastRejection.Name)
	require.Equal(t, "from a", send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)).body)

	// The same name turns bad: what Envoy had under it goes on serving.
	worse := a
	worse.Server.Scheme, worse.Server.TLS = "https", bad.Server.TLS
	g.update(t, worse)
	g.await(t, "the refusal", func() bool {
		st := g.server.Status().Envoys[0]
		return len(st.Refused) == 1 && st.Refused[0].Name == "a"
	})
	require.False(t, g.server.Programmed("a"))
	require.Equal(t, "from a", send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)).body)

	g.update(t, a)
	g.awaitSynced(t)
	require.True(t, g.server.Programmed("a"))
	require.Empty(t, g.server.Status().Envoys[0].Refused)
}

// Invariant 12: Envoy acknowledges no cluster while it waits for a name server, so what needs one is sent last.
func TestADSDeadNameServerCostsTheOthersNothing(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	_, port, err := net.SplitHostPort(silent.LocalAddr().String())
	require.NoError(t, err)
	o := testOptions(t)
	o.Policies = parsePolicies(t, `
clusters:
  - name: aaa
    type: STRICT_DNS
    typed_dns_resolver_config:
      name: envoy.network.dns_resolver.cares
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig
        resolvers: [{socket_address: {address: 127.0.0.1, port_value: `+port+`}}]
    load_assignment:
      cluster_name: aaa
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: mcp.example.com, port_value: 80}}}}]}]
`)
	a := upstream(t, "a", saying("from a"))
	g := startFed(t, o, a)
	g.await(t, "a programmed", func() bool { return g.server.Programmed("a") })
	g.envoy.waitReady(t)
	require.Equal(t, "from a", send(t, http.MethodPost, g.url(), stubCall{To: "a"}.body(t)).body)
	require.Contains(t, g.envoy.get(t, "/stats?filter=^cluster_manager.warming_clusters$"), ": 1", "the name is still being looked for")
	require.False(t, g.server.Programmed("aaa"))
}

// Thousands of servers are workable: an Envoy takes them all, and a change of one takes no longer than with few.
func TestADSWithThousandsOfServers(t *testing.T) {
	a := upstream(t, "a", saying("from a"))
	cs := []xds.Cluster{a}
	for i := range 4999 {
		c := clusterAt(t, fmt.Sprintf("server-%04d", i), fmt.Sprintf("http://127.0.%d.%d:9", i/250, i%250+1))
		c.Server.Headers = []config.Header{{Name: "x-number", Value: strconv.Itoa(i)}}
		cs = append(cs, c)
	}
	g := startFed(t, testOptions(t), cs...)
	g.awaitSynced(t)
	require.True(t, g.server.Programmed("server-4998"))
	g.envoy.waitReady(t)
	moved := upstream(t, "server-2500", saying("moved"))
	cs[2501] = moved
	g.update(t, cs...)
	g.await(t, "the change", func() bool { return g.server.Programmed("server-2500") })
	require.Equal(t, "moved", send(t, http.MethodPost, g.url(), stubCall{To: "server-2500"}.body(t)).body)
}
