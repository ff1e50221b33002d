package controller_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/k8stest"
)

func installFolder() string { return filepath.Join("..", "..", "config", "install") }

// apply applies a folder of config/ as a user does, twice.
func apply(t *testing.T, cluster *k8stest.Cluster, folder string) {
	t.Helper()
	folder, err := filepath.Abs(folder)
	require.NoError(t, err)
	for _, args := range [][]string{{"apply", "--server-side", "--force-conflicts", "-k", folder}, {"apply", "--server-side", "-k", folder}} {
		out, ok := cluster.Kubectl(t.Context(), t, "", args...)
		require.True(t, ok, out)
	}
}

// standard is the place that config/install is for: its Gateway and its broker's namespace, and a team.
func standard(t *testing.T, cluster *k8stest.Cluster, team string) *place {
	t.Helper()
	p := &place{t: t, cluster: cluster, Client: cluster.Client, gateway: controller.Gateway{Namespace: "gateway-system", Name: "mcp-gateway", Output: "mcp-system"}, team: team}
	p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}})
	gateway := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: p.gateway.Namespace, Name: p.gateway.Name}}
	if err := p.Get(t.Context(), client.ObjectKeyFromObject(gateway), gateway); apierrors.IsNotFound(err) {
		all := gatewayv1.NamespacesFromAll
		gateway.Spec = gatewayv1.GatewaySpec{GatewayClassName: "test", Listeners: []gatewayv1.Listener{{
			Name: "mcp", Port: 80, Protocol: gatewayv1.HTTPProtocolType, AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &all}},
		}}}
		p.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.gateway.Namespace}}, gateway)
	}
	return p
}

// testInstalled applies what a user does and runs the controller with exactly the permissions that this gives it.
func testInstalled(t *testing.T, cluster *k8stest.Cluster) {
	p := standard(t, cluster, "installed-team")
	p.installIstio(t)
	apply(t, cluster, installFolder())
	account := cluster.AsServiceAccount("mcp-system", "mcp-gateway-controller")
	p.exercise(account, func(o *controller.Options) { o.LeaderElection, o.LeaseNamespace = true, "mcp-system" })
	assertCannot(t, account)
}

// testInstalledNamespaced is the same with no permission outside of the namespaces that matter.
func testInstalledNamespaced(t *testing.T, cluster *k8stest.Cluster) {
	p := standard(t, cluster, "namespaced-team")
	p.installIstio(t)
	out, ok := cluster.Kubectl(t.Context(), t, "", "delete", "--ignore-not-found", "clusterrole/mcp-gateway-controller", "clusterrole/mcp-gateway-broker", "clusterrolebinding/mcp-gateway-controller", "clusterrolebinding/mcp-gateway-broker")
	require.True(t, ok, out)
	apply(t, cluster, filepath.Join("..", "..", "config", "install-namespaced"))
	require.NotContains(t, renderFolder(t, filepath.Join("..", "..", "config", "install-namespaced")), "ClusterRole/mcp-gateway-controller")
	watched, err := filepath.Abs(filepath.Join("..", "..", "config", "install-namespaced", "watched"))
	require.NoError(t, err)
	overlay := t.TempDir()
	relative, err := filepath.Rel(overlay, watched)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte("namespace: "+p.team+"\nresources: ["+relative+"]\n"), 0o600))
	apply(t, cluster, overlay)

	account := cluster.AsServiceAccount("mcp-system", "mcp-gateway-controller")
	namespaces := func(o *controller.Options) {
		o.LeaderElection, o.LeaseNamespace, o.Namespaces = true, "mcp-system", []string{p.team, "mcp-system"}
	}
	p.exercise(account, namespaces)
	assertCannot(t, account)
	c := k8stest.NewClient(t, account)
	for what, err := range map[string]error{
		"read a Secret of the Gateway":    c.Get(t.Context(), types.NamespacedName{Namespace: p.gateway.Namespace, Name: "tls"}, &corev1.Secret{}),
		"list Secrets of the Gateway":     c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(p.gateway.Namespace)),
		"list MCPServers everywhere":      c.List(t.Context(), &v1alpha1.MCPServerList{}),
		"list HTTPRoutes of another team": c.List(t.Context(), &gatewayv1.HTTPRouteList{}, client.InNamespace("installed-team")),
		"list namespaces":                 c.List(t.Context(), &corev1.NamespaceList{}),
	} {
		assert.True(t, apierrors.IsForbidden(err), "%s: %v", what, err)
	}
}

// exercise has a controller do everything that it does, and see to it that nothing of it is forbidden.
func (p *place) exercise(account *rest.Config, options func(*controller.Options)) {
	t := p.t
	t.Helper()
	r := p.start(account, options, func(o *controller.Options) { o.Istio = testWiring() })
	p.awaitConfig(patience, "servers:")
	p.create(p.service("weather")...)
	server := p.server("weather", "weather", "w_")
	server.Spec.CredentialRef = &v1alpha1.CredentialReference{Name: "token"}
	p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: "token"}, Data: map[string][]byte{"token": []byte("x")}})
	p.create(server, &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: p.team, Name: p.team}})
	p.awaitConfig(patience, p.team+"/weather", "virtualServers:", "name: "+p.team+"/"+p.team)
	p.awaitStatus(patience, "weather", "Programmed=True/Programmed")
	p.awaitVirtual(p.team, "Programmed=True/Programmed")
	p.awaitAffected("True/NoEndpoint: MCPServers are attached by their HTTPRoutes. No HTTPRoute")
	p.awaitFilter(patience, "mcp-gateway-mcp-servers", "mcp-gateway-closed")
	p.awaitFilter(patience, "mcp-gateway-mcp-endpoint", `"configPatches":[]`)
	for _, want := range []string{"MCPServer/weather Normal Programmed", "HTTPRoute/weather Normal MCPServerAffected"} {
		await(t, patience, func() string { return "the event " + want + "; there are\n" + p.events(p.team) }, func() bool { return strings.Contains(p.events(p.team), want) })
	}
	r.Stop(t)
	assert.Zero(t, r.refused(), "something was asked for that the roles do not allow")
}

// assertCannot tries what the controller has no business with.
func assertCannot(t *testing.T, account *rest.Config) {
	t.Helper()
	c := k8stest.NewClient(t, account)
	elsewhere := metav1.ObjectMeta{Namespace: "default", Name: "x"}
	weather := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "installed-team", Name: "weather"}}
	for what, err := range map[string]error{
		"create a Secret elsewhere":      c.Create(t.Context(), &corev1.Secret{ObjectMeta: elsewhere}),
		"create a ConfigMap elsewhere":   c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: elsewhere}),
		"delete its own ConfigMap":       c.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: controller.ConfigName}}),
		"delete an MCPServer":            c.Delete(t.Context(), weather),
		"write an EnvoyFilter elsewhere": c.Create(t.Context(), newFilter("default", "x")),
		"change another EnvoyFilter":     c.Patch(t.Context(), newFilter("gateway-system", "x"), client.RawPatch(types.MergePatchType, []byte("{}"))),
		"change a Gateway":               c.Patch(t.Context(), &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "gateway-system", Name: "mcp-gateway"}}, client.RawPatch(types.MergePatchType, []byte("{}"))),
		"change the session key":         c.Update(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: controller.SessionKeyName}}),
		"list Pods":                      c.List(t.Context(), &corev1.PodList{}),
		"change a Deployment of itself":  c.Update(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "mcp-system", Name: "mcp-gateway-controller"}}),
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

// From the repository itself it is the same: no path in it leaves the repository, which is all that kustomize has then.
func TestRemote(t *testing.T) {
	k8stest.Assets(t)
	repository := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(repository, "config"), os.DirFS(filepath.Join(installFolder(), ".."))))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "all"}} {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", repository}, args...)...).CombinedOutput() //nolint:gosec // constant arguments
		require.NoError(t, err, string(out))
	}
	for _, folder := range []string{"install", "install-namespaced", "install-namespaced/watched"} {
		remote := renderFolder(t, "file://"+repository+"//config/"+folder+"?ref=main")
		assert.Equal(t, renderFolder(t, filepath.Join(installFolder(), "..", folder)), remote, folder)
	}
}

// An overlay moves everything, and the one permission that belongs to the Gateway's namespace goes where that is.
func TestOverlays(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(installFolder(), "README.md"))
	require.NoError(t, err)
	var overlays []string
	for i, block := range strings.Split(string(readme), "```") {
		if i%2 == 1 && strings.HasPrefix(block, "yaml\n# kustomization.yaml") {
			overlays = append(overlays, strings.TrimPrefix(block, "yaml\n"))
		}
	}
	require.Len(t, overlays, 3, "of the README")
	for i, want := range []map[string]string{
		{"Role/mcp-gateway-controller-gateway": "my-gateways", "RoleBinding/mcp-gateway-controller-gateway": "my-gateways", "Role/mcp-gateway-controller": "mcp-system"},
		{"Role/mcp-gateway-controller-gateway": "gateway-system", "RoleBinding/mcp-gateway-controller-gateway": "gateway-system", "Role/mcp-gateway-controller": "other", "Deployment/mcp-gateway": "other"},
		{"Role/mcp-gateway-controller-watched": "team-a", "Role/mcp-gateway-controller-gateway": "gateway-system"},
	} {
		dir := t.TempDir()
		config, err := filepath.Abs(filepath.Join(installFolder(), ".."))
		require.NoError(t, err)
		relative, err := filepath.Rel(dir, config)
		require.NoError(t, err)
		text := strings.ReplaceAll(overlays[i], "https://github.com/guicassolato/mcp-gateway//config", relative)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(strings.ReplaceAll(text, "?ref=main", "")), 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "team-a"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "team-a", "kustomization.yaml"), []byte("namespace: team-a\nresources: [../"+relative+"/install-namespaced/watched]\n"), 0o600))
		objects := renderFolder(t, dir)
		for key, namespace := range want {
			var object unstructured.Unstructured
			require.NoError(t, yaml.Unmarshal(objects[key], &object.Object))
			assert.Equal(t, namespace, object.GetNamespace(), "%s of overlay %d", key, i)
		}
		var binding rbacv1.RoleBinding
		require.NoError(t, yaml.UnmarshalStrict(objects["RoleBinding/mcp-gateway-controller-gateway"], &binding))
		if strings.Contains(text, "install-namespaced") {
			assert.Equal(t, 2, bytes.Count(objects["Deployment/mcp-gateway"], []byte("WATCH_NAMESPACES")))
			assert.Contains(t, string(objects["Deployment/mcp-gateway"]), "value: mcp-system,team-a")
			assert.Contains(t, string(objects["Deployment/mcp-gateway-controller"]), "value: mcp-system,team-a")
			assert.NotContains(t, objects, "ClusterRole/mcp-gateway-broker")
		}
		var deployment appsv1.Deployment
		require.NoError(t, yaml.UnmarshalStrict(objects["Deployment/mcp-gateway-controller"], &deployment))
		assert.Equal(t, deployment.Namespace, binding.Subjects[0].Namespace, "overlay %d: the account is where the Deployment is", i)
	}
}

// render prints what is installed, by kind and name.
func render(t *testing.T) map[string][]byte {
	t.Helper()
	return renderFolder(t, installFolder())
}

func renderFolder(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	assets := k8stest.Assets(t)
	out, err := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), "kustomize", folder).CombinedOutput() //nolint:gosec // the program that the tests are run with
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
