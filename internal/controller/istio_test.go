package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// envoyFilters is the kind as Istio defines it, without its rules.
const envoyFilters = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: envoyfilters.networking.istio.io}
spec:
  group: networking.istio.io
  names: {kind: EnvoyFilter, listKind: EnvoyFilterList, plural: envoyfilters, singular: envoyfilter}
  scope: Namespaced
  versions:
  - name: v1alpha3
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func testWiring() *controller.Istio {
	return &controller.Istio{Service: "mcp-gateway", RouterPort: 50051, BrokerPort: 8080}
}

// installIstio makes the kind known to the cluster, until the test ends and its controllers with it.
func (p *place) installIstio(t *testing.T) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(envoyFilters), crd))
	last := ""
	await(t, patience, func() string { return "the kind of before to be gone: " + last }, func() bool {
		err := p.Create(t.Context(), crd.DeepCopy())
		last = fmt.Sprint(err)
		return err == nil
	})
	t.Cleanup(func() { assert.NoError(t, p.Delete(context.WithoutCancel(t.Context()), crd)) })
}

func newFilter(namespace, name string) *unstructured.Unstructured {
	filter := &unstructured.Unstructured{}
	filter.SetAPIVersion("networking.istio.io/v1alpha3")
	filter.SetKind("EnvoyFilter")
	filter.SetNamespace(namespace)
	filter.SetName(name)
	return filter
}

// testIstio is about the EnvoyFilters of a gateway. What they mean to Envoy is the matter of e2e/cluster/istio.
func testIstio(t *testing.T, cluster *k8stest.Cluster) {
	p := newPlace(t, cluster, "istio")
	r := p.start(cluster.Config, func(o *controller.Options) {
		o.Istio = testWiring()
	})
	p.awaitConfig(patience, "servers: []")
	p.installIstio(t)

	// Istio may be installed later than we are.
	p.awaitFilter(patience, "mcp-mcp-endpoint", `"configPatches":[]`)
	p.awaitFilter(patience, "mcp-mcp-servers", `"configPatches":[]`)
	owners := p.filter("mcp-mcp-servers").GetOwnerReferences()
	require.Len(t, owners, 1)
	assert.Equal(t, []string{"Namespace", p.gateway.Output}, []string{owners[0].Kind, owners[0].Name}, "nobody else deletes them when the broker is uninstalled")

	p.register("weather")
	p.awaitFilter(patience, "mcp-mcp-servers", `"domainName":"*"`, "mcp-gateway-closed")
	objects := p.service("calc")
	objects[1].(*gatewayv1.HTTPRoute).Spec.Hostnames = []gatewayv1.Hostname{"calc.example.com"}
	p.create(objects...)
	p.create(p.server("calc", "calc", "calc_"))
	p.awaitFilter(patience, "mcp-mcp-servers", `"domainName":"calc.example.com"`)

	route := p.service("mcp-gateway")[1].(*gatewayv1.HTTPRoute)
	route.Namespace, route.Spec.Hostnames = p.gateway.Output, []gatewayv1.Hostname{"mcp.example.com"}
	p.create(route)
	p.awaitFilter(patience, "mcp-mcp-endpoint", `"domainName":"mcp.example.com"`, "outbound|50051||mcp-gateway.istio-broker.svc.cluster.local", `"priority":1000000`, `"name":"mcp"`)

	// What somebody else changes is undone, and where nothing is changed nothing is written.
	filter := p.filter("mcp-mcp-servers")
	require.NoError(t, unstructured.SetNestedSlice(filter.Object, nil, "spec", "configPatches"))
	require.NoError(t, p.Update(t.Context(), filter))
	p.awaitFilter(patience, "mcp-mcp-servers", "calc.example.com")
	require.NoError(t, p.Delete(t.Context(), p.filter("mcp-mcp-endpoint")))
	p.awaitFilter(patience, "mcp-mcp-endpoint", "mcp.example.com")
	p.idle(r)
	r.reset()
	edit(p, &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "calc"}}, func(s *v1alpha1.MCPServer) { s.Spec.ToolPrefix = "c_" })
	p.awaitConfig(patience, "toolPrefix: c_")
	p.idle(r)
	assert.Zero(t, r.all()["PATCH envoyfilters"], "%v", r.all())
	r.Stop(t)

	// Nor is anything written by the one that comes next.
	next := p.start(cluster.Config, func(o *controller.Options) {
		o.Istio = testWiring()
	})
	p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "unrelated"}})
	edit(p, &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "calc"}}, func(s *v1alpha1.MCPServer) { s.Spec.ToolPrefix = "calc_" })
	p.awaitConfig(patience, "toolPrefix: calc_")
	p.idle(next)
	assert.Zero(t, next.all()["PATCH envoyfilters"], "%v", next.all())

	require.NoError(t, p.Delete(t.Context(), route))
	p.awaitFilter(patience, "mcp-mcp-endpoint", `"configPatches":[]`)
	p.awaitFilter(patience, "mcp-mcp-servers", "calc.example.com")
	next.Stop(t) // before the kind goes away
}

// filter is an EnvoyFilter in the Gateway's namespace, nil if there is none.
func (p *place) filter(name string) *unstructured.Unstructured {
	p.t.Helper()
	filter := newFilter(p.gateway.Namespace, name)
	err := p.Get(p.t.Context(), types.NamespacedName{Namespace: p.gateway.Namespace, Name: name}, filter)
	if apierrors.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "no matches for kind") {
		return nil
	}
	require.NoError(p.t, err)
	return filter
}

// awaitFilter waits until an EnvoyFilter has these words.
func (p *place) awaitFilter(within time.Duration, name string, words ...string) {
	p.t.Helper()
	text := ""
	await(p.t, within, func() string {
		return "the EnvoyFilter " + name + " to have " + strings.Join(words, ", ") + ":\n" + text
	}, func() bool {
		filter := p.filter(name)
		if filter == nil {
			return false
		}
		raw, err := json.Marshal(filter.Object["spec"])
		require.NoError(p.t, err)
		text = string(raw)
		for _, word := range words {
			if !strings.Contains(text, word) {
				return false
			}
		}
		return true
	})
}
