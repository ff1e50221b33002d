// Package k8stest starts a real Kubernetes API for tests: etcd and kube-apiserver, with the definitions of the Gateway API and of our own resources, and
// nothing else. No controller of Kubernetes runs, so that no Deployment gets pods, no ServiceAccount a token, and what a finalizer holds stays.
//
// Tests that use it run by `make test-k8s`, which has the programs made. Elsewhere they are skipped. The package must not know what is tested with it.
package k8stest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

const (
	module        = "github.com/guicassolato/mcp-gateway"
	gatewayModule = "sigs.k8s.io/gateway-api"

	// startLimit and stopLimit are long because the machine may be busy with other tests.
	startLimit = 2 * time.Minute
	stopLimit  = time.Minute
)

// Cluster is a running API.
type Cluster struct {
	// Config is an administrator's, without limits to the rate of requests.
	Config *rest.Config
	// Client is an administrator's, with the kinds of [Scheme].
	Client client.WithWatch

	env        *envtest.Environment
	kubeconfig string
}

// Scheme has Kubernetes' own kinds, those of the Gateway API, and ours.
func Scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatalf("scheme: %v", err)
		}
	}
	return scheme
}

// Start starts an API that lives as long as the test; it takes some seconds, so a package does best with one for all of its tests, as subtests. The test is
// skipped where KUBEBUILDER_ASSETS does not say where the programs are.
func Start(t testing.TB) *Cluster {
	t.Helper()
	assets := Assets(t)
	// Never the cluster that the person who runs the tests happens to use.
	existing := false
	env := &envtest.Environment{
		UseExistingCluster: &existing, BinaryAssetsDirectory: assets, CRDDirectoryPaths: crdFolders(t), ErrorIfCRDPathMissing: true,
		ControlPlaneStartTimeout: startLimit, ControlPlaneStopTimeout: stopLimit,
	}
	// A folder of the test's own outlives the server, so that a restart finds the keys that clients know.
	env.ControlPlane.GetAPIServer().CertDir = t.TempDir()
	// Else a watch that somebody has open keeps it from stopping for a minute.
	env.ControlPlane.GetAPIServer().Configure().Append("shutdown-watch-termination-grace-period", "1s")
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	config, err := env.Start()
	if err != nil {
		t.Fatalf("start the API server with the programs in %q: %v", assets, err)
	}
	config.QPS = -1
	c := &Cluster{Config: config, env: env, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(c.kubeconfig, env.KubeConfig, 0o600); err != nil {
		t.Fatalf("kubeconfig: %v", err)
	}
	c.Client = NewClient(t, config)
	return c
}

// Assets is the folder with the programs etcd, kube-apiserver and kubectl. A test without them is skipped.
func Assets(t testing.TB) string {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: run `make test-k8s`, which has etcd and kube-apiserver made and runs this test with them")
	}
	return assets
}

// NewClient is a client with the kinds of [Scheme].
func NewClient(t testing.TB, config *rest.Config) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(config, client.Options{Scheme: Scheme(t)})
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	return c
}

// As is the configuration of a client that acts as somebody else, who may do only what RBAC allows.
func (c *Cluster) As(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

// AsServiceAccount is the configuration of a client that acts as a pod with the service account does.
func (c *Cluster) AsServiceAccount(namespace, name string) *rest.Config {
	return c.As("system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace, "system:authenticated")
}

// StopAPIServer ends the API server and leaves etcd running. Connections break; what is stored stays.
func (c *Cluster) StopAPIServer(t testing.TB) {
	t.Helper()
	if err := c.env.ControlPlane.APIServer.Stop(); err != nil {
		t.Fatalf("stop the API server: %v", err)
	}
}

// StartAPIServer starts it again, at the same address and with the same keys.
func (c *Cluster) StartAPIServer(t testing.TB) {
	t.Helper()
	if err := c.env.ControlPlane.APIServer.Start(); err != nil {
		t.Fatalf("start the API server again: %v", err)
	}
}

// Kubeconfig is the path of an administrator's kubeconfig, for programs.
func (c *Cluster) Kubeconfig() string { return c.kubeconfig }

// Kubectl runs kubectl as an administrator and returns what it printed to both streams, and whether it succeeded.
func (c *Cluster) Kubectl(ctx context.Context, t testing.TB, stdin string, args ...string) (output string, ok bool) {
	t.Helper()
	path := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the program that the tests are run with
	// A home of its own: no plugins, no preferences, no cache that outlives the test.
	home := filepath.Dir(c.kubeconfig)
	command.Env = []string{"HOME=" + home, "KUBECONFIG=" + c.kubeconfig, "PATH=" + home, "KUBECACHEDIR=" + filepath.Join(home, "cache")}
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		t.Fatalf("run %q: %v", path, err)
	}
	return string(out), err == nil
}

// CRDFolder is where the definitions of our own resources are.
func CRDFolder(t testing.TB) string {
	t.Helper()
	return filepath.Join(moduleFolders(t, module)[0], "config", "crd")
}

func crdFolders(t testing.TB) []string {
	t.Helper()
	dirs := moduleFolders(t, module, gatewayModule)
	return []string{filepath.Join(dirs[0], "config", "crd"), filepath.Join(dirs[1], "config", "crd", "standard")}
}

// moduleFolders asks Go, since a test's own folder says nothing about where other modules are.
func moduleFolders(t testing.TB, modules ...string) []string {
	t.Helper()
	args := append([]string{"list", "-m", "-f", "{{.Dir}}"}, modules...)
	var stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // constant arguments
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list -m: %v: %s", err, stderr.String())
	}
	dirs := strings.Fields(string(out))
	if len(dirs) != len(modules) {
		t.Fatalf("go list -m told %d folders of %d modules: is one not downloaded?", len(dirs), len(modules))
	}
	return dirs
}
