package controller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// TestAPIServer is about what becomes of objects in a real API server. One serves all, since it takes seconds to start.
func TestAPIServer(t *testing.T) {
	cluster := k8stest.Start(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *k8stest.Cluster)
	}{
		{"life of a server", testLife},
		{"virtual servers", testVirtual},
		{"installed", testInstalled},
		{"installed for some namespaces", testInstalledNamespaced},
		{"EnvoyFilters not permitted", testNotPermitted},
		{"status of the Gateway", testGatewayStatus},
		{"routes and gateways", testRoutes},
		{"credentials", testCredentials},
		{"conflicts", testConflicts},
		{"several gateways", testSeveral},
		{"one controller for two", testOneForTwo},
		{"another's namespace", testTaken},
		{"some namespaces", testNamespaces},
		{"moved", testMoved},
		{"burst", testBurst},
		{"too large", testTooLarge},
		{"repair", testRepair},
		{"events", testEvents},
		{"EnvoyFilters", testIstio},
		{"controller restarted", testRestart},
		{"API server restarted", testAPIServerRestart}, // last: others would notice
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, cluster) })
	}
}

func testLife(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "life")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")

	p.create(p.service("weather")...)
	server := p.server("weather", "weather", "weather_")
	p.create(server)
	p.awaitConfig(patience, "name: life-team/weather\n", "url: http://weather.life-team.svc.cluster.local:8080/mcp", "toolPrefix: weather_")
	s := p.awaitStatus(patience, "weather", "Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed")
	assert.Equal(t, "http://weather.life-team.svc.cluster.local:8080/mcp", s.Status.Endpoint)

	edit(p, server, func(s *v1alpha1.MCPServer) { s.Spec.ToolPrefix = "w_" })
	p.awaitConfig(patience, "toolPrefix: w_")
	p.awaitStatus(patience, "weather", "Programmed=True/Programmed")

	edit(p, server, func(s *v1alpha1.MCPServer) { s.Spec.Enabled = new(bool) })
	p.awaitConfig(patience, "enabled: false")
	p.awaitStatus(patience, "weather", "Programmed=False/Disabled")

	// A new name is a new object.
	p.create(p.server("forecast", "weather", "w_"))
	require.NoError(t, p.Delete(t.Context(), server))
	p.awaitConfig(patience, "name: life-team/forecast\n", "!name: life-team/weather")
	require.NoError(t, p.Delete(t.Context(), &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "forecast"}}))
	p.awaitConfig(patience, "servers: []")
}

func testRoutes(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "routes")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")

	p.create(p.server("early", "early", "e_"))
	p.awaitStatus(patience, "early", "ResolvedRefs=False/TargetNotFound", "Programmed=False/NotUsable", "Ready=False/NotUsable")
	objects := p.service("early")
	p.create(objects...)
	p.awaitConfig(patience, "url: http://early.")
	s := p.awaitStatus(patience, "early", "Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed")
	assert.NotContains(t, status(s.Status.Conditions), "Ready", "the broker has not told yet")

	require.NoError(t, p.Delete(t.Context(), objects[0]))
	p.awaitConfig(patience, "servers: []")
	s = p.awaitStatus(patience, "early", "ResolvedRefs=False/BackendNotFound", "Ready=False/NotUsable")
	assert.Empty(t, s.Status.Endpoint)
	p.create(p.service("early")[0])
	p.awaitConfig(patience, "url: http://early.")

	p.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "moved"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8080}}}})
	route := &gatewayv1.HTTPRoute{ObjectMeta: objects[1].(*gatewayv1.HTTPRoute).ObjectMeta}
	edit(p, route, func(r *gatewayv1.HTTPRoute) { r.Spec.Rules[0].BackendRefs[0].Name = "moved" })
	p.awaitConfig(patience, "url: http://moved.")

	gateway := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: p.gateway.Namespace, Name: p.gateway.Name}}
	require.NoError(t, p.Delete(t.Context(), gateway))
	p.awaitStatus(patience, "early", "Accepted=False/NotAttached")
	p.awaitConfig(patience, "servers: []")
}

func testCredentials(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "credentials")
	r := p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	sessionKey := p.secret(p.gateway.Output, controller.SessionKeyName)[controller.SessionKeyKey]
	assert.GreaterOrEqual(t, len(sessionKey), 32, "Invariant 4")

	p.create(p.service("vault")...)
	server := p.server("vault", "vault", "v_")
	server.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: "token"}
	p.create(server)
	p.awaitStatus(patience, "vault", "ResolvedRefs=False/InvalidCredential", "Programmed=False/NotUsable", "Ready=False/NotUsable")

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "token"}, Data: map[string][]byte{"token": []byte("bad\x01token")}}
	p.create(secret)
	p.awaitStatus(patience, "vault", "ResolvedRefs=False/InvalidCredential")
	assert.NotContains(t, p.config(), "vault", "a bad Secret costs its own server and nobody else")
	edit(p, secret, func(s *corev1.Secret) { s.Data["token"] = []byte("first") })
	p.awaitStatus(patience, "vault", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed")
	before := p.config()
	assert.Contains(t, before, "file: credentials/credentials-team.vault.")
	edit(p, secret, func(s *corev1.Secret) { s.Data["token"] = []byte("second") })
	p.awaitCredential("second")
	assert.Equal(t, before, p.config(), "a new token changes nothing but the Secret")
	assert.NotContains(t, before, "first")

	require.NoError(t, p.Delete(t.Context(), secret))
	p.awaitStatus(patience, "vault", "ResolvedRefs=False/InvalidCredential")
	await(t, patience, func() string { return "the credential to be gone" }, func() bool { return len(p.credentials()) == 0 })

	// What is the gateway's own is nobody's credential.
	thief := p.server("thief", "thief", "t_")
	thief.Namespace = p.gateway.Output
	thief.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: controller.SessionKeyName, Key: controller.SessionKeyKey}
	p.create(thief)
	q := *p
	q.team = p.gateway.Output
	s := q.awaitStatus(patience, "thief", "ResolvedRefs=False/TargetNotFound")
	assert.Contains(t, fmt.Sprint(s.Status.Conditions), `The Secret "credentials-broker/mcp-gateway-session-key" does not exist`)

	r.reset()
	p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "unrelated"}, Data: map[string][]byte{"token": []byte("x")}})
	p.create(p.server("marker", "vault", "m_")) // when this is through, the Secret was seen
	p.awaitConfig(patience, "credentials-team/marker")
	assert.LessOrEqual(t, r.all()["GET secrets"], 1, "of a Secret that nobody refers to nothing but metadata is read")
}

// awaitCredential waits until one credential has a value.
func (p *place) awaitCredential(value string) {
	p.t.Helper()
	await(p.t, patience, func() string { return "the credential " + value }, func() bool {
		for _, v := range p.credentials() {
			if v == value {
				return true
			}
		}
		return false
	})
}

func testConflicts(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "conflicts")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	p.create(p.service("a")...)
	p.create(p.server("older", "a", "same_"))
	p.awaitConfig(patience, "conflicts-team/older")
	await(t, patience, func() string { return "a new second" }, p.nextSecond())
	p.create(p.server("a-younger", "a", "same_"))
	p.awaitConfig(patience, "conflicts-team/a-younger")
	assert.Less(t, strings.Index(p.config(), "team/older"), strings.Index(p.config(), "team/a-younger"), "the oldest keeps names that two would give")
	s := p.awaitStatus(patience, "a-younger", "Accepted=True/Accepted")
	assert.Contains(t, fmt.Sprint(s.Status.Conditions), `has the toolPrefix "same_" too`)
}

// nextSecond tells when an object that is created is younger than all before: ages count in seconds.
func (p *place) nextSecond() func() bool {
	now := time.Now().Unix()
	return func() bool { return time.Now().Unix() > now }
}

func testSeveral(t *testing.T, cluster *k8stest.Cluster) {
	one, two := newPlace(t, cluster, "one"), newPlace(t, cluster, "two")
	first, second := one.start(cluster.Config), two.start(cluster.Config)
	one.awaitConfig(patience, "servers: []")
	two.awaitConfig(patience, "servers: []")
	private := one.server("tool", "tool", "o_")
	private.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: "private"}
	one.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: one.team, Name: "private"}, Data: map[string][]byte{"token": []byte("x")}})
	one.create(one.service("tool")...)
	second.reset()
	one.create(private)
	two.register("tool")
	one.awaitConfig(patience, "name: one-team/tool\n", "!two-team")
	two.awaitConfig(patience, "name: two-team/tool\n", "!one-team")
	one.awaitStatus(patience, "tool", "Programmed=True/Programmed")
	two.awaitStatus(patience, "tool", "Programmed=True/Programmed")
	assert.LessOrEqual(t, second.all()["GET secrets"], 1, "a gateway does not read the secrets of another one's servers")

	// What could be both's is told by one of them.
	virtual := &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: one.team, Name: "several"}, Spec: v1alpha1.MCPVirtualServerSpec{Tools: []v1alpha1.Glob{"*"}}}
	one.create(virtual)
	one.idle(first)
	two.idle(second)
	require.NoError(t, one.Get(t.Context(), client.ObjectKeyFromObject(virtual), virtual))
	assert.Contains(t, status(virtual.Status.Conditions), "Accepted=True/Accepted")

	first.reset()
	second.reset()
	for i := range 3 { // each is seen by both
		two.create(two.server(fmt.Sprintf("more-%d", i), "tool", ""))
		two.awaitConfig(patience, fmt.Sprintf("two-team/more-%d", i))
		two.awaitStatus(patience, fmt.Sprintf("more-%d", i), "Programmed=True/Programmed")
	}
	assert.Zero(t, first.statuses(two.team), "the other gateway's controller has nothing to tell: %v", first.all())
	assert.Zero(t, first.all()["PATCH configmaps"])
}

func testOneForTwo(t *testing.T, cluster *k8stest.Cluster) {
	left, right := newPlace(t, cluster, "left"), newPlace(t, cluster, "right")
	left.start(cluster.Config, func(o *controller.Options) { o.Gateways = []controller.Gateway{left.gateway, right.gateway} })
	left.awaitConfig(patience, "servers: []")
	right.awaitConfig(patience, "servers: []")
	left.register("a")
	right.register("b")
	left.awaitConfig(patience, "left-team/a", "!right-team")
	right.awaitConfig(patience, "right-team/b", "!left-team")
	left.awaitStatus(patience, "a", "Programmed=True/Programmed")
	right.awaitStatus(patience, "b", "Programmed=True/Programmed")
}

func testTaken(t *testing.T, cluster *k8stest.Cluster) {
	owner, other := newPlace(t, cluster, "owner"), newPlace(t, cluster, "other")
	owner.start(cluster.Config)
	owner.awaitConfig(patience, "servers: []")
	other.gateway.Output = owner.gateway.Output
	r := other.start(cluster.Config)
	other.register("a")
	owner.register("b")
	owner.awaitConfig(patience, "owner-team/b", "!other-team")
	await(t, patience, func() string { return "the event of the other Gateway" }, func() bool {
		return strings.Contains(other.events(other.gateway.Namespace), "Gateway/mcp Warning NotWritten: the Secret \"owner-broker/mcp-gateway-credentials\" is the Gateway \"owner/mcp\"'s")
	})
	assert.Zero(t, r.writes())
	owner.awaitConfig(patience, "owner-team/b", "!other-team")
}

func testNamespaces(t *testing.T, cluster *k8stest.Cluster) {
	p, beyond := newPlace(t, cluster, "some"), newPlace(t, cluster, "beyond")
	r := p.start(cluster.Config, func(o *controller.Options) { o.Namespaces = []string{p.team} })
	p.awaitConfig(patience, "servers: []")
	p.register("in")
	beyond.gateway = p.gateway
	beyond.register("out")
	p.awaitConfig(patience, "some-team/in", "!beyond-team")
	s := &v1alpha1.MCPServer{}
	require.NoError(t, p.Get(t.Context(), types.NamespacedName{Namespace: beyond.team, Name: "out"}, s))
	assert.Equal(t, "Ready=Unknown/Pending", status(s.Status.Conditions), "what is not watched is not written")
	assert.Zero(t, r.all()["GET namespaces"], "nothing is asked that a Role cannot allow")
}

// Of an object that moves to another gateway, each controller takes back what it wrote and nothing else.
func testMoved(t *testing.T, cluster *k8stest.Cluster) {
	from, to := newPlace(t, cluster, "from"), newPlace(t, cluster, "to")
	from.start(cluster.Config)
	to.start(cluster.Config)
	from.awaitConfig(patience, "servers: []")
	to.awaitConfig(patience, "servers: []")
	from.register("nomad")
	from.awaitStatus(patience, "nomad", "Programmed=True/Programmed")
	attach := func(p *place) {
		route := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: from.team, Name: "nomad"}}
		namespace := gatewayv1.Namespace(p.gateway.Namespace)
		edit(from, route, func(r *gatewayv1.HTTPRoute) { r.Spec.ParentRefs[0].Namespace = &namespace })
	}
	attach(to)
	from.awaitConfig(patience, "servers: []")
	to.awaitConfig(patience, "from-team/nomad")
	attached := func(p *place) func() bool {
		return func() bool {
			s := from.awaitStatus(patience, "nomad", "Accepted=True/Accepted", "Programmed=True/Programmed")
			return strings.Contains(fmt.Sprint(s.Status.Conditions), `Gateway "`+p.gateway.String())
		}
	}
	await(t, patience, func() string { return "the other gateway's words" }, attached(to))
	attach(from)
	to.awaitConfig(patience, "servers: []")
	from.awaitConfig(patience, "from-team/nomad")
	await(t, patience, func() string { return "this gateway's words" }, attached(from))
}

// A thousand objects at once are a handful of translations.
func testBurst(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "burst")
	p.create(p.service("a")...)
	r := p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	r.reset()
	const objects = 300
	began := time.Now()
	for i := range objects {
		p.create(p.server(fmt.Sprintf("s-%03d", i), "a", fmt.Sprintf("s%03d_", i)))
	}
	took := time.Since(began)
	p.awaitConfig(patience, fmt.Sprintf("burst-team/s-%03d\n", objects-1))
	for i := range objects {
		p.awaitStatus(patience, fmt.Sprintf("s-%03d", i), "Programmed=True/Programmed")
	}
	writes := r.all()["PATCH configmaps"]
	assert.LessOrEqual(t, writes, 2*(int(took/time.Second)+4), "two objects in each second, and the last ones; they took %v", took)
	assert.Equal(t, objects, r.statuses(p.team), "each status is written once")
	t.Logf("%d objects in %v: %v", objects, took, r.all())
}

func testTooLarge(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "large")
	p.create(p.service("a")...)
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	p.create(p.server("small", "a", "s_"))
	p.awaitConfig(patience, "large-team/small")
	p.awaitStatus(patience, "small", "Programmed=True/Programmed")
	before := p.config()
	for i := range 6 {
		server := p.server(fmt.Sprintf("large-%d", i), "a", "")
		for h := range 28 {
			server.Spec.Headers = append(server.Spec.Headers, v1alpha1.Header{Name: v1alpha1.HeaderName(fmt.Sprintf("X-Large-%d", h)), Value: strings.Repeat("x", 8000)})
		}
		p.create(server)
	}
	last := p.awaitStatus(patience, "large-5", "Accepted=True/Accepted", "Programmed=False/TooLarge", "Ready=False/TooLarge")
	assert.Contains(t, fmt.Sprint(last.Status.Conditions), "has grown too large")
	assert.Contains(t, p.config(), "large-team/small", "Invariant 8")
	assert.NotContains(t, p.config(), "large-team/large-5")
	p.awaitStatus(patience, "small", "Programmed=True/Programmed")
	await(t, patience, func() string { return "the event TooLarge of the Gateway" }, func() bool {
		return strings.Contains(p.events(p.gateway.Namespace), "Gateway/mcp Warning TooLarge")
	})
	for i := range 6 {
		require.NoError(t, p.Delete(t.Context(), &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: fmt.Sprintf("large-%d", i)}}))
	}
	await(t, patience, func() string { return "the configuration as it was" }, func() bool { return p.config() == before })
}

// What is changed by hand is undone.
func testRepair(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "repair")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	server := p.register("a")
	p.awaitConfig(patience, "repair-team/a")
	p.awaitStatus(patience, "a", "Programmed=True/Programmed")
	written := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.gateway.Output, Name: controller.ConfigName}}
	edit(p, written, func(m *corev1.ConfigMap) { m.Data[controller.ConfigKey] = "servers: []\n" })
	p.awaitConfig(patience, "repair-team/a")
	require.NoError(t, p.Delete(t.Context(), written))
	p.awaitConfig(patience, "repair-team/a")
	require.NoError(t, p.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.gateway.Output, Name: controller.CredentialsName}}))
	await(t, patience, func() string { return "the Secret to be there again" }, func() bool {
		return p.Get(t.Context(), types.NamespacedName{Namespace: p.gateway.Output, Name: controller.CredentialsName}, &corev1.Secret{}) == nil
	})
	require.NoError(t, p.Get(t.Context(), client.ObjectKeyFromObject(server), server))
	meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionAccepted).Message = "by hand"
	server.Status.Endpoint = "http://elsewhere"
	require.NoError(t, p.Status().Update(t.Context(), server))
	await(t, patience, func() string { return "the status as it was" }, func() bool {
		s := p.awaitStatus(patience, "a", "Programmed=True/Programmed")
		return strings.HasPrefix(s.Status.Endpoint, "http://a.") && !strings.Contains(fmt.Sprint(s.Status.Conditions), "by hand")
	})
}

// events are those of a namespace, one a line.
func (p *place) events(namespace string) string {
	p.t.Helper()
	var list eventsv1.EventList
	require.NoError(p.t, p.List(p.t.Context(), &list, client.InNamespace(namespace)))
	var b strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&b, "%s/%s %s %s: %s\n", e.Regarding.Kind, e.Regarding.Name, e.Type, e.Reason, e.Note)
	}
	return b.String()
}

func testEvents(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "events")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	server := p.server("a", "a", "a_")
	p.create(server)
	p.awaitStatus(patience, "a", "ResolvedRefs=False/TargetNotFound")
	said := ""
	for _, want := range []string{"MCPServer/a Warning TargetNotFound: ResolvedRefs: The HTTPRoute \"events-team/a\" does not exist", "MCPServer/a Normal Programmed: Programmed: "} {
		await(t, patience, func() string { return want + "; there are\n" + said }, func() bool {
			said = p.events(p.team)
			return strings.Contains(said, want)
		})
		if strings.Contains(want, "Warning") {
			p.create(p.service("a")...)
		}
	}
}

// A controller that starts where all is well writes nothing, and neither does one that runs.
func testRestart(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "restart")
	elected := func(o *controller.Options) { o.LeaderElection, o.LeaseNamespace = true, p.gateway.Output }
	first := p.start(cluster.Config, elected)
	p.awaitConfig(patience, "servers: []")
	p.register("a")
	broken := p.server("b", "nowhere", "")
	broken.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: "nowhere"}
	p.create(broken, &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "virtual"}, Spec: v1alpha1.MCPVirtualServerSpec{Tools: []v1alpha1.Glob{"a_*"}}})
	p.awaitStatus(patience, "a", "Programmed=True/Programmed")
	p.awaitStatus(patience, "b", "Programmed=False/NotUsable")
	virtual := &v1alpha1.MCPVirtualServer{}
	await(t, patience, func() string { return "the status of the virtual server" }, func() bool {
		require.NoError(t, p.Get(t.Context(), types.NamespacedName{Namespace: p.team, Name: "virtual"}, virtual))
		return virtual.Status.Path == "/mcp/virtual"
	})
	first.Stop(t)

	second := p.start(cluster.Config, elected)
	p.create(p.server("marker", "a", "m_")) // when this is through, all was looked at
	p.awaitConfig(patience, "restart-team/marker")
	p.awaitStatus(patience, "marker", "Programmed=True/Programmed")
	all := second.all()
	assert.Equal(t, 1, second.statuses(p.team), "the marker's alone: %v", all)
	assert.Zero(t, all["PATCH mcpvirtualservers/status"])
	assert.Equal(t, 1, all["PATCH configmaps"]-1, "the configuration and the digest of the certificates")
	assert.Equal(t, 1, all["PATCH secrets"], "the digest")
	second.Stop(t)

	third := p.start(cluster.Config, elected)
	await(t, patience, func() string { return "the third controller to look" }, func() bool { return third.all()["GET mcpservers"] > 0 })
	p.idle(third)
	assert.Zero(t, third.statuses(p.team))
	assert.Zero(t, third.all()["PATCH configmaps"]+third.all()["PATCH secrets"], "%v", third.all())
}

// idle waits until a controller asks for nothing more.
func (p *place) idle(r *running) {
	p.t.Helper()
	last, since := "", time.Now()
	await(p.t, patience, func() string { return "the controller to be idle" }, func() bool {
		all := r.all()
		for what := range all {
			if strings.HasSuffix(what, "leases") {
				delete(all, what)
			}
		}
		if now := fmt.Sprint(all); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond
	})
}

func testAPIServerRestart(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "again")
	r := p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	p.register("before")
	before := p.awaitStatus(patience, "before", "Programmed=True/Programmed")
	cluster.StopAPIServer(t)
	cluster.StartAPIServer(t)
	r.reset()
	p.register("after")
	p.awaitConfig(patience, "again-team/before", "again-team/after")
	p.awaitStatus(patience, "after", "Programmed=True/Programmed")
	after := p.awaitStatus(patience, "before", "Programmed=True/Programmed")
	assert.Equal(t, before.ResourceVersion, after.ResourceVersion, "what was there before is not written again: %v", r.all())
}

func TestCheck(t *testing.T) {
	g := func(text string) controller.Gateway {
		out, err := controller.ParseGateway(text, "mcp-system")
		require.NoError(t, err)
		return out
	}
	for name, test := range map[string]struct {
		options controller.Options
		want    string
	}{
		"none":          {controller.Options{}, "no Gateway is named"},
		"twice":         {controller.Options{Gateways: []controller.Gateway{g("a/b"), g("a/b=other")}}, `the Gateway "a/b" is named twice`},
		"one namespace": {controller.Options{Gateways: []controller.Gateway{g("a/b"), g("a/c")}}, `the Gateways "a/b" and "a/c" have one namespace "mcp-system" for their brokers: give each its own, as in a/c=NAMESPACE`},
		"a namespace":   {controller.Options{Gateways: []controller.Gateway{g("a/b")}, Namespaces: []string{"A"}}, `"A" is not the name of a namespace`},
	} {
		t.Run(name, func(t *testing.T) { assert.EqualError(t, test.options.Check(), test.want) })
	}
	for _, text := range []string{"mcp", "a/B", "/b", "a/", "a/b=", "a/b=C", ""} {
		_, err := controller.ParseGateway(text, "mcp-system")
		require.Error(t, err, text)
	}
	assert.NoError(t, errors.Join((&controller.Options{Gateways: []controller.Gateway{g("a/b"), g("a/c=other")}}).Check()))
}
