package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// patience is for what takes as long as the machine is busy. How soon a change is live on one that is not, TestScale tells.
const patience = 2 * time.Minute

// place is one gateway with the namespaces that belong to it.
type place struct {
	t       *testing.T
	cluster *k8stest.Cluster
	client.Client
	gateway controller.Gateway
	// team is where its servers are.
	team string
}

// newPlace makes the namespaces name, name-broker and name-team, and a Gateway in the first one.
func newPlace(t *testing.T, cluster *k8stest.Cluster, name string) *place {
	t.Helper()
	p := &place{
		t: t, cluster: cluster, Client: cluster.Client,
		gateway: controller.Gateway{Namespace: name, Name: "mcp", Output: name + "-broker"}, team: name + "-team",
	}
	for _, namespace := range []string{p.gateway.Namespace, p.gateway.Output, p.team} {
		p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	all := gatewayv1.NamespacesFromAll
	p.create(&gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: p.gateway.Name},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: "test", Listeners: []gatewayv1.Listener{{
			Name: "mcp", Port: 80, Protocol: gatewayv1.HTTPProtocolType,
			AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &all}},
		}}},
	})
	return p
}

func (p *place) create(objects ...client.Object) {
	p.t.Helper()
	for _, o := range objects {
		require.NoError(p.t, p.Create(p.t.Context(), o), "%T %s", o, o.GetName())
	}
}

// service is a Service and a route of one name that leads to its port 8080.
func (p *place) service(name string) []client.Object {
	namespace, port := gatewayv1.Namespace(p.gateway.Namespace), gatewayv1.PortNumber(8080)
	return []client.Object{
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8080}}},
		},
		&gatewayv1.HTTPRoute{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: name},
			Spec: gatewayv1.HTTPRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Namespace: &namespace, Name: gatewayv1.ObjectName(p.gateway.Name)}}},
				Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(name), Port: &port},
				}}}}},
			},
		},
	}
}

func (p *place) server(name, route, prefix string) *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: name},
		Spec:       v1alpha1.MCPServerSpec{ToolPrefix: prefix, TargetRef: v1alpha1.TargetReference{Name: v1alpha1.ObjectName(route)}},
	}
}

// register makes a server with everything that it needs.
func (p *place) register(name string) *v1alpha1.MCPServer {
	p.t.Helper()
	p.create(p.service(name)...)
	server := p.server(name, name, name+"_")
	p.create(server)
	return server
}

// edit changes an object as a user does, who tries again when somebody else was faster.
func edit[T client.Object](p *place, object T, change func(T)) {
	p.t.Helper()
	for {
		require.NoError(p.t, p.Get(p.t.Context(), client.ObjectKeyFromObject(object), object))
		change(object)
		err := p.Update(p.t.Context(), object)
		if !apierrors.IsConflict(err) {
			require.NoError(p.t, err)
			return
		}
	}
}

// config is the configuration as it is written; empty if there is none.
func (p *place) config() string {
	p.t.Helper()
	var m corev1.ConfigMap
	err := p.Get(p.t.Context(), types.NamespacedName{Namespace: p.gateway.Output, Name: controller.ConfigName}, &m)
	if apierrors.IsNotFound(err) {
		return ""
	}
	require.NoError(p.t, err)
	return m.Data[controller.ConfigKey]
}

func (p *place) secret(namespace, name string) map[string]string {
	p.t.Helper()
	var s corev1.Secret
	require.NoError(p.t, p.Get(p.t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, &s))
	out := map[string]string{}
	for key, value := range s.Data {
		out[key] = string(value)
	}
	return out
}

func (p *place) credentials() map[string]string {
	p.t.Helper()
	return p.secret(p.gateway.Output, controller.CredentialsName)
}

// awaitConfig waits until the configuration has some texts and has not others, which begin with "!".
func (p *place) awaitConfig(limit time.Duration, texts ...string) {
	p.t.Helper()
	last := ""
	await(p.t, limit, func() string { return fmt.Sprintf("the configuration to have %q; it is\n%s", texts, last) }, func() bool {
		last = p.config()
		return last != "" && !slices.ContainsFunc(texts, func(text string) bool {
			unwanted, not := strings.CutPrefix(text, "!")
			return strings.Contains(last, unwanted) == not
		})
	})
}

// status is an MCPServer's conditions as "Type=Status/Reason", in order of their types.
func status(conditions []metav1.Condition) string {
	var list []string
	for _, c := range conditions {
		list = append(list, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// awaitStatus waits for conditions of an MCPServer, each as "Type=Status/Reason", that are of its newest generation.
func (p *place) awaitStatus(limit time.Duration, name string, want ...string) *v1alpha1.MCPServer {
	p.t.Helper()
	s := &v1alpha1.MCPServer{}
	await(p.t, limit, func() string { return fmt.Sprintf("the status %q; it is %q", want, status(s.Status.Conditions)) }, func() bool {
		require.NoError(p.t, p.Get(p.t.Context(), types.NamespacedName{Namespace: p.team, Name: name}, s))
		if c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionAccepted); c == nil || c.ObservedGeneration != s.Generation {
			return false
		}
		is := strings.Fields(status(s.Status.Conditions))
		return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(is, w) })
	})
	return s
}

func await(t testing.TB, limit time.Duration, what func() string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v in vain for %s", limit, what())
		}
	}
}

// running is a controller that runs until Stop, or the end of the test.
type running struct {
	*traffic
	stop context.CancelFunc
	done chan error
}

// Stop ends the controller and waits for it.
func (r *running) Stop(t testing.TB) {
	t.Helper()
	r.stop()
	select {
	case err, failed := <-r.done:
		if failed && err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the controller: %v", err)
		}
	case <-time.After(patience):
		t.Error("the controller does not stop")
	}
}

// start runs a controller for a place, as the user of the given configuration.
func (p *place) start(config *rest.Config, change ...func(*controller.Options)) *running {
	p.t.Helper()
	o := controller.Options{Gateways: []controller.Gateway{p.gateway}, Logger: slog.New(slog.NewTextHandler(p.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&o)
	}
	r := &running{traffic: &traffic{counts: map[string]int{}}, done: make(chan error, 1)}
	o.Config = rest.CopyConfig(config)
	o.Config.Wrap(r.wrap)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.WithoutCancel(p.t.Context()))
	go func() {
		defer close(r.done)
		r.done <- controller.Run(ctx, o)
	}()
	p.t.Cleanup(func() { r.Stop(p.t) })
	return r
}

// traffic counts a client's requests.
type traffic struct {
	mu        sync.Mutex
	counts    map[string]int
	patched   []string // paths
	forbidden int
}

func (c *traffic) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		c.mu.Lock()
		c.counts[r.Method+" "+resource(r.URL.Path)]++
		if r.Method == http.MethodPatch {
			c.patched = append(c.patched, r.URL.Path)
		}
		c.mu.Unlock()
		answer, err := next.RoundTrip(r)
		if err == nil && answer.StatusCode == http.StatusForbidden {
			c.mu.Lock()
			c.forbidden++
			c.mu.Unlock()
		}
		return answer, err
	})
}

// refused are the requests that the API server forbade.
func (c *traffic) refused() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forbidden
}

// resource is the last plural word of a path, with the subresource.
func resource(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if i := slices.Index(parts, "namespaces"); i >= 0 && len(parts) > i+2 {
		parts = parts[i+2:]
	} else if len(parts) > 3 && parts[0] == "apis" {
		parts = parts[3:]
	} else if len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}

// writes are the requests that change something, but for leases and events.
func (c *traffic) writes() int {
	n := 0
	for what, count := range c.all() {
		if !strings.HasPrefix(what, "GET") && !strings.HasSuffix(what, "leases") && !strings.HasSuffix(what, "events") {
			n += count
		}
	}
	return n
}

func (c *traffic) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

func (c *traffic) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
	c.patched = nil
}

// statuses are how many statuses of MCPServers have been written in a namespace.
func (c *traffic) statuses(namespace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, path := range c.patched {
		if strings.Contains(path, "/namespaces/"+namespace+"/mcpservers/") && strings.HasSuffix(path, "/status") {
			n++
		}
	}
	return n
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
