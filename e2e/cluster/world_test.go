package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// world is a namespace with the two example servers, registered and ready, and a client that has a session.
type world struct {
	*cluster
	ns     string
	client *testbed.Client
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c := shared
	address := c.gateway(t)
	w := &world{cluster: c, ns: c.namespace(t), client: clientAt(t, address)}
	w.apply(t, "example-servers.yaml")
	w.apply(t, "servers.yaml")
	for _, server := range []string{"weather", "time"} {
		w.isReady(t, server)
	}
	w.client.Initialize(t, "{}")
	return w
}

// apply applies a file of testdata for this namespace.
func (w *world) apply(t testing.TB, file string, variables ...string) {
	t.Helper()
	w.cluster.apply(t, file, append(variables, "NAMESPACE="+w.ns, "PREFIX="+w.ns+"_")...)
}

// run runs kubectl in this namespace.
func (w *world) run(t testing.TB, args ...string) string {
	t.Helper()
	return w.kubectl(t, append([]string{"-n", w.ns}, args...)...)
}

// cleanly runs kubectl after the test, whose own context has ended then.
func (c *cluster) cleanly(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if _, err := c.try(ctx, "", append([]string{"kubectl"}, args...)...); err != nil {
		t.Error(err)
	}
}

// patch changes an object by a merge patch in JSON.
func (w *world) patch(t testing.TB, object, patch string) {
	t.Helper()
	w.run(t, "patch", object, "--type=merge", "--patch", patch)
}

// scale asks for a number of pods and waits until there are that many.
func (c *cluster) scale(t testing.TB, namespace, deployment string, replicas int) {
	t.Helper()
	c.kubectl(t, "-n", namespace, "scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", replicas))
	if replicas > 0 {
		c.rollout(t, namespace, deployment)
		return
	}
	selector := c.kubectl(t, "-n", namespace, "get", "deployment", deployment, "-o", "go-template={{range $k, $v := .spec.selector.matchLabels}}{{$k}}={{$v}}{{end}}")
	c.kubectl(t, "-n", namespace, "wait", "--for=delete", "pod", "--selector="+selector, "--timeout="+patience.String())
}

// kill ends pods as the failure of a node would: their programs are told nothing and say no goodbye, and others take their place.
func (c *cluster) kill(t testing.TB, namespace string, pods ...string) {
	t.Helper()
	ids := c.kubectl(t, append([]string{"-n", namespace, "get", "pods", "-o", `go-template={{define "ids"}}{{range .status.containerStatuses}}{{.containerID}} {{end}}{{end}}` +
		`{{if .items}}{{range .items}}{{template "ids" .}}{{end}}{{else}}{{template "ids" .}}{{end}}`}, pods...)...)
	require.NotEmpty(t, ids, "there is nothing to kill")
	for id := range strings.FieldsSeq(ids) {
		c.must(t, "", "exec", "ctr", "--namespace=k8s.io", "tasks", "kill", "--signal=SIGKILL", strings.TrimPrefix(id, "containerd://"))
	}
	c.kubectl(t, append([]string{"-n", namespace, "delete", "pod", "--force", "--grace-period=0"}, pods...)...)
}

// pods are the names of the pods of a deployment of ours.
func (c *cluster) pods(t testing.TB, deployment string) []string {
	t.Helper()
	return strings.Fields(c.kubectl(t, "-n", installNamespace, "get", "pods", "-l", "app.kubernetes.io/name="+deployment, "-o", "jsonpath={.items[*].metadata.name}"))
}

func reasonOf(condition string) string {
	return fmt.Sprintf(`jsonpath={.status.conditions[?(@.type=='%s')].reason}`, condition)
}

// isReady waits until the gateway has talked to a server and offers what it has.
func (w *world) isReady(t testing.TB, server string) {
	t.Helper()
	w.wait(t, w.ns, "mcpserver/"+server, "condition=Ready")
}

// isNot waits until a condition of a server is False for a reason, and returns its message.
func (w *world) isNot(t testing.TB, condition, server, reason string) (message string) {
	t.Helper()
	w.wait(t, w.ns, "mcpserver/"+server, reasonOf(condition)+"="+reason)
	c := w.condition(t, server, condition)
	require.Equal(t, []string{"False", reason}, []string{string(c.Status), c.Reason}, c.Message)
	t.Logf("%s is not %s: %s: %s", server, condition, c.Reason, c.Message)
	return c.Message
}

func (w *world) condition(t testing.TB, server, condition string) metav1.Condition {
	t.Helper()
	var c []metav1.Condition
	raw := w.run(t, "get", "mcpserver", server, "-o", "jsonpath={.status.conditions}")
	require.NoError(t, json.Unmarshal([]byte(raw), &c), raw)
	i := slices.IndexFunc(c, func(c metav1.Condition) bool { return c.Type == condition })
	require.GreaterOrEqual(t, i, 0, "%s has no condition %s: %s", server, condition, raw)
	return c[i]
}

// forecast and clock are tools of the servers as the gateway names them.
func (w *world) forecast() string { return w.ns + "_weather_get_forecast" }
func (w *world) clock() string    { return w.ns + "_time_get_time" }

func allTools(prefix string) []string {
	return append(clockTools(prefix), weatherTools(prefix)...)
}

func clockTools(prefix string) []string {
	return []string{prefix + "time_add_duration", prefix + "time_get_time"}
}

func weatherTools(prefix string) []string {
	return []string{prefix + "weather_get_alerts", prefix + "weather_get_forecast", prefix + "weather_watch_storm"}
}

// tools are those of this world that a client is offered.
func (w *world) tools(t testing.TB, client *testbed.Client) []string {
	t.Helper()
	return slices.DeleteFunc(client.ToolNames(t), func(name string) bool { return !strings.HasPrefix(name, w.ns) })
}

// lists waits until the tools of this world are these and no others.
func (w *world) lists(t testing.TB, names []string) {
	t.Helper()
	await(t, "the list to have "+strings.Join(names, ", "), func() (string, bool) {
		is := w.tools(t, w.client)
		return strings.Join(is, ", "), slices.Equal(is, names)
	})
}

// call calls a tool of one of the servers.
func (w *world) call(t testing.TB, client *testbed.Client, tool string) (*testbed.Answer, error) {
	t.Helper()
	body, _ := client.ToolCall(tool, `{"city":"Lisbon"}`)
	return client.TryDo(t, http.MethodPost, strings.NewReader(body))
}

// works waits until a tool answers.
func (w *world) works(t testing.TB, tool string) {
	t.Helper()
	w.worksFor(t, w.client, tool)
}

func (w *world) worksFor(t testing.TB, client *testbed.Client, tool string) {
	t.Helper()
	await(t, "a call of "+tool+" to work", func() (string, bool) {
		a, err := w.call(t, client, tool)
		return seen(a, err), err == nil && a.Status == http.StatusOK && strings.Contains(a.Body, `"result"`) && !strings.Contains(a.Body, `"isError":true`)
	})
}

// worksAtOnce is works where nothing may go wrong.
func (w *world) worksAtOnce(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		a, err := w.call(t, w.client, tool)
		require.NoError(t, err)
		require.NotContains(t, a.Text(t), "error", tool)
	}
}

// fails waits until a call of a tool ends with an error of a code, and returns its message. Until then it works, or fails in another way that is told
// as a JSON-RPC error (Invariant 7).
func (w *world) fails(t testing.TB, tool string, code int) (message string) {
	t.Helper()
	await(t, fmt.Sprintf("a call of %s to end with the error %d", tool, code), func() (string, bool) {
		a, err := w.call(t, w.client, tool)
		require.NoError(t, err)
		if a.Status == http.StatusOK && strings.Contains(a.Body, `"result"`) {
			return a.String(), false
		}
		fault := a.Error(t)
		message = fault.Message
		return a.String(), fault.Code == code
	})
	return message
}

// newClient is one more client with a session.
func (w *world) newClient(t testing.TB) *testbed.Client {
	t.Helper()
	client := clientAt(t, w.gateway(t))
	client.Initialize(t, "{}")
	return client
}
