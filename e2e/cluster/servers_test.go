package cluster_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A server whose pods are gone is told of in its status and by every call, keeps its tools listed, costs the other servers nothing
// (Invariant 12), and is back as soon as it has a pod.
func TestServerPodsAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())

	w.scale(t, w.ns, "weather", 0)
	message := w.isNot(t, "Ready", "weather", "Unreachable")
	assert.Contains(t, message, "Check that its pods run")
	assert.Contains(t, message, "Its tools stay listed")
	assert.Equal(t, allTools(w.ns+"_"), w.tools(t, w.client))
	assert.Contains(t, w.fails(t, w.forecast(), -32603), w.ns+"/weather", "which server is down, to a client that had a session with it")
	late := w.newClient(t)
	assert.Contains(t, late.Call(t, w.forecast(), "{}").Error(t).Message, w.ns+"/weather", "and to one that comes now")
	assert.Equal(t, allTools(w.ns+"_"), w.tools(t, late))
	w.worksAtOnce(t, w.clock())
	w.isReady(t, "time")

	w.scale(t, w.ns, "weather", 1)
	w.isReady(t, "weather")
	w.works(t, w.forecast())
	w.worksFor(t, late, w.forecast())
}

// A server whose pod is killed and replaced has forgotten all sessions. The clients keep theirs.
func TestServerPodIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	for range 2 {
		w.kill(t, w.ns, "--selector=app=weather")
		w.rollout(t, w.ns, "weather")
		w.works(t, w.forecast())
		w.isReady(t, "weather")
	}
	w.worksAtOnce(t, w.forecast(), w.clock())
}

// Of a server that is registered no more nothing is left: not in the lists, and not in what the gateway reads. The others stay.
func TestServerIsUnregistered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())
	w.run(t, "delete", "mcpserver", "weather")
	w.lists(t, clockTools(w.ns+"_"))
	w.fails(t, w.forecast(), -32602)
	w.isMentioned(t, w.ns+"/weather", false)
	w.isMentioned(t, w.ns+"/time", true)
	w.worksAtOnce(t, w.clock())

	w.run(t, "delete", "mcpserver", "time")
	w.lists(t, []string{})
	w.isMentioned(t, w.ns, false)
}

// isMentioned waits until the configuration of the gateway and of its Envoy has a text, or no longer has it.
func (w *world) isMentioned(t testing.TB, text string, wanted bool) {
	t.Helper()
	what := map[bool]string{true: "the configuration to have ", false: "the configuration to have nothing of "}[wanted]
	await(t, what+text, func() (string, bool) {
		all := w.kubectl(t, "-n", installNamespace, "get", "configmaps,secrets", "-o", "jsonpath={range .items[*]}{.data}{end}") +
			w.kubectl(t, "-n", gatewayNamespace, "get", "envoyfilters", "-o", "jsonpath={range .items[*]}{.spec}{end}")
		return all, strings.Contains(all, text) == wanted
	})
}

// Of two servers with the same names the older keeps them. The younger is told so, and has them as soon as the older is gone.
func TestNamesConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	w.apply(t, "younger.yaml")
	message := w.isNot(t, "Ready", "younger", "NameConflict")
	assert.Contains(t, message, w.forecast())
	assert.Contains(t, message, w.ns+"/weather", "who has the names")
	w.isReady(t, "weather")
	w.worksAtOnce(t, w.forecast())
	w.scale(t, w.ns, "younger", 0)
	w.worksAtOnce(t, w.forecast()) // so it was the older that answered

	w.isNot(t, "Ready", "younger", "Unreachable")
	w.run(t, "delete", "mcpserver", "weather")
	w.fails(t, w.forecast(), -32603) // now it is the younger that does not
	w.scale(t, w.ns, "younger", 1)
	w.isReady(t, "younger")
	w.works(t, w.forecast())
	w.lists(t, allTools(w.ns+"_"))
}

// The names of a server that is about to be renamed are free as soon as its prefix is another.
func TestPrefixChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	listening := w.client.Listen(t)
	w.patch(t, "mcpserver/weather", `{"spec":{"toolPrefix":"`+w.ns+`_other_"}}`)
	listening.Find(t, "notifications/tools/list_changed")
	w.works(t, w.ns+"_other_get_forecast")
	w.fails(t, w.forecast(), -32602)
	w.isReady(t, "weather")
}

// A server outside of the cluster's own network, which Istio knows by a ServiceEntry.
func TestExternalServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// What is reached at the node's address, by a name that no Service has, is as far outside as this cluster knows.
	w.run(t, "expose", "deployment", "weather", "--name=outside", "--type=NodePort", "--port=80", "--target-port=9090")
	port := w.run(t, "get", "service", "outside", "-o", "jsonpath={.spec.ports[0].nodePort}")
	w.apply(t, "external.yaml", "PORT="+port)
	tool := w.ns + "_outside_get_forecast"
	w.isReady(t, "outside")
	assert.Equal(t, "http://weather.node.test:"+port+"/mcp", w.run(t, "get", "mcpserver", "outside", "-o", "jsonpath={.status.endpoint}"))
	w.works(t, tool)
	w.worksAtOnce(t, tool, tool)

	w.run(t, "delete", "serviceentry", "outside")
	message := w.isNot(t, "ResolvedRefs", "outside", "BackendNotFound")
	assert.Contains(t, message, "weather.node.test")
	w.lists(t, allTools(w.ns+"_"))
	w.fails(t, tool, -32602)
	w.apply(t, "external.yaml", "PORT="+port)
	w.isReady(t, "outside")
	w.works(t, tool)
}
