package localenv_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// toolsOf is what the policies of values-dev.yaml permit users.
func toolsOf(user string) []string {
	switch user {
	case "mcp":
		return []string{"time_get_time", "weather_get_alerts", "weather_get_forecast", "weather_watch_storm"}
	case "mcp-admin":
		return []string{"time_add_duration", "time_get_time", "weather_get_alerts", "weather_get_forecast", "weather_watch_storm"}
	}
	return nil
}

// hello opens a session.
const hello = `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// TestLocalEnvironment is the life of one: each part goes on where the one before has ended.
func TestLocalEnvironment(t *testing.T) {
	e := newEnvironment(t)
	out := e.make(t, "local-env-setup")
	assert.Contains(t, out, "make dev-gateway-forward", "it tells what to do next")
	if !t.Run("it can be set up again", e.again) {
		return
	}
	t.Run("clients without a token are told where to log in", e.challenge)
	t.Run("users have what the policies permit", e.permissions)
	t.Run("the Inspector logs in", e.inspector)
	t.Run("helm test", e.helmTest)
	t.Run("policies change by an upgrade", e.policies)
	t.Run("an upgrade is rolled back", e.rollback)
	t.Run("wrong values are refused", e.wrongValues)
	t.Run("new programs are brought in", e.reload)
	t.Run("nothing is left of the release", e.uninstall)
}

func (e *environment) again(t *testing.T) {
	before := e.pods(t)
	e.make(t, "local-env-setup")
	assert.Equal(t, before, e.pods(t), "what is the same is not restarted")
	status := e.make(t, "status")
	assert.Contains(t, status, fmt.Sprintf("http://%s:%d/mcp", mcpHost, e.mcp))
	assert.Regexp(t, `weather +weather_ +weather +3 +True`, status)
}

// challenge goes through the ports that are forwarded, as users do.
func (e *environment) challenge(t *testing.T) {
	forward := testbed.Start(t, "make dev-gateway-forward", testbed.Command{Path: "make", Args: append([]string{"-C", root, "dev-gateway-forward"}, e.variables...)})
	forward.Said(t, "forwarding, until Ctrl-C")
	c := e.client(t, e.mcp, "")
	a := c.Post(t, hello)
	assert.Equal(t, http.StatusUnauthorized, a.Status, a)
	metadata := fmt.Sprintf("http://%s:%d/.well-known/oauth-protected-resource/mcp", mcpHost, e.mcp)
	assert.Contains(t, a.Header.Get("WWW-Authenticate"), `resource_metadata="`+metadata+`"`)
	assert.Contains(t, a.Body, `"id":7`, "Istio's own refusal would be no JSON-RPC")
	document := c.At(metadata).Do(t, http.MethodGet, nil)
	assert.Contains(t, document.Body, fmt.Sprintf(`"http://localhost:%d/realms/mcp"`, e.keycloak))
	forged := e.client(t, e.mcp, e.token(t, "mcp")+"x")
	assert.Equal(t, http.StatusUnauthorized, forged.Post(t, hello).Status)
}

func (e *environment) permissions(t *testing.T) {
	for _, user := range []string{"mcp", "mcp-admin", "guest"} {
		c := e.session(t, user)
		assert.Equal(t, toolsOf(user), c.ToolNames(t), user)
		allowed := slices.Contains(toolsOf(user), "weather_get_forecast")
		for _, tool := range []string{"weather_get_forecast", "time_add_duration"} {
			a := c.Call(t, tool, `{"city":"Lisbon"}`)
			want := http.StatusForbidden
			if slices.Contains(toolsOf(user), tool) {
				want = http.StatusOK
			}
			assert.Equal(t, want, a.Status, "%s calls %s: %s", user, tool, a)
		}
		if allowed {
			assert.Contains(t, c.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`).Text(t), "Lisbon")
		}
	}
}

// helmTest also finds out a policy that is accepted and not in force: to the test it is one that lets a call pass.
func (e *environment) helmTest(t *testing.T) {
	test := []string{"helm", "test", release, "--namespace", namespace}
	t.Log(e.run(t, test...))
	e.run(t, "kubectl", "--namespace", namespace, "create", "secret", "generic", "a-token", "--from-literal=token="+e.token(t, "mcp"))
	token := []string{"--set", "tests.token.existingSecret=a-token,tests.tool=weather_get_forecast,tests.arguments.city=Lisbon"}
	e.run(t, e.upgrade(append(token, "--set", "tests.forbiddenTool=time_add_duration")...)...)
	t.Log(e.run(t, test...))
	e.run(t, e.upgrade(append(token, "--set", "tests.forbiddenTool=weather_get_alerts,tests.timeoutSeconds=20")...)...)
	assert.Contains(t, e.refused(t, test...), "weather_get_alerts", "a call passes that should not")
	e.run(t, e.upgrade("--set", "tests.token.existingSecret=,tests.tool=,tests.arguments=null,tests.forbiddenTool=")...)
	e.run(t, test...) // the pod of one that failed stays to be looked at, until the next one
}

const guestsMayLook = `
policies:
  acl:
    - name: anybody
      groups: [guests, developers]
      allow: [weather_get_alerts]
  rateLimits:
    - {name: looks, tools: [weather_get_alerts], per: user, limit: 2, window: 1m}
`

// policies changes the ACL as the guide does. Sessions go on, and no pod is another one.
func (e *environment) policies(t *testing.T) {
	before, c := e.pods(t), e.session(t, "mcp")
	assert.Equal(t, http.StatusOK, c.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`).Status)
	file := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(file, []byte(guestsMayLook), 0o600))
	e.run(t, e.upgrade("--values", file)...)
	testbed.AwaitWithin(t, patience, "the new policies to be in force", func() bool {
		return c.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`).Status == http.StatusForbidden && slices.Equal(c.ToolNames(t), []string{"weather_get_alerts"})
	})
	statuses := []int{}
	for range 4 {
		statuses = append(statuses, c.Call(t, "weather_get_alerts", `{"city":"Lisbon"}`).Status)
	}
	assert.Equal(t, []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests, http.StatusTooManyRequests}, statuses, "the limit counts")
	assert.Equal(t, before, e.pods(t), "nothing was restarted")
}

func (e *environment) rollback(t *testing.T) {
	c := e.session(t, "mcp")
	e.run(t, "helm", "rollback", release, "--namespace", namespace, "--wait", "--timeout", "3m")
	testbed.AwaitWithin(t, patience, "the old policies to be in force", func() bool {
		return c.Call(t, "weather_get_forecast", `{"city":"Lisbon"}`).Status == http.StatusOK && slices.Equal(c.ToolNames(t), toolsOf("mcp"))
	})
}

func (e *environment) wrongValues(t *testing.T) {
	before := e.run(t, "helm", "history", release, "--namespace", namespace, "-o", "json")
	for name, c := range map[string]struct{ set, want string }{
		"a class that is not there": {"gateway.className=nobody", `has no GatewayClass "nobody" (gateway.className)`},
		"an unknown key":            {"broker.replica=2", "replica"},
		"a wrong type":              {"broker.replicas=many", "broker.replicas"},
		"an ACL that names no tool": {"policies.acl[0].name=empty,policies.acl[0].groups[0]=x,policies.acl[0].allow[0]=", "policies.acl"},
	} {
		t.Run(name, func(t *testing.T) {
			out := e.refused(t, e.upgrade("--set", c.set)...)
			assert.Contains(t, strings.ReplaceAll(out, "/", "."), c.want)
			t.Log(strings.TrimSpace(out))
		})
	}
	assert.Equal(t, before, e.run(t, "helm", "history", release, "--namespace", namespace, "-o", "json"), "nothing was changed")
}

func (e *environment) reload(t *testing.T) {
	before := e.pods(t)
	e.make(t, "reload")
	assert.NotEqual(t, before, e.pods(t))
	assert.Equal(t, toolsOf("mcp"), e.session(t, "mcp").ToolNames(t))
	assert.Contains(t, e.make(t, "logs", "FOLLOW="), "mcp-gateway")
}

// uninstall looks for whatever the release, or its programs at run time, have made. The definitions stay, since all objects of their kinds would go with them.
func (e *environment) uninstall(t *testing.T) {
	ours := map[string]bool{"local-env-gateway": true, "local-env-tls": true, "a-token": true, "kube-root-ca.crt": true, "istio-ca-root-cert": true, "istio-ca-crl": true, "default": true}
	e.run(t, "helm", "uninstall", release, "--namespace", namespace, "--wait", "--timeout", "3m")
	kinds := e.run(t, "kubectl", "api-resources", "--verbs=list", "--namespaced", "-o", "name")
	var left []string
	testbed.AwaitWithin(t, patience, "nothing to be left in the namespace", func() bool {
		left = nil
		for line := range strings.Lines(e.run(t, "kubectl", "--namespace", namespace, "get", strings.Join(strings.Fields(withoutEvents(kinds)), ","), "--ignore-not-found", "-o", `jsonpath={range .items[*]}{.kind} {.metadata.name}{"\n"}{end}`)) {
			if fields := strings.Fields(line); len(fields) == 2 && !ours[fields[1]] {
				left = append(left, strings.TrimSpace(line))
			}
		}
		return len(left) == 0
	})
	cluster := e.run(t, "kubectl", "get", "clusterroles,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "name")
	assert.NotContains(t, cluster, release)
	assert.Empty(t, left)
}

func withoutEvents(kinds string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(kinds), func(k string) bool { return strings.HasPrefix(k, "events") || strings.HasSuffix(k, ".metrics.k8s.io") }), " ")
}
