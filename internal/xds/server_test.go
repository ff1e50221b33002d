package xds_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	cds  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	lds  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	rds  = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	sds  = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	ecds = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	eds  = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// bed is a server under test and the way to it.
type bed struct {
	*xds.Server
	client discoveryv3.AggregatedDiscoveryServiceClient
}

func newBed(t *testing.T, logger *slog.Logger) *bed {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := xds.NewServer(logger)
	g := grpc.NewServer(append(xds.ServerOptions(), grpc.WaitForHandlers(true))...)
	s.Register(g)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///xds",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &bed{Server: s, client: discoveryv3.NewAggregatedDiscoveryServiceClient(conn)}
}

// update gives the server resources that are made of "name" or "name=content", per type.
func (b *bed) update(t *testing.T, r *xds.Resources) string {
	t.Helper()
	version, err := b.Update(r)
	require.NoError(t, err)
	return version
}

// named splits "name=content".
func named(s string) (name, content string) {
	name, content, _ = strings.Cut(s, "=")
	return name, content
}

// static is a cluster that needs no name server; content makes it differ.
func staticClusters(names ...string) []*clusterv3.Cluster {
	var out []*clusterv3.Cluster
	for _, s := range names {
		name, content := named(s)
		out = append(out, &clusterv3.Cluster{Name: name, AltStatName: content})
	}
	return out
}

func listeners(names ...string) []*listenerv3.Listener {
	var out []*listenerv3.Listener
	for _, s := range names {
		name, content := named(s)
		out = append(out, &listenerv3.Listener{Name: name, StatPrefix: content})
	}
	return out
}

func routes(names ...string) []*routev3.RouteConfiguration {
	var out []*routev3.RouteConfiguration
	for _, s := range names {
		name, content := named(s)
		out = append(out, &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{content}})
	}
	return out
}

// fakeEnvoy speaks the protocol by hand.
type fakeEnvoy struct {
	t      *testing.T
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
	node   *corev3.Node
}

func (b *bed) connect(t *testing.T, node string) *fakeEnvoy {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := b.client.DeltaAggregatedResources(ctx)
	require.NoError(t, err)
	return &fakeEnvoy{t: t, stream: stream, cancel: cancel, node: &corev3.Node{Id: node}}
}

func (e *fakeEnvoy) send(req *discoveryv3.DeltaDiscoveryRequest) {
	e.t.Helper()
	req.Node, e.node = e.node, nil
	require.NoError(e.t, e.stream.Send(req))
}

func (e *fakeEnvoy) subscribe(typeURL string, names ...string) {
	e.t.Helper()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (e *fakeEnvoy) receive() *discoveryv3.DeltaDiscoveryResponse {
	e.t.Helper()
	resp, err := e.stream.Recv()
	require.NoError(e.t, err)
	return resp
}

// expect receives a response: the type, "+name" for each resource and "-name" for each that is gone.
func (e *fakeEnvoy) expect(typeURL string, want ...string) *discoveryv3.DeltaDiscoveryResponse {
	e.t.Helper()
	resp := e.receive()
	require.Equal(e.t, typeURL, resp.GetTypeUrl())
	require.Equal(e.t, want, contents(resp))
	return resp
}

func contents(resp *discoveryv3.DeltaDiscoveryResponse) []string {
	var got []string
	for _, r := range resp.GetResources() {
		got = append(got, "+"+r.GetName())
	}
	for _, name := range resp.GetRemovedResources() {
		got = append(got, "-"+name)
	}
	return got
}

func (e *fakeEnvoy) ack(resp *discoveryv3.DeltaDiscoveryResponse) {
	e.t.Helper()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce()})
}

func (e *fakeEnvoy) nack(resp *discoveryv3.DeltaDiscoveryResponse, message string) {
	e.t.Helper()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.GetTypeUrl(), ResponseNonce: resp.GetNonce(), ErrorDetail: &statuspb.Status{Code: 13, Message: message}})
}

// start subscribes to clusters and listeners and takes whatever comes.
func (e *fakeEnvoy) start() {
	e.t.Helper()
	for _, typeURL := range []string{cds, lds} {
		e.subscribe(typeURL)
		e.ack(e.receive())
	}
}

// awaitEnvoys waits until so many Envoys hold the version whole.
func (b *bed) awaitEnvoys(t *testing.T, version string, n int) {
	t.Helper()
	awaitServer(t, b.Server, "Envoys that hold everything", func() bool {
		held := 0
		for _, e := range b.Status().Envoys {
			if e.Version == version {
				held++
			}
		}
		return held == n
	})
}

func TestProgrammedNeedsAnEnvoyThatServes(t *testing.T) {
	b := newBed(t, testLogger(t))
	e := b.connect(t, "e1")
	e.subscribe(cds)
	version := b.update(t, &xds.Resources{Clusters: staticClusters("a"), Listeners: listeners("l")})
	resp := e.expect(cds, "+a")
	require.False(t, b.Programmed("a"))
	e.ack(resp)
	e.subscribe(lds)
	resp = e.expect(lds, "+l")
	require.False(t, b.Programmed("a"), "nobody can reach an Envoy without a listener")
	changed := b.Changed()
	e.ack(resp)
	<-changed
	b.awaitEnvoys(t, version, 1)
	require.True(t, b.Programmed("a"))
	require.False(t, b.Programmed("b"))

	e.cancel()
	awaitServer(t, b.Server, "the end of the Envoy", func() bool { return !b.Programmed("a") && len(b.Status().Envoys) == 0 })
}

func TestProgrammedNeedsTheCredential(t *testing.T) {
	b := newBed(t, testLogger(t))
	secret := func(value string) []*tlsv3.Secret {
		return []*tlsv3.Secret{{Name: "a", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
			Secret: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: value}},
		}}}}
	}
	b.update(t, &xds.Resources{Clusters: staticClusters("a"), Listeners: listeners("l"), Secrets: secret("one")})
	e := b.connect(t, "e1")
	e.start()
	e.subscribe(sds, "a")
	resp := e.expect(sds, "+a")
	require.False(t, b.Programmed("a"))
	e.ack(resp)
	awaitServer(t, b.Server, "a programmed", func() bool { return b.Programmed("a") })

	b.update(t, &xds.Resources{Clusters: staticClusters("a"), Listeners: listeners("l"), Secrets: secret("two")})
	require.True(t, b.Programmed("a"), "a credential is exchanged in place")
	e.expect(sds, "+a")
}

func TestProgrammedNeedsEveryServingEnvoy(t *testing.T) {
	b := newBed(t, testLogger(t))
	first := &xds.Resources{Clusters: staticClusters("a"), Listeners: listeners("l")}
	version := b.update(t, first)
	e1, e2 := b.connect(t, "e1"), b.connect(t, "e2")
	e1.start()
	b.awaitEnvoys(t, version, 1)
	e2.subscribe(cds)
	resp := e2.receive()
	require.True(t, b.Programmed("a"), "an Envoy that starts takes no calls yet")
	e2.ack(resp)
	e2.subscribe(lds)
	e2.ack(e2.receive())
	b.awaitEnvoys(t, version, 2)

	version = b.update(t, &xds.Resources{Clusters: staticClusters("a", "b"), Listeners: listeners("l")})
	e1.ack(e1.expect(cds, "+b"))
	b.awaitEnvoys(t, version, 1)
	require.False(t, b.Programmed("b"), "e2 has not said so")
	require.True(t, b.Programmed("a"))
	e2.ack(e2.expect(cds, "+b"))
	b.awaitEnvoys(t, version, 2)
	require.True(t, b.Programmed("b"))

	b.update(t, &xds.Resources{Clusters: staticClusters("a=changed", "b"), Listeners: listeners("l")})
	require.False(t, b.Programmed("a"), "not with this content")
	e1.ack(e1.expect(cds, "+a"))
	e2.cancel()
	awaitServer(t, b.Server, "a programmed on those that are left", func() bool { return b.Programmed("a") })
}

// What is referred to is there before what refers to it, and is taken away last.
func TestChangesAreSentInOrder(t *testing.T) {
	b := newBed(t, testLogger(t))
	filters := func(content string) []*corev3.TypedExtensionConfig {
		return []*corev3.TypedExtensionConfig{{Name: "f", TypedConfig: pack(t, &corev3.Node{Id: content})}}
	}
	version := b.update(t, &xds.Resources{Clusters: staticClusters("a", "gone"), Filters: filters("1"), Listeners: listeners("l=1"), Routes: routes("r=1")})
	e := b.connect(t, "e1")
	e.start()
	e.subscribe(ecds, "f")
	e.ack(e.expect(ecds, "+f"))
	e.subscribe(rds, "r")
	e.ack(e.expect(rds, "+r"))
	b.awaitEnvoys(t, version, 1)

	version = b.update(t, &xds.Resources{Clusters: staticClusters("a", "new"), Filters: filters("2"), Listeners: listeners("l=2"), Routes: routes("r=2")})
	e.ack(e.expect(cds, "+new"))
	e.ack(e.expect(ecds, "+f"))
	e.ack(e.expect(lds, "+l"))
	resp := e.expect(rds, "+r")
	// A wish while a change is on its way is not kept waiting.
	e.subscribe(sds, "nothing")
	e.expect(sds, "-nothing")
	require.Empty(t, b.Status().Envoys[0].Refused)
	e.ack(resp)
	e.ack(e.expect(cds, "-gone"))
	require.NotEqual(t, version, b.Status().Envoys[0].Version)
}

func TestRefusedResourceIsFoundAmongMany(t *testing.T) {
	var log bytes.Buffer
	b := newBed(t, slog.New(slog.NewTextHandler(&log, nil)))
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("c%03d", i))
	}
	names[617] = "bad=1"
	names[618] = "worse=1"
	version := b.update(t, &xds.Resources{Clusters: staticClusters(names...), Listeners: listeners("l")})
	e := b.connect(t, "e1")
	e.subscribe(cds)
	responses := 0
	for settled := 0; settled < len(names); responses++ {
		resp := e.receive()
		got := contents(resp)
		bad := slices.Contains(got, "+bad") || slices.Contains(got, "+worse")
		if !bad || len(got) == 1 {
			settled += len(got)
		}
		if bad {
			e.nack(resp, "is bad")
		} else {
			e.ack(resp)
		}
	}
	require.Less(t, responses, 50, "halves are tried, not one after the other")
	e.subscribe(lds)
	e.ack(e.expect(lds, "+l"))
	awaitServer(t, b.Server, "the others programmed", func() bool { return b.Programmed("c000") && b.Programmed("c999") })
	require.False(t, b.Programmed("bad"))
	st := b.Status().Envoys[0]
	require.NotEqual(t, version, st.Version)
	require.Equal(t, []xds.Refused{{Type: "Cluster", Name: "bad", Message: "is bad"}, {Type: "Cluster", Name: "worse", Message: "is bad"}}, st.Refused)
	require.Equal(t, "is bad", st.LastRejection.Message)

	// What was refused is sent again when it has changed, and only that.
	names[617] = "bad=2"
	b.update(t, &xds.Resources{Clusters: staticClusters(names...), Listeners: listeners("l")})
	e.ack(e.expect(cds, "+bad"))
	awaitServer(t, b.Server, "bad is good", func() bool { return b.Programmed("bad") })
	names = slices.DeleteFunc(names, func(n string) bool { return n == "worse=1" })
	version = b.update(t, &xds.Resources{Clusters: staticClusters(names...), Listeners: listeners("l")})
	b.awaitEnvoys(t, version, 1)
	require.Empty(t, b.Status().Envoys[0].Refused)
	require.Contains(t, log.String(), `msg="envoy refused a resource" node=e1 type=Cluster name=bad error="is bad"`)
}

// Invariant 8: a change that is refused leaves what was there, and going back to that needs nothing to be sent.
func TestRefusedChangeAndTheWayBack(t *testing.T) {
	b := newBed(t, testLogger(t))
	good := &xds.Resources{Clusters: staticClusters("a=1", "z"), Listeners: listeners("l")}
	version := b.update(t, good)
	e := b.connect(t, "e1")
	e.start()
	b.awaitEnvoys(t, version, 1)
	b.update(t, &xds.Resources{Clusters: staticClusters("a=2", "z"), Listeners: listeners("l")})
	e.nack(e.expect(cds, "+a"), "no")
	awaitServer(t, b.Server, "the refusal", func() bool { return len(b.Status().Envoys[0].Refused) == 1 })
	require.False(t, b.Programmed("a"))
	require.True(t, b.Programmed("z"))
	require.Equal(t, version, b.update(t, good), "a version is made of the content")
	b.awaitEnvoys(t, version, 1)
	require.True(t, b.Programmed("a"))
}

// An Envoy that reconnects, to a new process even, keeps what it has and is sent nothing.
func TestReconnectingEnvoyIsSentOnlyWhatDiffers(t *testing.T) {
	b := newBed(t, testLogger(t))
	version := b.update(t, &xds.Resources{Clusters: staticClusters("a", "b"), Listeners: listeners("l"), Routes: routes("r")})
	e := b.connect(t, "e1")
	held := map[string]map[string]string{}
	for _, typeURL := range []string{cds, lds} {
		e.subscribe(typeURL)
		resp := e.receive()
		held[typeURL] = map[string]string{}
		for _, r := range resp.GetResources() {
			held[typeURL][r.GetName()] = r.GetVersion()
		}
		e.ack(resp)
	}
	b.awaitEnvoys(t, version, 1)

	next := newBed(t, testLogger(t))
	version = next.update(t, &xds.Resources{Clusters: staticClusters("a", "c"), Listeners: listeners("l"), Routes: routes("r")})
	e = next.connect(t, "e1")
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: cds, InitialResourceVersions: held[cds]})
	e.ack(e.expect(cds, "+c"))
	e.ack(e.expect(cds, "-b"))
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: lds, InitialResourceVersions: held[lds]})
	e.ack(e.expect(lds))
	next.awaitEnvoys(t, version, 1)
	require.True(t, next.Programmed("a"))
	require.True(t, next.Programmed("c"))
}

func TestWishesByName(t *testing.T) {
	b := newBed(t, testLogger(t))
	b.update(t, &xds.Resources{Routes: routes("r", "other")})
	e := b.connect(t, "e1")
	e.subscribe(rds, "r", "later")
	e.ack(e.expect(rds, "+r", "-later"))

	b.update(t, &xds.Resources{Routes: routes("r", "other", "later")})
	e.ack(e.expect(rds, "+later"))
	e.subscribe(rds, "r")
	e.ack(e.expect(rds, "+r"))
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesUnsubscribe: []string{"r"}})
	e.subscribe(eds, "a")
	e.ack(e.expect(eds, "-a"))
	b.update(t, &xds.Resources{Routes: routes("r=2", "other=2", "later=2")})
	e.ack(e.expect(rds, "+later"))
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"*"}})
	e.ack(e.expect(rds, "+other", "+r"))
	e.subscribe(sds)
	e.expect(sds)
}

func TestOldAnswersAreNotTakenForNewOnes(t *testing.T) {
	b := newBed(t, testLogger(t))
	b.update(t, &xds.Resources{Clusters: staticClusters("a"), Listeners: listeners("l")})
	e := b.connect(t, "e1")
	e.start()
	awaitServer(t, b.Server, "a programmed", func() bool { return b.Programmed("a") })
	b.update(t, &xds.Resources{Clusters: staticClusters("a=2"), Listeners: listeners("l")})
	resp := e.expect(cds, "+a")
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: "1"})
	e.subscribe(rds, "r")
	e.expect(rds, "-r")
	require.False(t, b.Programmed("a"))
	e.ack(resp)
	awaitServer(t, b.Server, "a programmed", func() bool { return b.Programmed("a") })
}

func TestUpdateRefusesTwoResourcesOfOneName(t *testing.T) {
	b := newBed(t, testLogger(t))
	version := b.update(t, &xds.Resources{Clusters: staticClusters("a")})
	_, err := b.Update(&xds.Resources{Clusters: staticClusters("b", "b")})
	require.ErrorContains(t, err, `have the name "b"`)
	require.Equal(t, version, b.Status().Version, "the old ones stay")
}

func TestThousandsOfClusters(t *testing.T) {
	b := newBed(t, testLogger(t))
	o := goldenOptions()
	var cs []xds.Cluster
	for i := range 5000 {
		c := clusterAt(t, fmt.Sprintf("server-%d", i), fmt.Sprintf("http://10.0.%d.%d:8080", i/250, i%250+1))
		cs = append(cs, c)
	}
	translated := func() *xds.Resources {
		r, err := xds.Translate(o, cs)
		require.NoError(t, err)
		return r
	}
	version := b.update(t, translated())
	e := b.connect(t, "e1")
	e.start()
	b.awaitEnvoys(t, version, 1)
	require.True(t, b.Programmed("server-4999"))

	cs[4321].Server.Port = 9090
	b.update(t, translated())
	e.expect(cds, "+server-4321")
}
