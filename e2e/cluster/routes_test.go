package cluster_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A server whose HTTPRoute is gone is out of the gateway within seconds, and back as soon as the route is.
func TestRouteIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())
	w.run(t, "delete", "httproute", "weather")
	message := w.isNot(t, "ResolvedRefs", "weather", "TargetNotFound")
	assert.Contains(t, message, w.ns+"/weather")
	w.isNot(t, "Ready", "weather", "NotUsable")
	w.lists(t, clockTools(w.ns+"_"))
	w.fails(t, w.forecast(), -32602)
	w.worksAtOnce(t, w.clock())

	w.apply(t, "servers.yaml")
	w.isReady(t, "weather")
	w.lists(t, allTools(w.ns+"_"))
	w.works(t, w.forecast())
}

// A server whose HTTPRoute has another name, and then another namespace, follows it.
func TestRouteMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	// The new route is there before the old one goes, as who renames one would do it: no call is lost.
	w.apply(t, "route.yaml", "NAME=renamed", "ROUTE_NAMESPACE="+w.ns)
	w.patch(t, "mcpserver/weather", `{"spec":{"targetRef":{"name":"renamed"}}}`)
	w.run(t, "delete", "httproute", "weather")
	w.followed(t, "weather")
	w.worksAtOnce(t, w.forecast(), w.forecast())

	elsewhere := w.namespace(t)
	w.apply(t, "route.yaml", "NAME=moved", "ROUTE_NAMESPACE="+elsewhere)
	w.patch(t, "mcpserver/weather", `{"spec":{"targetRef":{"name":"moved","namespace":"`+elsewhere+`"}}}`)
	message := w.isNot(t, "ResolvedRefs", "weather", "RefNotPermitted")
	assert.Contains(t, message, "ReferenceGrant")
	w.lists(t, clockTools(w.ns+"_"))

	w.apply(t, "grants.yaml", "ROUTE_NAMESPACE="+elsewhere)
	w.isReady(t, "weather")
	w.works(t, w.forecast())
	w.lists(t, allTools(w.ns+"_"))
	w.kubectl(t, "-n", elsewhere, "delete", "referencegrant", "servers")
	w.isNot(t, "ResolvedRefs", "weather", "RefNotPermitted")
	w.fails(t, w.forecast(), -32602)
}

// followed waits until the status of a server is about the object as it is now, and all is well.
func (w *world) followed(t testing.TB, server string) {
	t.Helper()
	await(t, "the status to be of the newest generation", func() (string, bool) {
		generation := w.run(t, "get", "mcpserver", server, "-o", `jsonpath={.metadata.generation} {.status.conditions[?(@.type=='Ready')].observedGeneration}`)
		var want, is string
		for i := range generation {
			if generation[i] == ' ' {
				want, is = generation[:i], generation[i+1:]
			}
		}
		return generation, want == is
	})
	w.isReady(t, server)
}

// A Service whose port is another leads nowhere until the HTTPRoute has that port too.
func TestServicePortChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	w.patch(t, "service/weather", `{"spec":{"ports":[{"name":"http","port":8080,"targetPort":9090}]}}`)
	message := w.isNot(t, "ResolvedRefs", "weather", "BackendNotFound")
	assert.Contains(t, message, "80")
	w.lists(t, clockTools(w.ns+"_"))
	w.patch(t, "httproute/weather", `{"spec":{"rules":[{"backendRefs":[{"name":"weather","port":8080}]}]}}`)
	w.isReady(t, "weather")
	w.works(t, w.forecast())
	w.worksAtOnce(t, w.forecast())
	assert.Equal(t, "http://weather."+w.ns+".svc.cluster.local:8080/mcp", w.run(t, "get", "mcpserver", "weather", "-o", "jsonpath={.status.endpoint}"))

	w.run(t, "delete", "service", "weather")
	w.isNot(t, "ResolvedRefs", "weather", "BackendNotFound")
	w.lists(t, clockTools(w.ns+"_"))
}
