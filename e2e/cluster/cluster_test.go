package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	clusterVariable = "E2E_CLUSTER"

	// gatewayImage and exampleImage are what the cluster's node has of ours, redisImage has this machine's Redis.
	gatewayImage = "localhost/mcp-gateway:test"
	exampleImage = "localhost/mcp-gateway-example-server:test"
	redisImage   = "localhost/redis:test"

	// patience is for what a healthy cluster on a busy machine does within seconds.
	patience = 90 * time.Second
	// upPatience is for a cluster whose parts are all made.
	upPatience = 10 * time.Minute
)

// cluster is a running cluster, by its name.
type cluster struct {
	name, script string
	installation
}

// startCluster brings the cluster up and gives it our images.
func startCluster() (c *cluster, stop func(), err error) {
	script, err := filepath.Abs("../../hack/cluster.sh")
	if err != nil {
		return nil, nil, fmt.Errorf("cluster: %w", err)
	}
	c = &cluster{name: os.Getenv(clusterVariable), script: script}
	args := []string{"up"}
	stop = func() { c.removeInstallation() }
	if c.name == "" {
		c.name = fmt.Sprintf("e2e-%d", os.Getpid())
		args = append(args, "--owner", strconv.Itoa(os.Getpid()))
		stop = func() {
			c.forget()
			if err := c.loudly("down"); err != nil {
				_, _ = fmt.Fprintln(os.Stderr, err)
			}
		}
	}
	dir, err := os.MkdirTemp("", "mcp-gateway-images-")
	if err != nil {
		return nil, nil, fmt.Errorf("images: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	archives, err := c.packImages(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := c.loudly(args...); err != nil {
		return nil, nil, err
	}
	if err := c.loudly(append([]string{"load-image"}, archives...)...); err != nil {
		stop()
		return nil, nil, err
	}
	return c, stop, nil
}

// packImages packs what is in this repository, so that no older image is ever tested.
func (c *cluster) packImages(dir string) (archives []string, err error) {
	pack := filepath.Join(filepath.Dir(c.script), "cluster-images.sh")
	for kind, image := range map[string]string{"gateway": gatewayImage, "example": exampleImage, "redis": redisImage} {
		archive := filepath.Join(dir, kind+".tar")
		cmd := exec.Command(pack, kind, archive, image)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("cannot pack the image %q: %w", image, err)
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// command is one of hack/cluster.sh, for this cluster. It dies with the tests.
func (c *cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.script, append([]string{"--name", c.name}, args...)...)
	cmd.SysProcAttr = dieWithUs()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// loudly runs a command that shows its progress.
func (c *cluster) loudly(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), upPatience)
	defer cancel()
	cmd := c.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hack/cluster.sh --name %s %s: %w", c.name, strings.Join(args, " "), err)
	}
	return nil
}

// try runs a command of hack/cluster.sh and returns what it printed.
func (c *cluster) try(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := c.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (c *cluster) must(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := c.try(ctx, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kubectl runs kubectl and returns what it printed.
func (c *cluster) kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return strings.TrimSpace(c.must(t, "", append([]string{"kubectl"}, args...)...))
}

// apply applies a file of testdata with variables such as ${NAMESPACE} put in, each of which must be given, as NAME=value.
func (c *cluster) apply(t testing.TB, file string, variables ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"EXAMPLE_IMAGE": exampleImage, "GATEWAY_IMAGE": gatewayImage, "REDIS_IMAGE": redisImage}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		values[name] = value
	}
	c.applyText(t, os.Expand(string(data), func(name string) string {
		value, ok := values[name]
		if !ok {
			t.Fatalf("%s: nobody said what ${%s} is", file, name)
		}
		return value
	}))
}

func (c *cluster) applyText(t testing.TB, manifests string) {
	t.Helper()
	c.must(t, manifests, "kubectl", "apply", "-f", "-")
}

// wait waits for a condition of an object, such as gateway/name, or until what is asked of its JSONPath holds. In vain, it tells the object's status.
func (c *cluster) wait(t testing.TB, namespace, object, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	begun := time.Now()
	defer func() { t.Logf("%.1f s: %s to have %s", time.Since(begun).Seconds(), object, condition) }()
	if _, err := c.try(ctx, "", "kubectl", "-n", namespace, "wait", "--for="+condition, object, "--timeout="+patience.String()); err != nil {
		status, _ := c.try(ctx, "", "kubectl", "-n", namespace, "get", object, "-o", "jsonpath={.status}")
		t.Fatalf("%v\nseen last: %s", err, status)
	}
}

// rollout waits until all pods of a deployment are those that it asks for, and ready.
func (c *cluster) rollout(t testing.TB, namespace, deployment string) {
	t.Helper()
	c.kubectl(t, "-n", namespace, "rollout", "status", "deployment/"+deployment, "--timeout="+patience.String())
}

// logs is what the pods of a deployment have said.
func (c *cluster) logs(t testing.TB, namespace, deployment string) string {
	t.Helper()
	return c.kubectl(t, "-n", namespace, "logs", "deployment/"+deployment, "--all-containers", "--tail=-1")
}

// exec runs a command in a pod of a deployment.
func (c *cluster) exec(t testing.TB, namespace, deployment string, command ...string) string {
	t.Helper()
	return c.kubectl(t, append([]string{"-n", namespace, "exec", "deployment/" + deployment, "--"}, command...)...)
}

// restart ends one of Kubernetes' own programs, such as kube-apiserver, does something while it is not there, and starts it again.
func (c *cluster) restart(t testing.TB, component string, meanwhile func()) {
	t.Helper()
	c.must(t, "", "stop", component)
	defer func() { c.must(t, "", "start", component) }() // even if the test fails meanwhile
	meanwhile()
}

// namespace makes a namespace that lives as long as the test. If the test fails, all that is in it is shown first.
func (c *cluster) namespace(t testing.TB) string {
	t.Helper()
	name := strings.TrimPrefix(c.must(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "e2e-"}}`, "kubectl", "create", "-o", "name", "-f", "-"), "namespace/")
	name = strings.TrimSpace(name)
	c.cleanUp(t, name, func(ctx context.Context) (string, error) {
		return c.try(ctx, "", "kubectl", "delete", "namespace", name, "--wait=false", "--ignore-not-found")
	})
	return name
}

// cleanUp removes something after the test, having shown the namespace if the test failed.
func (c *cluster) cleanUp(t testing.TB, namespace string, remove func(context.Context) (string, error)) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			c.dump(t, namespace)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := remove(ctx); err != nil {
			t.Error(err)
		}
	})
}

// reach makes the port of a Service reachable from here for as long as the test runs, and tells at which address.
func (c *cluster) reach(t testing.TB, namespace, service string, port int) string {
	t.Helper()
	address, stop := c.forward(t, namespace, service, port)
	t.Cleanup(stop)
	return address
}

// forward makes the port of a Service reachable from here until it is stopped. The connection comes to the Service from the node, so it goes
// through the Service's rules as any from outside the cluster.
func (c *cluster) forward(t testing.TB, namespace, service string, port int) (address string, stop func()) {
	t.Helper()
	ip := c.kubectl(t, "-n", namespace, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.command(ctx, "forward", fmt.Sprintf("%s:%d", ip, port))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("cannot reach the service %q: %v", service, err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was told to stop
	}
	address, err = bufio.NewReader(stdout).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) || address == "" {
		stop()
		t.Fatalf("cannot reach the service %q: %s", service, stderr.String())
	}
	return strings.TrimSpace(address), stop
}
