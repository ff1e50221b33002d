package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// artifactsVariable is a folder for what is too long to be shown.
const artifactsVariable = "E2E_ARTIFACTS"

// dump shows what is known of a namespace whose test failed: its objects, events, the last words of its pods. What istiod and its
// proxies were configured with is kept in files, if there is a folder for them.
func (c *cluster) dump(t testing.TB, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	show := func(title string, args ...string) {
		out, err := c.try(ctx, "", append([]string{"kubectl"}, args...)...)
		if err != nil {
			out += err.Error()
		}
		t.Logf("--- %s\n%s", title, strings.TrimSpace(out))
	}
	const kinds = "deployments,pods,services,configmaps,gateways,httproutes,referencegrants,mcpservers,mcpvirtualservers,envoyfilters,serviceentries"
	show("objects", "-n", namespace, "get", c.existing(ctx, kinds), "-o", "wide", "--ignore-not-found")
	show("events", "-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
	show("conditions", "-n", namespace, "get", c.existing(ctx, "gateways,httproutes,mcpservers,mcpvirtualservers"), "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.name} {.status}{"\n"}{end}`)
	for _, pod := range c.list(ctx, "-n", namespace, "get", "pods", "-o", "name") {
		show("last words of "+pod, "-n", namespace, "logs", pod, "--all-containers", "--tail=30")
		c.keep(ctx, t, "before-"+pod, "-n", namespace, "logs", pod, "--all-containers", "--previous")
	}
	show("last words of istiod", "-n", "istio-system", "logs", "deployment/istiod", "--tail=20")
	c.keep(ctx, t, "proxies-of-istiod.json", "-n", "istio-system", "exec", "deployment/istiod", "--", "pilot-discovery", "request", "GET", "/debug/syncz")
	for _, pod := range c.list(ctx, "-n", namespace, "get", "pods", "-l", "gateway.networking.k8s.io/gateway-name", "-o", "name") {
		c.keep(ctx, t, "envoy-of-"+pod, "-n", namespace, "exec", pod, "--", "pilot-agent", "request", "GET", "config_dump?include_eds")
	}
	c.keep(ctx, t, "objects.yaml", "-n", namespace, "get", c.existing(ctx, kinds), "-o", "yaml")
}

// list is the words that kubectl prints, of which there are none if it fails: this is called after something else has failed.
func (c *cluster) list(ctx context.Context, args ...string) []string {
	out, err := c.try(ctx, "", append([]string{"kubectl"}, args...)...)
	if err != nil {
		return nil
	}
	return strings.Fields(out)
}

// existing leaves out the kinds that are not installed, for which kubectl would refuse them all.
func (c *cluster) existing(ctx context.Context, kinds string) string {
	known := map[string]bool{}
	for _, resource := range c.list(ctx, "api-resources", "--namespaced", "-o", "name") {
		plural, _, _ := strings.Cut(resource, ".")
		known[plural] = true
	}
	var kept []string
	for kind := range strings.SplitSeq(kinds, ",") {
		if known[kind] {
			kept = append(kept, kind)
		}
	}
	return strings.Join(kept, ",")
}

// keep writes what kubectl prints to a file, if there is a folder for that.
func (c *cluster) keep(ctx context.Context, t testing.TB, name string, args ...string) {
	t.Helper()
	dir := os.Getenv(artifactsVariable)
	if dir == "" {
		return
	}
	out, err := c.try(ctx, "", append([]string{"kubectl"}, args...)...)
	if err != nil {
		return // there is nothing to keep, such as no pod before this one
	}
	dir = filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "."))
	path := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Log(err)
		return
	}
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Log(err)
		return
	}
	t.Logf("kept %q", path)
}
