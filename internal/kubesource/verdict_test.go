package kubesource

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func listing(tools ...string) *catalog.Listing {
	l := &catalog.Listing{Revision: "2025-11-25"}
	for _, name := range tools {
		l.Items[catalog.Tool] = append(l.Items[catalog.Tool], json.RawMessage(`{"name":"`+name+`","inputSchema":{"type":"object"}}`))
	}
	l.Items[catalog.Resource] = []json.RawMessage{json.RawMessage(`{"uri":"file:///a","name":"a"}`)}
	l.Items[catalog.Template] = []json.RawMessage{json.RawMessage(`{"uriTemplate":"file:///{b}","name":"b"}`)}
	return l
}

func TestReady(t *testing.T) {
	for name, test := range map[string]struct {
		state      catalog.State
		programmed bool
		taken      []string
		want       string
	}{
		"well":         {catalog.State{Health: catalog.HealthReady, Listing: listing("a")}, true, nil, "True/Ready: The gateway has talked to the server and offers what it has."},
		"not in Envoy": {catalog.State{Health: catalog.HealthReady, Listing: listing("a")}, false, nil, "Unknown/Pending: The gateway has talked to the server; Envoy does not have the way to it yet."},
		"names taken": {
			catalog.State{Health: catalog.HealthReady, Listing: listing("a")},
			true,
			[]string{`the tool "1"`, `the tool "2"`, `the tool "3"`, `the tool "4"`, `the tool "5"`, `the tool "6"`, `the tool "7"`},
			`False/NameConflict: An older server has names that this one gives too, so that these items are left out: the tool "1", the tool "2", the tool "3", the tool "4", the tool "5" and 2 more. ` +
				"Give this server a toolPrefix, or uriPrefix for resources. All others are in the gateway.",
		},
		"never asked":  {catalog.State{Health: catalog.HealthConnecting}, true, nil, "Unknown/Pending: The gateway is connecting to the server."},
		"disabled":     {catalog.State{Health: catalog.HealthDisabled}, true, nil, "False/Disabled: Out of use: set spec.enabled to true to have the server in the gateway."},
		"unreachable":  {catalog.State{Health: catalog.HealthFailing, Cause: catalog.CauseUnreachable, LastError: "cannot connect"}, true, nil, "False/Unreachable: cannot connect. Check that its pods run and that its Service and HTTPRoute lead to them."},
		"went away":    {catalog.State{Health: catalog.HealthFailing, Cause: catalog.CauseUnreachable, LastError: "gone.", Listing: listing("a")}, true, nil, "False/Unreachable: gone. Check that its pods run and that its Service and HTTPRoute lead to them. Its tools stay listed, and calls of them fail."},
		"unauthorized": {catalog.State{Health: catalog.HealthFailing, Cause: catalog.CauseUnauthorized, LastError: "HTTP 401"}, true, nil, "False/Unauthorized: HTTP 401. Check the Secret that spec.credentialRef names."},
		"no MCP":       {catalog.State{Health: catalog.HealthFailing, Cause: catalog.CauseProtocol, LastError: "HTTP 404"}, true, nil, "False/ProtocolError: HTTP 404. Check that spec.path and the HTTPRoute lead to an MCP endpoint."},
	} {
		t.Run(name, func(t *testing.T) {
			c := ready(&catalog.Server{State: test.state, Programmed: test.programmed}, test.taken)
			assert.Equal(t, test.want, string(c.Status)+"/"+c.Reason+": "+c.Message)
		})
	}
}

func TestMessageIsClipped(t *testing.T) {
	c := ready(&catalog.Server{State: catalog.State{Health: catalog.HealthFailing, LastError: strings.Repeat("é", 2000)}}, nil)
	assert.LessOrEqual(t, len(c.Message), maxMessage)
	assert.True(t, strings.HasSuffix(c.Message, "é…"))
}

func TestConflicts(t *testing.T) {
	servers := []config.Server{{Name: "team/older", Enabled: true}, {Name: "team/younger", Enabled: true}}
	snap := catalog.Build(catalog.Input{
		Servers:    servers,
		States:     map[string]catalog.State{"team/older": {Health: catalog.HealthReady, Listing: listing("a", "b", "b")}, "team/younger": {Health: catalog.HealthReady, Listing: listing("b", "c")}},
		Programmed: func(string) bool { return true },
		Cluster:    func(s *config.Server) string { return s.Name },
	})
	got := conflicts(snap)
	assert.Empty(t, got["team/older"], "a server that gives one name twice is in nobody's way")
	assert.Equal(t, []string{`the tool "b" of "team/older"`, `the resource "file:///a" of "team/older"`, `the resource template "file:///{b}" of "team/older"`}, got["team/younger"])
}

func TestJudge(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	earlier := metav1.NewTime(now.Add(-time.Hour))
	object := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	object.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending, LastTransitionTime: earlier},
		{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue, ObservedGeneration: 2},
	}
	well := &catalog.Server{Programmed: true, State: catalog.State{Health: catalog.HealthReady, Listing: listing("a", "b")}}

	v, known := judge(object, well, nil, now)
	require.True(t, known)
	assert.False(t, v.told(object))
	assert.Equal(t, now, v.ready.LastTransitionTime)
	assert.EqualValues(t, 2, v.ready.ObservedGeneration, "the third generation is not in the configuration yet")
	assert.Equal(t, []int32{2, 0, 2}, []int32{*v.tools, *v.prompts, *v.resources})

	object.Status.Conditions[0] = v.ready
	object.Status.DiscoveredTools, object.Status.DiscoveredPrompts, object.Status.DiscoveredResources = v.tools, v.prompts, v.resources
	object.Status.ProtocolRevisions = v.revisions
	v, known = judge(object, well, nil, metav1.NewTime(now.Add(time.Hour)))
	require.True(t, known)
	assert.True(t, v.told(object), "nothing is written where nothing changed")

	_, known = judge(object, &catalog.Server{Programmed: true, State: catalog.State{Health: catalog.HealthConnecting}}, nil, now)
	assert.False(t, known, "a gateway that starts knows less than what is told")

	v, known = judge(object, &catalog.Server{Programmed: true, State: catalog.State{Health: catalog.HealthFailing, LastError: "x"}}, nil, now)
	require.True(t, known)
	assert.EqualValues(t, 2, *v.tools, "what was discovered before stays")
	status := v.status()
	assert.Equal(t, int64(2), status["discoveredTools"])
	assert.Equal(t, []any{"2025-11-25"}, status["protocolRevisions"])
}

func TestParseNames(t *testing.T) {
	n, err := ParseNames("mcp-system/mcp-gateway-config")
	require.NoError(t, err)
	assert.Equal(t, Names{Namespace: "mcp-system", Config: "mcp-gateway-config", Credentials: "mcp-gateway-credentials", Certificates: "mcp-gateway-certificates"}, n)
	n, err = ParseNames("a/own")
	require.NoError(t, err)
	assert.Equal(t, Names{Namespace: "a", Config: "own", Credentials: "own-credentials", Certificates: "own-certificates"}, n)
	for _, bad := range []string{"", "a", "a/", "/b", "a/b/c", "A/b"} {
		_, err := ParseNames(bad)
		assert.Error(t, err, bad)
	}
}
