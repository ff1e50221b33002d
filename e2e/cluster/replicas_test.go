package cluster_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// Two brokers that share sessions. Both are replaced, one after the other, and then one pod is deleted, while clients with sessions call without a pause: no
// call fails. One that is killed takes with it what is under way there, which is told clearly, and no session. A store that comes back empty takes none either.
func TestReplicasAreReplaced(t *testing.T) {
	w := newWorld(t)
	w.shareSessions(t)
	clients := []*testbed.Client{w.newClient(t), w.newClient(t), w.newClient(t)}
	for _, client := range clients {
		w.worksFor(t, client, w.forecast())
	}
	before := w.pods(t, brokerDeployment)
	require.Len(t, before, 2)

	outcomes := w.during(t, clients, func() {
		w.kubectl(t, "-n", installNamespace, "rollout", "restart", "deployment/"+brokerDeployment)
		w.rollout(t, installNamespace, brokerDeployment)
		w.areGone(t, before)
		deleted := w.pods(t, brokerDeployment)[:1]
		w.kubectl(t, "-n", installNamespace, "delete", "pod", deleted[0], "--wait=false")
		w.areGone(t, deleted)
		w.rollout(t, installNamespace, brokerDeployment)
	})
	assert.Len(t, outcomes, 1, "nothing but answers: %v", outcomes)
	assert.NotSubset(t, before, w.pods(t, brokerDeployment))

	outcomes = w.during(t, clients, func() {
		w.kill(t, installNamespace, w.pods(t, brokerDeployment)[0])
		w.rollout(t, installNamespace, brokerDeployment)
	})
	for outcome, n := range outcomes {
		if outcome != "ok" {
			assert.Regexp(t, `^error 50[0-9]$`, outcome, "%d ×", n)
		}
	}
	w.kill(t, w.ns, "--selector=app=redis")
	w.rollout(t, w.ns, "redis")
	for _, client := range clients {
		w.worksFor(t, client, w.forecast())
	}
	w.kubectl(t, "-n", installNamespace, "rollout", "restart", "deployment/"+brokerDeployment)
	w.rollout(t, installNamespace, brokerDeployment)
	for _, client := range clients {
		w.worksFor(t, client, w.forecast())
	}
}

// shareSessions has the gateway have two brokers and a store, for as long as the test runs.
func (w *world) shareSessions(t testing.TB) {
	t.Helper()
	const password, variable = "of-this-test", "MCP_GATEWAY_STORE_URL"
	w.apply(t, "redis.yaml", "PASSWORD="+password)
	w.rollout(t, w.ns, "redis")
	t.Cleanup(func() {
		w.cleanly(t, "-n", installNamespace, "set", "env", "deployment/"+brokerDeployment, variable+"-")
		w.cleanly(t, "-n", installNamespace, "rollout", "status", "deployment/"+brokerDeployment, "--timeout="+patience.String())
	})
	alone := w.pods(t, brokerDeployment)
	w.kubectl(t, "-n", installNamespace, "set", "env", "deployment/"+brokerDeployment, variable+"=redis://:"+password+"@redis."+w.ns+":6379")
	w.twice(t, brokerDeployment)
	w.areGone(t, alone) // until then it serves, and knows no session of the others
}

// areGone waits until pods have ended, and not only until they were told to.
func (w *world) areGone(t testing.TB, pods []string) {
	t.Helper()
	for _, pod := range pods {
		w.kubectl(t, "-n", installNamespace, "wait", "--for=delete", "pod/"+pod, "--timeout="+patience.String())
	}
}

// during has clients call while something is done, and counts what becomes of their calls.
func (w *world) during(t testing.TB, clients []*testbed.Client, something func()) map[string]int {
	t.Helper()
	var (
		stop     = make(chan struct{})
		wait     sync.WaitGroup
		mu       sync.Mutex
		outcomes = map[string]int{}
	)
	for _, client := range clients {
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond): // it shall not be the machine that is tested
				}
				a, err := w.call(t, client, []string{w.forecast(), w.clock()}[n%2])
				var outcome string
				switch {
				case err != nil:
					outcome = err.Error()
				case a.Status == http.StatusOK && strings.Contains(a.Body, `"result"`):
					outcome = "ok"
				case strings.Contains(a.Body, `"error":{"code":-32603`):
					outcome = fmt.Sprint("error ", a.Status)
				default:
					outcome = a.String()
				}
				mu.Lock()
				outcomes[outcome]++
				mu.Unlock()
			}
		})
	}
	func() {
		defer wait.Wait()
		defer close(stop) // even if the test fails meanwhile
		something()
	}()
	t.Logf("outcomes: %v", outcomes)
	require.Greater(t, outcomes["ok"], 10*len(clients))
	return outcomes
}
