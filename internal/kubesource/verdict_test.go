package kubesource

import (
	"encoding/json"
	"maps"
	"slices"
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
	l := &catalog.Listing{Revision: "2025-11-25", Modern: "2026-07-28"}
	for _, name := range tools {
		l.Items[catalog.Tool] = append(l.Items[catalog.Tool], json.RawMessage(`{"name":"`+name+`","inputSchema":{"type":"object"}}`))
	}
	l.Items[catalog.Resource] = []json.RawMessage{json.RawMessage(`{"uri":"file:///a","name":"a"}`)}
	l.Items[catalog.Template] = []json.RawMessage{json.RawMessage(`{"uriTemplate":"file:///{b}","name":"b"}`)}
	return l
}

func withCredential() *v1alpha1.MCPServer {
	return &v1alpha1.MCPServer{Spec: v1alpha1.MCPServerSpec{CredentialRef: &v1alpha1.CredentialReference{Name: "token"}}}
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
			c := ready(withCredential(), &catalog.Server{State: test.state, Programmed: test.programmed}, test.taken)
			assert.Equal(t, test.want, string(c.Status)+"/"+c.Reason+": "+c.Message)
		})
	}
}

// TestPinMismatch: a tool that is not what it is pinned to is left out, and its server's status says so, as long as it is so.
func TestPinMismatch(t *testing.T) {
	l := listing("a", "b", "c")
	good := catalog.DigestOf(l.Items[catalog.Tool][0]).String()
	server := func(pins ...catalog.Pin) *catalog.Server {
		return &catalog.Server{State: catalog.State{Health: catalog.HealthReady, Listing: l}, Programmed: true, Pins: pins}
	}
	other := "sha256:" + strings.Repeat("0", 64)
	c := ready(withCredential(), server(catalog.Pin{Tool: "a", Digest: good}, catalog.Pin{Tool: "b", Digest: other}, catalog.Pin{Tool: "not there", Digest: other}), nil)
	assert.Equal(t, `False/PinMismatch: These tools have other definitions than they are pinned to in spec.tools, so that they are left out: "b". `+
		"Look in /status of the broker at what the server says of them now, before you change a pin. All others are in the gateway.", string(c.Status)+"/"+c.Reason+": "+c.Message)
	c = ready(withCredential(), server(catalog.Pin{Tool: "a", Digest: good}), nil)
	assert.Equal(t, v1alpha1.ReasonReady, c.Reason)
}

func TestMessageIsClipped(t *testing.T) {
	c := ready(withCredential(), &catalog.Server{State: catalog.State{Health: catalog.HealthFailing, LastError: strings.Repeat("é", 2000)}}, nil)
	assert.LessOrEqual(t, len(c.Message), maxMessage)
	assert.True(t, strings.HasSuffix(c.Message, "é…"))
}

// snapshot has servers with a state each, and virtual servers.
func snapshot(states map[string]catalog.State, virtual ...config.VirtualServer) *catalog.Snapshot {
	var servers []config.Server
	for _, name := range slices.Sorted(maps.Keys(states)) {
		servers = append(servers, config.Server{Name: name, Enabled: true})
	}
	return catalog.Build(catalog.Input{
		Servers: servers, VirtualServers: virtual, States: states,
		Programmed: func(string) bool { return true },
		Cluster:    func(s *config.Server) string { return s.Name },
	})
}

func TestConflicts(t *testing.T) {
	got := conflicts(snapshot(map[string]catalog.State{"team/older": {Health: catalog.HealthReady, Listing: listing("a", "b", "b")}, "team/younger": {Health: catalog.HealthReady, Listing: listing("b", "c")}}))
	assert.Empty(t, got["team/older"], "a server that gives one name twice is in nobody's way")
	assert.Equal(t, []string{`the tool "b" of "team/older"`, `the resource "file:///a" of "team/older"`, `the resource template "file:///{b}" of "team/older"`}, got["team/younger"])
}

// What is refused is mended where its author has put it.
func TestUnauthorizedTellsWhereToLook(t *testing.T) {
	ref := &v1alpha1.SecretReference{Name: "token"}
	for want, spec := range map[string]v1alpha1.MCPServerSpec{
		"the Secret that spec.credentialRef names":          withCredential().Spec,
		"Check spec.oauth: the authorization server":        {OAuth: &v1alpha1.OAuth{ClientCredentials: &v1alpha1.ClientCredentials{}}},
		"the Secret that spec.oauth.discoveryRef names":     {OAuth: &v1alpha1.OAuth{TokenExchange: &v1alpha1.TokenExchange{}, DiscoveryRef: ref}},
		"Give spec.oauth.discoveryRef a token":              {OAuth: &v1alpha1.OAuth{ClientToken: true}},
		"the Secret that spec.perUser.discoveryRef names":   {PerUser: &v1alpha1.PerUser{DiscoveryRef: ref}},
		"Give spec.perUser.discoveryRef a credential":       {PerUser: &v1alpha1.PerUser{}},
		"by spec.credentialRef, spec.oauth or spec.perUser": {},
	} {
		c := ready(&v1alpha1.MCPServer{Spec: spec}, &catalog.Server{State: catalog.State{Health: catalog.HealthFailing, Cause: catalog.CauseUnauthorized, LastError: "HTTP 401"}}, nil)
		assert.Contains(t, c.Message, want)
	}
}

func TestJudgeServer(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	earlier := metav1.NewTime(now.Add(-time.Hour))
	object := &v1alpha1.MCPServer{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a", Generation: 3}}
	object.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonPending, LastTransitionTime: earlier},
		{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue, ObservedGeneration: 2},
	}
	judge := func(state catalog.State, at metav1.Time) (*verdict, bool) {
		return judgeServer(object, snapshot(map[string]catalog.State{"team/a": state}), nil, at)
	}
	well := catalog.State{Health: catalog.HealthReady, Listing: listing("a", "b")}

	v, known := judge(well, now)
	require.True(t, known)
	assert.False(t, v.told(statusOf(object)))
	assert.Equal(t, now, v.ready.LastTransitionTime)
	assert.EqualValues(t, 2, v.ready.ObservedGeneration, "the third generation is not in the configuration yet")
	assert.Equal(t, []int32{2, 0, 2}, []int32{*v.tools, *v.prompts, *v.resources})

	object.Status.Conditions[0] = v.ready
	object.Status.DiscoveredTools, object.Status.DiscoveredPrompts, object.Status.DiscoveredResources = v.tools, v.prompts, v.resources
	object.Status.ProtocolRevisions = v.revisions
	v, known = judge(well, metav1.NewTime(now.Add(time.Hour)))
	require.True(t, known)
	assert.True(t, v.told(statusOf(object)), "nothing is written where nothing changed")

	_, known = judge(catalog.State{Health: catalog.HealthConnecting}, now)
	assert.False(t, known, "a gateway that starts knows less than what is told")

	v, known = judge(catalog.State{Health: catalog.HealthFailing, LastError: "x"}, now)
	require.True(t, known)
	assert.EqualValues(t, 2, *v.tools, "what was discovered before stays")
	status := v.status()
	assert.Equal(t, int64(2), status["discoveredTools"])
	assert.Equal(t, []any{"2026-07-28", "2025-11-25"}, status["protocolRevisions"])

	v, known = judgeServer(object, snapshot(nil), nil, now)
	assert.True(t, known)
	assert.Nil(t, v, "of what is not in the configuration nothing is told")
}

func TestJudgeVirtual(t *testing.T) {
	now := metav1.NewTime(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))
	object := &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "office", Generation: 1}}
	well := catalog.State{Health: catalog.HealthReady, Listing: listing("a", "b")}
	judge := func(second catalog.Health, tools ...string) (*verdict, bool) {
		office := config.VirtualServer{Name: "team/office", Tools: tools, Servers: []string{"team/second"}}
		if len(tools) > 0 {
			office.Resources = []string{"file:///*"}
		}
		return judgeVirtual(object, snapshot(map[string]catalog.State{"team/first": well, "team/second": {Health: second}}, office), now)
	}

	v, known := judge(catalog.HealthReady, "a")
	require.True(t, known)
	assert.Equal(t, []int32{1, 0, 2}, []int32{*v.tools, *v.prompts, *v.resources}, "templates count as resources")
	assert.Equal(t, "True/Ready: The gateway serves it.", string(v.ready.Status)+"/"+v.ready.Reason+": "+v.ready.Message)
	assert.Nil(t, v.status()["protocolRevisions"])

	object.Status = v1alpha1.MCPVirtualServerStatus{Conditions: []metav1.Condition{v.ready}, DiscoveredTools: v.tools, DiscoveredPrompts: v.prompts, DiscoveredResources: v.resources}
	v, known = judge(catalog.HealthReady, "a")
	require.True(t, known)
	assert.True(t, v.told(statusOf(object)), "nothing is written where nothing changed")

	_, known = judge(catalog.HealthConnecting)
	assert.False(t, known, "what is missing may be a server's that has not been asked yet")
	v, known = judge(catalog.HealthConnecting, "a", "b")
	require.True(t, known, "more is told at once")
	assert.EqualValues(t, 2, *v.tools)

	v, known = judge(catalog.HealthFailing)
	require.True(t, known)
	assert.Zero(t, *v.tools)
	assert.Contains(t, v.ready.Message, "Nothing that it chooses is there")

	v, known = judgeVirtual(object, snapshot(nil), now)
	assert.True(t, known)
	assert.Nil(t, v)
}

// Two gateways that have one object do not write over each other's words without end, and one that is gone is not waited for.
func TestSpokenFor(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	r := &Reporter{manager: "mcp-gateway-broker:a/config"}
	entry := func(manager string, ago time.Duration) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(now.Add(-ago))
		return metav1.ManagedFieldsEntry{Manager: manager, Time: &at}
	}
	object := func(fields ...metav1.ManagedFieldsEntry) *v1alpha1.MCPVirtualServer {
		o := &v1alpha1.MCPVirtualServer{ObjectMeta: metav1.ObjectMeta{ManagedFields: append(fields, entry("kubectl", 0), entry("mcp-gateway-controller:a/b", 0))}}
		_, err := r.slim(o)
		require.NoError(t, err)
		return o
	}
	assert.Zero(t, r.spokenFor(object(), now))
	assert.Zero(t, r.spokenFor(object(entry(r.manager, time.Second)), now))
	assert.Equal(t, courtesy-time.Minute, r.spokenFor(object(entry(r.manager, time.Second), entry("mcp-gateway-broker:b/config", time.Minute)), now))
	assert.Zero(t, r.spokenFor(object(entry("mcp-gateway-broker:b/config", time.Hour)), now))
	assert.False(t, r.owns(object(entry("mcp-gateway-broker:b/config", 0))))
	assert.True(t, r.owns(object(entry(r.manager, 0))))
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
