package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/admin"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

// serviceEntries is as much of Istio as it takes to lead to a server on this machine.
const serviceEntries = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: serviceentries.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: ServiceEntry, plural: serviceentries, singular: serviceentry, listKind: ServiceEntryList}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

const inTheCluster = `
apiVersion: v1
kind: Namespace
metadata: {name: gateway-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: mcp-gateway, namespace: gateway-system}
spec:
  gatewayClassName: test
  listeners:
    - {name: mcp, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
`

// toServer is the way to a server on this machine: %[1]s is its name, %[2]s its address, %[3]s its port.
const toServer = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %[1]s, namespace: team}
spec:
  hosts: [%[1]s.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: %[2]s, ports: {http: %[3]s}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: team}
spec:
  parentRefs: [{name: mcp-gateway, namespace: gateway-system}]
  rules:
    - backendRefs: [{group: networking.istio.io, kind: Hostname, name: %[1]s.example.com, port: 80}]
---
apiVersion: mcp.kagenti.com/v1alpha1
kind: MCPServer
metadata: {name: %[1]s, namespace: team}
spec:
  targetRef: {name: %[1]s}
`

// inCluster is a controller and a broker, each with the permissions that an installation gives it.
type inCluster struct {
	t       *testing.T
	cluster *k8stest.Cluster
	client.Client
	broker *served
}

func startInCluster(t *testing.T) *inCluster {
	t.Helper()
	c := &inCluster{t: t, cluster: k8stest.Start(t)}
	c.Client = c.cluster.Client
	install, err := filepath.Abs(filepath.Join("..", "..", "config", "install"))
	require.NoError(t, err)
	c.kubectl("apiVersion: v1\nkind: Namespace\nmetadata: {name: gateway-system}\n", "apply", "-f", "-")
	c.kubectl("", "apply", "--server-side", "--force-conflicts", "-k", install)
	c.kubectl(serviceEntries, "apply", "-f", "-")
	c.kubectl("", "wait", "--for=condition=Established", "crd/serviceentries.networking.istio.io", "--timeout=30s")
	c.kubectl(inTheCluster, "apply", "-f", "-")
	return c
}

func (c *inCluster) kubectl(stdin string, args ...string) {
	c.t.Helper()
	out, ok := c.cluster.Kubectl(c.t.Context(), c.t, stdin, args...)
	require.True(c.t, ok, out)
}

// kubeconfig is a file for a process that runs as a service account of the installation.
func (c *inCluster) kubeconfig(account string) string {
	c.t.Helper()
	as := c.cluster.AsServiceAccount("mcp-system", account)
	file := filepath.Join(c.t.TempDir(), "kubeconfig")
	require.NoError(c.t, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: host(c.t, as), CertificateAuthorityData: as.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: as.CertData, ClientKeyData: as.KeyData, Impersonate: as.Impersonate.UserName, ImpersonateGroups: as.Impersonate.Groups}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file))
	return file
}

func host(t *testing.T, config *rest.Config) string {
	t.Helper()
	u, err := url.Parse(config.Host)
	require.NoError(t, err)
	if u.Scheme == "" || u.Host == "" {
		return "https://" + config.Host
	}
	return config.Host
}

// start runs the command line until the function that it returns is called, or the test ends.
func (c *inCluster) start(name string, args ...string) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	log, ended := &buffer{}, make(chan error, 1)
	go func() { ended <- Main(ctx, "1.2.3", args, io.Discard, log) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		assert.NoError(c.t, <-ended, name)
	}
	c.t.Cleanup(func() {
		stop()
		if c.t.Failed() {
			c.t.Logf("%s said:\n%s", name, log)
		}
	})
	return stop
}

func (c *inCluster) startController() (stop func()) {
	c.t.Helper()
	return c.start("the controller", "--controller", "--kubeconfig", c.kubeconfig("mcp-gateway-controller"), "--metrics-address", "", "--health-address", "")
}

func (c *inCluster) startBroker() (stop func()) {
	c.t.Helper()
	dir := socketFolder(c.t)
	c.broker = &served{dir: dir, client: overSocket(dir + "/admin.sock")}
	return c.start("the broker", "--config-map", "mcp-system/mcp-gateway-config", "--kubeconfig", c.kubeconfig("mcp-gateway-broker"),
		"--mcp-router-address", "unix:"+dir+"/router.sock", "--mcp-broker-public-address", "unix:"+dir+"/broker.sock", "--admin-address", "unix:"+dir+"/admin.sock")
}

func (c *inCluster) status() admin.Status {
	c.t.Helper()
	var s admin.Status
	code, body := c.broker.get("/status")
	require.Equal(c.t, http.StatusOK, code, body)
	require.NoError(c.t, json.Unmarshal([]byte(body), &s))
	return s
}

// servers are what the broker has, as "name:state".
func (c *inCluster) servers() string {
	c.t.Helper()
	var list []string
	for _, s := range c.status().Servers {
		list = append(list, s.Name+":"+s.State)
	}
	return strings.Join(list, " ")
}

func (c *inCluster) awaitServers(want string) {
	c.t.Helper()
	testbed.Await(c.t, "the servers "+want, func() bool { return c.servers() == want })
}

// ready is a server's condition Ready as "status/reason (tools)", with its message.
func (c *inCluster) ready(name string) (state, message string) {
	c.t.Helper()
	s := c.get(name)
	for _, condition := range s.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady {
			state, message = string(condition.Status)+"/"+condition.Reason, condition.Message
		}
	}
	if n := s.Status.DiscoveredTools; n != nil {
		state += fmt.Sprintf(" (%d)", *n)
	}
	return state, message
}

func (c *inCluster) get(name string) *v1alpha1.MCPServer {
	c.t.Helper()
	s := &v1alpha1.MCPServer{}
	require.NoError(c.t, c.Get(c.t.Context(), types.NamespacedName{Namespace: "team", Name: name}, s))
	return s
}

func (c *inCluster) awaitReady(name, want string) (message string) {
	c.t.Helper()
	last := ""
	defer func() {
		if c.t.Failed() {
			c.t.Logf("Ready of %q is %s", name, last)
		}
	}()
	testbed.Await(c.t, name+" to be "+want, func() bool {
		last, message = c.ready(name)
		return last == want
	})
	return message
}

func (c *inCluster) add(name string, u *testbed.Upstream, spec string) {
	c.t.Helper()
	at, err := url.Parse(u.URL)
	require.NoError(c.t, err)
	host, port := outward(c.t, at.Host)
	c.kubectl(fmt.Sprintf(toServer, name, host, port)+spec, "apply", "-f", "-")
}

// outward makes a server on loopback reachable at an address that others can reach as well, since a ServiceEntry may lead to no other.
func outward(t *testing.T, server string) (host, port string) {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	require.NoError(t, err)
	i := slices.IndexFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil
	})
	require.GreaterOrEqual(t, i, 0, "this machine has no address but loopback: give it one, as in \"ip link add dummy0 type dummy && ip addr add 192.0.2.1/24 dev dummy0\"")
	l, err := net.Listen("tcp", net.JoinHostPort(addresses[i].(*net.IPNet).IP.String(), "0"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go carry(from, server)
		}
	}()
	host, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return host, port
}

// carry carries bytes both ways until one side ends.
func carry(from net.Conn, server string) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// From objects in a cluster to a gateway that serves and back to the objects' statuses.
func TestInCluster(t *testing.T) {
	c := startInCluster(t)
	stopBroker := c.startBroker()
	testbed.Await(t, "the broker to miss its configuration", func() bool {
		code, body := c.broker.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, `there is no good configuration in the ConfigMap \"mcp-system/mcp-gateway-config\" yet`)
	})
	testbed.Await(t, "the problem", func() bool {
		return strings.Contains(strings.Join(c.status().Config.Problems, ""), "does not exist: does the controller run")
	})
	stopController := c.startController()
	testbed.Await(t, "the broker to be ready", func() bool { code, _ := c.broker.get("/readyz"); return code == http.StatusOK })

	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "one"}, {Name: "two"}}})
	c.add("weather", u, "  toolPrefix: weather_\n")
	c.awaitServers("team/weather:ready")
	c.awaitReady("weather", "True/Ready (2)")
	s := c.get("weather")
	assert.Equal(t, []string{"2025-11-25"}, s.Status.ProtocolRevisions)
	assert.Zero(t, *s.Status.DiscoveredPrompts)

	t.Run("a change is live", func(t *testing.T) {
		s.Spec.ToolPrefix = "w_"
		began := time.Now()
		require.NoError(t, c.Update(t.Context(), s))
		testbed.Await(t, "the new prefix", func() bool {
			tools := c.status().Tools
			return len(tools) == 2 && tools[0].Name == "w_one"
		})
		t.Logf("live after %v (promised: 2s)", time.Since(began).Round(time.Millisecond))
	})
	t.Run("a virtual server", c.testVirtualServer)
	t.Run("a name that is taken", func(t *testing.T) {
		other := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "one"}, {Name: "three"}}})
		testbed.Await(t, "a new second, in which objects count", func() bool { return time.Since(s.CreationTimestamp.Time) > time.Second })
		c.add("younger", other, "  toolPrefix: w_\n")
		assert.Contains(t, c.awaitReady("younger", "False/NameConflict (2)"), `the tool "w_one" of "team/weather"`)
		c.kubectl("", "delete", "mcps/younger", "-n", "team")
		testbed.Await(t, "it to be gone", func() bool { return !strings.Contains(c.servers(), "younger") })
	})
	t.Run("troubles of the server", func(t *testing.T) {
		tired := testbed.NewUpstream(t, testbed.Script{Before: func(w http.ResponseWriter, _ *testbed.Call) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}})
		c.add("locked", tired, "")
		assert.Contains(t, c.awaitReady("locked", "False/Unauthorized"), "Give it a credential, by spec.credentialRef")
		gone := testbed.NewUpstream(t, testbed.Script{})
		gone.Down()
		c.add("gone", gone, "")
		assert.Contains(t, c.awaitReady("gone", "False/Unreachable"), "Check that its pods run and that its Service and HTTPRoute lead to them")
		gone.Up(t)
		c.awaitReady("gone", "True/Ready (0)")
		c.kubectl("", "delete", "mcps/locked", "mcps/gone", "-n", "team")
		c.awaitServers("team/weather:ready")
	})
	t.Run("out of use", func(t *testing.T) {
		c.kubectl("", "patch", "mcps/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"enabled":false}}`)
		c.awaitReady("weather", "False/Disabled (2)")
		c.kubectl("", "patch", "mcps/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"enabled":true}}`)
		c.awaitReady("weather", "True/Ready (2)")
	})
	t.Run("out of the configuration", func(t *testing.T) {
		c.kubectl("", "patch", "httproute/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"parentRefs":[{"name":"nowhere"}]}}`)
		c.awaitReady("weather", "False/NotUsable")
		c.kubectl("", "patch", "httproute/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"parentRefs":[{"name":"mcp-gateway","namespace":"gateway-system"}]}}`)
		c.awaitReady("weather", "True/Ready (2)")
	})

	// A gateway that starts anew has nothing new to tell.
	before := c.get("weather").ResourceVersion
	stopBroker()
	c.startBroker()
	testbed.Await(t, "the broker to be ready", func() bool { code, _ := c.broker.get("/readyz"); return code == http.StatusOK })
	assert.Equal(t, "team/weather:ready", c.servers(), "a broker is ready when its servers have been tried")
	c.add("marker", testbed.NewUpstream(t, testbed.Script{}), "") // when this is told, all was looked at
	c.awaitReady("marker", "True/Ready (0)")
	assert.Equal(t, before, c.get("weather").ResourceVersion)
	c.kubectl("", "delete", "mcps/marker", "-n", "team")
	c.awaitServers("team/weather:ready")

	// Invariant 8.
	stopController()
	written := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: "mcp-gateway-config"}}
	require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(written), written))
	good := written.Data["config.yaml"]
	written.Data["config.yaml"] = "servers:\n  - name: a\n    ur: b\n"
	require.NoError(t, c.Update(t.Context(), written))
	testbed.Await(t, "the problem", func() bool {
		return strings.Contains(strings.Join(c.status().Config.Problems, ""), "mcp-system/mcp-gateway-config/config.yaml:3:5: servers[0].ur: unknown key")
	})
	assert.Equal(t, "team/weather:ready", c.servers())
	written.Data["config.yaml"] = good
	require.NoError(t, c.Update(t.Context(), written))
	testbed.Await(t, "no problem", func() bool { return len(c.status().Config.Problems) == 0 })
}

// testVirtualServer has a virtual server come, change and go, while there is the server "weather" with the prefix "w_".
func (c *inCluster) testVirtualServer(t *testing.T) {
	c.kubectl(`
apiVersion: mcp.kagenti.com/v1alpha1
kind: MCPVirtualServer
metadata: {name: office, namespace: team}
spec: {description: For the office., tools: [w_one, nothing_*]}
`, "apply", "-f", "-")
	c.awaitVirtual("True/Ready /mcp/office 1 0 0: The gateway serves it.")
	served := c.status().VirtualServers
	require.Len(t, served, 1)
	assert.Equal(t, admin.VirtualServer{Name: "team/office", Path: "/mcp/office", Description: "For the office.", Tools: 1}, served[0])

	c.kubectl("", "patch", "mcps/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"virtualServers":["office"]}}`)
	c.awaitVirtual("True/Ready /mcp/office 2 0 0: The gateway serves it.")
	c.kubectl("", "patch", "mcps/weather", "-n", "team", "--type=merge", "-p", `{"spec":{"virtualServers":[]}}`)
	c.kubectl("", "patch", "mcpvs/office", "-n", "team", "--type=merge", "-p", `{"spec":{"tools":["nothing_*"]}}`)
	c.awaitVirtual("True/Ready /mcp/office 0 0 0: The gateway serves it. Nothing that it chooses is there")
	c.kubectl("", "wait", "--for=condition=Ready", "mcpvs/office", "-n", "team", "--timeout=5s")

	c.kubectl("", "patch", "mcpvs/office", "-n", "team", "--type=merge", "-p", `{"spec":{"description":"\u0007"}}`)
	c.awaitVirtual("False/NotUsable : Not in the gateway: see Accepted.")
	testbed.Await(t, "it to be gone", func() bool { return len(c.status().VirtualServers) == 0 })
	assert.Equal(t, "team/weather:ready", c.servers(), "one bad virtual server costs nobody else anything")
	c.kubectl("", "patch", "mcpvs/office", "-n", "team", "--type=merge", "-p", `{"spec":{"description":"","tools":["*"]}}`)
	c.awaitVirtual("True/Ready /mcp/office 2 0 0: The gateway serves it.")
	c.kubectl("", "delete", "mcpvs/office", "-n", "team")
	testbed.Await(t, "it to be gone", func() bool { return len(c.status().VirtualServers) == 0 })
}

// awaitVirtual waits for the status of the virtual server "office", as "status/reason path tools prompts resources: message", of which the end may be left out.
func (c *inCluster) awaitVirtual(want string) {
	c.t.Helper()
	last := ""
	defer func() {
		if c.t.Failed() {
			c.t.Logf("the virtual server is %s", last)
		}
	}()
	testbed.Await(c.t, "the virtual server to be "+want, func() bool {
		v := &v1alpha1.MCPVirtualServer{}
		require.NoError(c.t, c.Get(c.t.Context(), types.NamespacedName{Namespace: "team", Name: "office"}, v))
		ready := meta.FindStatusCondition(v.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return false // between the controller, which has ceased to tell, and the broker
		}
		last = string(ready.Status) + "/" + ready.Reason + " " + v.Status.Path
		for _, n := range []*int32{v.Status.DiscoveredTools, v.Status.DiscoveredPrompts, v.Status.DiscoveredResources} {
			if n != nil {
				last += fmt.Sprintf(" %d", *n)
			}
		}
		last += ": " + ready.Message
		return strings.HasPrefix(last, want)
	})
}
