package controller_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

func installFolder() string { return filepath.Join("..", "..", "config", "install") }

// testInstalled applies what a user does and runs the controller with exactly the permissions that this gives it.
func testInstalled(t *testing.T, cluster *k8stest.Cluster) {
	folder, err := filepath.Abs(installFolder())
	require.NoError(t, err)
	for _, args := range [][]string{{"apply", "--server-side", "--force-conflicts", "-k", folder}, {"apply", "--server-side", "-k", folder}} {
		out, ok := cluster.Kubectl(t.Context(), t, "", args...)
		require.True(t, ok, out)
	}
	p := &place{t: t, cluster: cluster, Client: cluster.Client, gateway: controller.Gateway{Namespace: "gateway-system", Name: "mcp-gateway", Output: "mcp-system"}, team: "installed-team"}
	for _, namespace := range []string{p.gateway.Namespace, p.team} {
		p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	all := gatewayv1.NamespacesFromAll
	p.create(&gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.gateway.Namespace, Name: p.gateway.Name},
		Spec: gatewayv1.GatewaySpec{GatewayClassName: "test", Listeners: []gatewayv1.Listener{{
			Name: "mcp", Port: 80, Protocol: gatewayv1.HTTPProtocolType, AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &all}},
		}}},
	})
	account := cluster.AsServiceAccount("mcp-system", "mcp-gateway-controller")
	r := p.start(account, func(o *controller.Options) { o.LeaderElection, o.LeaseNamespace = true, "mcp-system" })
	p.awaitConfig(patience, "servers: []")
	p.create(p.service("weather")...)
	server := p.server("weather", "weather", "w_")
	server.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: "token"}
	p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "token"}, Data: map[string][]byte{"token": []byte("x")}})
	p.create(server)
	p.awaitConfig(patience, "installed-team/weather")
	p.awaitStatus(patience, "weather", "Programmed=True/Programmed")
	await(t, patience, func() string { return "an event" }, func() bool { return strings.Contains(p.events(p.team), "MCPServer/weather Normal Programmed") })
	r.Stop(t)
	assert.Zero(t, r.refused(), "something was asked for that the roles do not allow")
	assertCannot(t, account)
}

// assertCannot tries what the controller has no business with.
func assertCannot(t *testing.T, account *rest.Config) {
	t.Helper()
	c := k8stest.NewClient(t, account)
	elsewhere := metav1.ObjectMeta{Namespace: "default", Name: "x"}
	weather := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "installed-team", Name: "weather"}}
	for what, err := range map[string]error{
		"create a Secret elsewhere":     c.Create(t.Context(), &corev1.Secret{ObjectMeta: elsewhere}),
		"create a ConfigMap elsewhere":  c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: elsewhere}),
		"delete its own ConfigMap":      c.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: controller.ConfigName}}),
		"delete an MCPServer":           c.Delete(t.Context(), weather),
		"change the session key":        c.Update(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: controller.SessionKeyName}}),
		"list Pods":                     c.List(t.Context(), &corev1.PodList{}),
		"change a Deployment of itself": c.Update(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: "mcp-gateway-controller"}}),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// What is installed hangs together: what one object names is what another one is called.
func TestInstall(t *testing.T) {
	objects := render(t)
	var broker, ctrl appsv1.Deployment
	require.NoError(t, yaml.UnmarshalStrict(objects["Deployment/mcp-gateway"], &broker))
	require.NoError(t, yaml.UnmarshalStrict(objects["Deployment/mcp-gateway-controller"], &ctrl))
	for _, d := range []*appsv1.Deployment{&broker, &ctrl} {
		c := d.Spec.Template.Spec.Containers[0]
		assert.Equal(t, "ghcr.io/guicassolato/mcp-gateway:latest", c.Image)
		assert.Contains(t, objects, "ServiceAccount/"+d.Spec.Template.Spec.ServiceAccountName)
		assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
		assert.Equal(t, d.Spec.Selector.MatchLabels["app.kubernetes.io/name"], d.Spec.Template.Labels["app.kubernetes.io/name"])
	}
	container := broker.Spec.Template.Spec.Containers[0]
	assert.Contains(t, container.Args, "--config-map=$(POD_NAMESPACE)/"+controller.ConfigName)
	for _, env := range container.Env {
		if env.Name == "MCP_GATEWAY_SESSION_KEY" {
			assert.Equal(t, controller.SessionKeyName, env.ValueFrom.SecretKeyRef.Name)
			assert.Equal(t, controller.SessionKeyKey, env.ValueFrom.SecretKeyRef.Key)
		}
	}
	for key := range objects {
		assert.NotRegexp(t, "^Secret/", key, "Invariant 4")
	}
	assert.Contains(t, objects, "CustomResourceDefinition/mcpservers.mcp.kagenti.com")
}

// render prints what is installed, by kind and name.
func render(t *testing.T) map[string][]byte {
	t.Helper()
	assets := k8stest.Assets(t)
	out, err := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), "kustomize", installFolder()).CombinedOutput()
	require.NoError(t, err, string(out))
	objects := map[string][]byte{}
	reader := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(out)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		var object unstructured.Unstructured
		require.NoError(t, yaml.Unmarshal(document, &object.Object))
		objects[object.GetKind()+"/"+object.GetName()] = document
	}
}
