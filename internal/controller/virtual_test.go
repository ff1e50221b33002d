package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// awaitVirtual waits for conditions of an MCPVirtualServer, as awaitStatus does.
func (p *place) awaitVirtual(name string, want ...string) *v1alpha1.MCPVirtualServer {
	p.t.Helper()
	v := &v1alpha1.MCPVirtualServer{}
	await(p.t, patience, func() string { return fmt.Sprintf("the status %q; it is %q", want, status(v.Status.Conditions)) }, func() bool {
		require.NoError(p.t, p.Get(p.t.Context(), types.NamespacedName{Namespace: p.team, Name: name}, v))
		if c := meta.FindStatusCondition(v.Status.Conditions, v1alpha1.ConditionAccepted); c == nil || c.ObservedGeneration != v.Generation {
			return false
		}
		is := strings.Fields(status(v.Status.Conditions))
		return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(is, w) })
	})
	return v
}

func testVirtual(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "virtual")
	p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	office := &v1alpha1.MCPVirtualServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "office"},
		Spec:       v1alpha1.MCPVirtualServerSpec{Description: "For the office.", Tools: []v1alpha1.Glob{"mail_*"}, Servers: []v1alpha1.ServerReference{{Name: "calendar"}}},
	}
	p.create(office)
	v := p.awaitVirtual("office", "Accepted=True/Accepted", "ResolvedRefs=False/ServerNotFound", "Programmed=True/Programmed")
	assert.Equal(t, "/mcp/office", v.Status.Path)
	p.awaitConfig(patience, "virtualServers:\n  - name: virtual-team/office\n", "- mail_*", "!- virtual-team/calendar")

	p.register("calendar")
	p.awaitConfig(patience, "    servers:\n      - virtual-team/calendar")
	p.awaitVirtual("office", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed")
	mail := p.register("mail")
	edit(p, mail, func(s *v1alpha1.MCPServer) { s.Spec.VirtualServers = []v1alpha1.Label{"office"} })
	p.awaitConfig(patience, "      - virtual-team/calendar\n      - virtual-team/mail")

	// One bad entry harms only itself: its lists are of more servers than a virtual server may have.
	many := &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "bell"}, Spec: v1alpha1.MCPVirtualServerSpec{Description: "ring\x07"}}
	p.create(many)
	bad := p.awaitVirtual("bell", "Accepted=False/Invalid", "Programmed=False/NotUsable", "Ready=False/NotUsable")
	assert.Empty(t, bad.Status.Path)
	p.awaitVirtual("office", "Programmed=True/Programmed")
	p.awaitConfig(patience, "virtual-team/office", "!virtual-team/bell")
	edit(p, many, func(v *v1alpha1.MCPVirtualServer) { v.Spec.Description = "rings" })
	p.awaitVirtual("bell", "Accepted=True/Accepted", "Programmed=True/Programmed")

	q := *p
	q.team = p.gateway.Namespace
	await(t, patience, func() string { return "a new second" }, p.nextSecond())
	q.create(&v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: q.team, Name: "office"}})
	younger := q.awaitVirtual("office", "Accepted=False/Conflict", "Ready=False/NotUsable")
	assert.Contains(t, fmt.Sprint(younger.Status.Conditions), `The older MCPVirtualServer "virtual-team/office" has the path "/mcp/office"`)
	require.NoError(t, p.Delete(t.Context(), office))
	q.awaitVirtual("office", "Accepted=True/Accepted", "Programmed=True/Programmed")
	p.awaitConfig(patience, "name: virtual/office\n", "!virtual-team/office")
}

// awaitAffected waits for what the Gateway's condition says, as the beginning of "Status/Reason: Message"; empty means that there is none.
func (p *place) awaitAffected(want string) *gatewayv1.Gateway {
	p.t.Helper()
	g, is := &gatewayv1.Gateway{}, ""
	await(p.t, patience, func() string { return "the Gateway's condition " + want + "; it is " + is }, func() bool {
		require.NoError(p.t, p.Get(p.t.Context(), types.NamespacedName{Namespace: p.gateway.Namespace, Name: p.gateway.Name}, g))
		is = ""
		if c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionMCPServerAffected); c != nil {
			is = string(c.Status) + "/" + c.Reason + ": " + c.Message
		}
		return is == want || want != "" && strings.HasPrefix(is, want)
	})
	return g
}

// What the Gateway's own controller says of it stays, and ours comes and goes with the MCPServers.
func testGatewayStatus(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "affected")
	r := p.start(cluster.Config)
	p.awaitConfig(patience, "servers: []")
	gateway := p.awaitAffected("")
	meta.SetStatusCondition(&gateway.Status.Conditions, metav1.Condition{Type: "Programmed", Status: metav1.ConditionTrue, Reason: "Programmed", Message: "by its own controller"})
	require.NoError(t, p.Status().Update(t.Context(), gateway))

	server := p.register("a")
	gateway = p.awaitAffected("True/Affected: MCPServers are attached by their HTTPRoutes.")
	assert.Equal(t, "by its own controller", meta.FindStatusCondition(gateway.Status.Conditions, "Programmed").Message)
	assert.Equal(t, gateway.Generation, meta.FindStatusCondition(gateway.Status.Conditions, v1alpha1.ConditionMCPServerAffected).ObservedGeneration)
	p.register("b")
	p.awaitStatus(patience, "b", "Programmed=True/Programmed")
	p.idle(r)
	assert.Equal(t, 1, r.all()["PATCH gateways/status"], "no write when nothing changed")
	route := &gatewayv1.HTTPRoute{}
	require.NoError(t, p.Get(t.Context(), types.NamespacedName{Namespace: p.team, Name: "a"}, route))
	assert.Empty(t, route.Status.Parents, "the entries of a route's status are not ours")

	broken := p.service("broken")
	broken[1].(*gatewayv1.HTTPRoute).Spec.Rules[0].BackendRefs = nil
	p.create(broken...)
	p.create(p.server("broken", "broken", ""))
	want := "HTTPRoute/broken Warning UnsupportedRoute: The MCPServer \"affected-team/broken\" cannot be reached by this route: "
	await(t, patience, func() string { return want + "; there are\n" + p.events(p.team) }, func() bool { return strings.Contains(p.events(p.team), want) })
	for _, name := range []string{"b", "broken"} {
		require.NoError(t, p.Delete(t.Context(), p.server(name, "", "")))
	}
	require.NoError(t, p.Delete(t.Context(), server))
	gateway = p.awaitAffected("")
	assert.Equal(t, "by its own controller", meta.FindStatusCondition(gateway.Status.Conditions, "Programmed").Message)

	// Another implementation's conditions leave no room.
	for i := range 8 {
		meta.SetStatusCondition(&gateway.Status.Conditions, metav1.Condition{Type: fmt.Sprintf("example.com/%d", i), Status: metav1.ConditionTrue, Reason: "Full"})
	}
	gateway.Status.Conditions = gateway.Status.Conditions[len(gateway.Status.Conditions)-8:]
	require.NoError(t, p.Status().Update(t.Context(), gateway))
	r.reset()
	p.register("c")
	p.awaitStatus(patience, "c", "Programmed=True/Programmed")
	p.idle(r)
	assert.Zero(t, r.all()["PATCH gateways/status"])
}

// Where the controller may not write EnvoyFilters it does everything else, and begins as soon as it may.
func testNotPermitted(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "unpermitted")
	p.installIstio(t)
	account := cluster.As("unpermitted")
	out, ok := cluster.Kubectl(t.Context(), t, fmt.Sprintf(broadly, "unpermitted", p.gateway.Namespace), "apply", "-f", "-")
	require.True(t, ok, out)
	p.start(account, func(o *controller.Options) { o.Istio = testWiring() })
	p.register("weather")
	p.awaitConfig(patience, "unpermitted-team/weather")
	p.awaitStatus(patience, "weather", "Programmed=True/Programmed")
	assert.Nil(t, p.filter("mcp-mcp-servers"))
	out, ok = cluster.Kubectl(t.Context(), t, fmt.Sprintf(filtersToo, "unpermitted", p.gateway.Namespace), "apply", "-f", "-")
	require.True(t, ok, out)
	p.awaitFilter(patience, "mcp-mcp-servers", "mcp-gateway-closed")
	p.awaitAffected("True/NoEndpoint: MCPServers are attached by their HTTPRoutes. No HTTPRoute")
}

// broadly lets a user do all that a controller does but write into the Gateway's namespace.
const broadly = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules:
  - {apiGroups: ["", "events.k8s.io", "mcp.kagenti.com"], resources: ["*"], verbs: ["*"]}
  - {apiGroups: [gateway.networking.k8s.io], resources: [gateways, httproutes, referencegrants], verbs: [list, watch]}
  - {apiGroups: [networking.istio.io], resources: [serviceentries], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
`

const filtersToo = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s, namespace: %[2]s}
rules:
  - {apiGroups: [networking.istio.io], resources: [envoyfilters], verbs: [list, watch, create, patch]}
  - {apiGroups: [gateway.networking.k8s.io], resources: [gateways/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s, namespace: %[2]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
`
