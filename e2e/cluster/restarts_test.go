package cluster_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Without a controller everything goes on as it was. What is changed meanwhile is found by the next one.
func TestControllerRestarts(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())
	w.scale(t, installNamespace, controllerDeployment, 0)
	w.worksAtOnce(t, w.forecast(), w.clock())
	late := w.newClient(t)
	w.worksFor(t, late, w.forecast())

	w.patch(t, "mcpserver/time", `{"spec":{"enabled":false}}`)
	w.run(t, "delete", "mcpserver", "weather")
	w.apply(t, "route.yaml", "NAME=renamed", "ROUTE_NAMESPACE="+w.ns)
	w.apply(t, "renamed.yaml")
	assert.Equal(t, allTools(w.ns+"_"), w.tools(t, w.client), "nobody has told the gateway")
	w.worksAtOnce(t, w.clock())

	w.scale(t, installNamespace, controllerDeployment, 1)
	w.isNot(t, "Ready", "time", "Disabled")
	w.isReady(t, "renamed")
	w.lists(t, []string{w.ns + "_renamed_get_alerts", w.ns + "_renamed_get_forecast", w.ns + "_renamed_watch_storm"})
	w.works(t, w.ns+"_renamed_get_forecast")
	w.fails(t, w.clock(), -32602)
}

// Without router and broker nothing passes: neither to the servers nor anywhere else, and clients are told so in JSON-RPC (Invariants 3 and 7). With the next
// pod all goes on; sessions are kept in memory, so that clients are asked to begin new ones.
func TestBrokerRestarts(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.forecast())
	transition := w.condition(t, "weather", "Ready").LastTransitionTime
	w.kill(t, installNamespace, w.pods(t, brokerDeployment)...)
	for back := false; !back; {
		a, err := w.call(t, w.client, w.forecast())
		require.NoError(t, err)
		if a.Status == http.StatusOK {
			a.Result(t) // the old one has not ended yet
			continue
		}
		fault := a.Error(t)
		back = a.Status == http.StatusNotFound
		if !back {
			assert.Contains(t, []int{http.StatusBadGateway, http.StatusServiceUnavailable}, a.Status, a)
			assert.Equal(t, -32603, fault.Code, a)
		}
	}
	w.client = w.newClient(t)
	w.works(t, w.forecast())

	w.scale(t, installNamespace, brokerDeployment, 0)
	await(t, "calls to be refused", func() (string, bool) {
		a, err := w.call(t, w.client, w.forecast())
		require.NoError(t, err)
		return a.String(), a.Status == http.StatusServiceUnavailable && a.Error(t).Code == -32603
	})
	past := w.client.Do(t, http.MethodPost, strings.NewReader("{}"), "Host", "weather."+w.ns+".mcp.local")
	assert.Equal(t, http.StatusNotFound, past.Status, past)
	w.run(t, "delete", "mcpserver", "time")
	w.scale(t, installNamespace, brokerDeployment, 1)
	await(t, "a new session", func() (string, bool) {
		a, err := w.call(t, w.client, w.forecast())
		return seen(a, err), err == nil && a.Status == http.StatusNotFound
	})
	w.client = w.newClient(t)
	w.works(t, w.forecast())
	w.lists(t, weatherTools(w.ns+"_"))
	w.isReady(t, "weather")
	assert.Equal(t, transition, w.condition(t, "weather", "Ready").LastTransitionTime, "the server itself was never unready")
}

// Of two controllers and two brokers one each works, and the other takes its place when it is killed, once the Lease has run out. The death of a controller
// is nothing to clients.
func TestLeadersAreKilled(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())
	leases := map[string]string{"mcp-gateway-controller": controllerDeployment, "mcp-gateway-broker": brokerDeployment}
	before := map[string]string{}
	kill := func(lease string) {
		before[lease] = w.leader(t, lease)
		require.Contains(t, w.pods(t, leases[lease]), before[lease])
		w.kill(t, installNamespace, before[lease])
	}
	w.twice(t, controllerDeployment)
	kill("mcp-gateway-controller")
	w.worksAtOnce(t, w.forecast(), w.clock())
	w.twice(t, brokerDeployment)
	kill("mcp-gateway-broker")
	w.patch(t, "mcpserver/time", `{"spec":{"enabled":false}}`)
	w.scale(t, w.ns, "weather", 0)
	w.isNot(t, "Ready", "time", "Disabled")
	w.isNot(t, "Ready", "weather", "Unreachable")
	for lease, deployment := range leases {
		assert.NotEqual(t, before[lease], w.leader(t, lease))
		assert.Contains(t, w.pods(t, deployment), w.leader(t, lease))
	}
}

// twice has a deployment of ours have two pods for as long as the test runs.
func (w *world) twice(t testing.TB, deployment string) {
	t.Helper()
	w.scale(t, installNamespace, deployment, 2)
	t.Cleanup(func() {
		w.cleanly(t, "-n", installNamespace, "scale", "deployment/"+deployment, "--replicas=1")
		w.cleanly(t, "-n", installNamespace, "rollout", "status", "deployment/"+deployment, "--timeout="+patience.String())
		// The one that ends serves until it has, and learns of what the next test makes a moment later than the other.
		for left := patience; ; left -= time.Second {
			names, err := w.try(context.Background(), "", "kubectl", "-n", installNamespace, "get", "pods", "-l", "app.kubernetes.io/name="+deployment, "-o", "name")
			if err == nil && len(strings.Fields(names)) == 1 {
				return
			}
			if left <= 0 {
				t.Errorf("waited in vain for one pod of %s alone: %s (%v)", deployment, names, err)
				return
			}
			time.Sleep(time.Second)
		}
	})
}

// leader is the pod that holds a Lease.
func (w *world) leader(t testing.TB, lease string) string {
	t.Helper()
	holder := w.kubectl(t, "-n", installNamespace, "get", "lease", lease, "-o", "jsonpath={.spec.holderIdentity}")
	pod, _, _ := strings.Cut(holder, "_")
	return pod
}

// The Gateway's own pod is killed: sessions are not its matter.
func TestEnvoyRestarts(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast())
	w.kill(t, gatewayNamespace, "--selector=gateway.networking.k8s.io/gateway-name=mcp-gateway")
	w.rollout(t, gatewayNamespace, envoyDeployment)
	w.client.HTTP.CloseIdleConnections() // they lead to the old one
	w.works(t, w.forecast())
	w.worksAtOnce(t, w.forecast(), w.clock())
	past := w.client.Do(t, http.MethodPost, strings.NewReader("{}"), "Host", "weather."+w.ns+".mcp.local")
	assert.Equal(t, http.StatusNotFound, past.Status, past)
}

// Without an API server traffic goes on, for clients old and new, and whatever happens to the servers. What is changed after it is back is followed, and
// nothing else has changed.
func TestAPIServerRestarts(t *testing.T) {
	w := newWorld(t)
	w.worksAtOnce(t, w.forecast(), w.clock())
	transition := w.condition(t, "weather", "Ready").LastTransitionTime
	w.restart(t, "kube-apiserver", func() {
		_, err := w.try(t.Context(), "", "kubectl", "get", "--raw", "/readyz")
		require.Error(t, err)
		w.worksAtOnce(t, w.forecast(), w.clock())
		late := w.newClient(t)
		assert.Equal(t, allTools(w.ns+"_"), w.tools(t, late))
		assert.Contains(t, late.Call(t, w.forecast(), `{"city":"Lisbon"}`).Text(t), "Lisbon")
	})
	w.worksAtOnce(t, w.forecast(), w.clock())
	w.patch(t, "mcpserver/time", `{"spec":{"enabled":false}}`)
	w.isNot(t, "Ready", "time", "Disabled")
	w.lists(t, weatherTools(w.ns+"_"))
	w.isReady(t, "weather")
	assert.Equal(t, transition, w.condition(t, "weather", "Ready").LastTransitionTime, "the other server was never unready")
	w.worksAtOnce(t, w.forecast())
}
