package controller_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// TestScale reconciles a thousand servers from nothing, each with a route and a Secret of its own, and then one change. What it logs is what
// docs/guides/kubernetes-install.md tells.
func TestScale(t *testing.T) {
	const (
		servers  = 1000
		changes  = 5
		promised = 2 * time.Second // until a change is written
	)
	cluster := k8stest.Start(t)
	p := newPlace(t, cluster, "scale")
	p.fill(servers)
	quietly := func(o *controller.Options) { o.Logger = slog.New(slog.DiscardHandler) }

	before := heap()
	began := time.Now()
	r := p.start(cluster.Config, quietly)
	await(t, patience, func() string { return "all statuses" }, p.programmed(servers))
	cold := time.Since(began)
	p.idle(r)
	t.Logf("cold: %v (promised: 1m), heap %d KiB, requests %v", cold.Round(10*time.Millisecond), (heap()-before)>>10, r.all())
	assert.Equal(t, servers, r.all()["PATCH mcpservers/status"], "each status is written once")
	assert.LessOrEqual(t, r.all()["GET secrets"], servers+10, "each Secret is read once")
	assert.LessOrEqual(t, r.all()["PATCH configmaps"], 4)
	assert.LessOrEqual(t, r.all()["PATCH gateways/status"], 1)

	// What is promised is promised for a machine that is not busy with other tests, so that it is told here and not demanded.
	soonest := time.Hour
	for i := range changes {
		r.reset()
		prefix := fmt.Sprintf("other%d_", i)
		began = time.Now()
		edit(p, p.server("s-0500", "", ""), func(s *v1alpha1.MCPServer) { s.Spec.ToolPrefix = prefix })
		p.awaitConfig(patience, "toolPrefix: "+prefix)
		one := time.Since(began)
		soonest = min(soonest, one)
		p.awaitStatus(patience, "s-0500", "Programmed=True/Programmed")
		p.idle(r)
		t.Logf("one change: %v, requests %v, configuration %d bytes", one.Round(time.Millisecond), r.all(), len(p.config()))
		assert.LessOrEqual(t, r.writes(), 4, "the configuration, the digest on its files, one status: %v", r.all())
	}
	t.Logf("the fastest of %d changes: %v (promised: %v)", changes, soonest.Round(time.Millisecond), promised)
	assert.Less(t, soonest, 5*promised, "that is no busy machine any more")

	r.Stop(t)
	restarted := p.start(cluster.Config, quietly)
	await(t, patience, func() string { return "another controller to look" }, func() bool { return restarted.all()["GET secrets"] >= servers })
	p.idle(restarted)
	assert.Zero(t, restarted.writes(), "%v", restarted.all())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// fill makes servers with everything that they need, before any controller runs.
func (p *place) fill(servers int) {
	p.t.Helper()
	const services = 200 // there are addresses for no more than 250
	var group errgroup.Group
	group.SetLimit(8)
	for i := range servers {
		group.Go(func() error {
			name := fmt.Sprintf("s-%04d", i)
			server := p.server(name, name, fmt.Sprintf("s%04d_", i))
			server.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: v1alpha1.ObjectName(name)}
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: name}, Data: map[string][]byte{"token": []byte("token of " + name)}}
			objects := append(p.service(name), secret, server)
			if i >= services {
				objects[1].(*gatewayv1.HTTPRoute).Spec.Rules[0].BackendRefs[0].Name = gatewayv1.ObjectName(fmt.Sprintf("s-%04d", i%services))
				objects = objects[1:]
			}
			for _, o := range objects {
				if err := p.Create(p.t.Context(), o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(p.t, group.Wait())
}

// programmed tells when so many servers are in the configuration.
func (p *place) programmed(servers int) func() bool {
	return func() bool {
		var list v1alpha1.MCPServerList
		require.NoError(p.t, p.List(p.t.Context(), &list, client.InNamespace(p.team)))
		n := 0
		for i := range list.Items {
			if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionProgrammed) {
				n++
			}
		}
		return n == servers
	}
}
