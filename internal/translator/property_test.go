package translator_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// dice throws objects together from words that fit each other often enough to be followed, and badly enough to fail at every step. When its bytes are used up it
// goes on with a generator that they seed, so that a fuzzer's bytes and a test's numbers make whole inputs alike.
type dice struct {
	bytes []byte
	rest  *rand.Rand
	text  string
	// calm dice mostly take the first of what they may choose from, which is what goes well.
	calm bool
}

func newDice(seed uint64, text string, bytes []byte) *dice {
	return &dice{bytes: bytes, rest: rand.New(rand.NewPCG(seed, uint64(len(bytes)))), text: text, calm: seed%2 == 0}
}

func (d *dice) n(limit int) int {
	if len(d.bytes) > 0 {
		b := d.bytes[0]
		d.bytes = d.bytes[1:]
		return int(b) % limit
	}
	return d.rest.IntN(limit)
}

func (d *dice) once(in int) bool { return d.n(in) == 0 }

// settled tells whether calm dice take the first choice this time.
func (d *dice) settled() bool { return d.calm && !d.once(6) }

func one[T any](d *dice, of ...T) T {
	if d.settled() {
		return of[0]
	}
	return of[d.n(len(of))]
}

func maybe[T any](d *dice, value T) *T {
	if d.settled() || d.once(2) {
		return nil
	}
	return &value
}

// rarely is for what seldom goes well.
func rarely[T any](d *dice, value T) *T {
	if d.settled() || !d.once(6) {
		return nil
	}
	return &value
}

func some[T any](d *dice, limit int, make func() T) []T {
	var list []T
	length := 1
	if !d.settled() {
		length = d.n(limit + 1)
	}
	for range length {
		list = append(list, make())
	}
	return list
}

func (d *dice) namespace() string { return one(d, "a", "b", "gateways") }

func (d *dice) name() string { return one(d, "x", "y", "z") }

// odd is mostly fine and sometimes the fuzzer's own text.
func (d *dice) odd(fine ...string) string {
	if !d.settled() && d.once(6) {
		return d.text
	}
	return one(d, fine...)
}

func (d *dice) host() string {
	return d.odd("a.example.com", "*.example.com", "", "*", "b.other.org", "*.a.example.com")
}

func (d *dice) path() string { return d.odd("/mcp", "/", "/a", "/a/b", "") }

// objects makes one object of a kind for each of some names, since a cluster never has two of one name.
func objects[T any](d *dice, make func(metav1.ObjectMeta) *T) []*T {
	var list []*T
	for _, namespace := range []string{"a", "b", "gateways"} {
		for _, name := range []string{"x", "y", "z"} {
			if !d.settled() && d.once(3) {
				continue
			}
			meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: int64(d.n(3))}
			meta.CreationTimestamp = metav1.Unix(int64(d.n(3)), 0)
			if d.once(20) {
				meta.DeletionTimestamp = new(metav1.Unix(9, 0))
			}
			list = append(list, make(meta))
		}
	}
	return list
}

func (d *dice) input() translator.Input {
	in := newInput()
	in.Gateway.Name = one(d, "x", "x", "x", "missing")
	in.ClusterDomain = d.odd("", "cluster.local", ".Corp.")
	if d.once(2) {
		in.Broker = types.NamespacedName{Namespace: d.namespace(), Name: d.name()}
	}
	if d.once(3) {
		in.EndpointHosts = some(d, 2, d.name)
	}
	if !d.once(3) {
		in.CallerTokens = []string{one(d, "*", d.namespace())}
	}
	if d.once(4) {
		in.Watched = some(d, 2, d.namespace)
	}
	in.Gateways = objects(d, d.gateway)
	in.HTTPRoutes = objects(d, d.route)
	in.MCPServers = objects(d, d.server)
	in.MCPVirtualServers = objects(d, d.virtualServer)
	in.ReferenceGrants = objects(d, d.grant)
	in.Services = objects(d, d.service)
	in.ServiceEntries = objects(d, d.serviceEntry)
	in.Secrets = objects(d, func(m metav1.ObjectMeta) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: m, Data: map[string][]byte{"token": []byte(d.odd("t", "t\n", " t", "")), one(d, "ca.crt", "k"): []byte(d.text)}}
	})
	in.ConfigMaps = objects(d, func(m metav1.ObjectMeta) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: m, Data: map[string]string{one(d, "ca.crt", "k"): d.text}}
	})
	return in
}

func (d *dice) gateway(m metav1.ObjectMeta) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{ObjectMeta: m, Spec: gatewayv1.GatewaySpec{Listeners: some(d, 3, func() gatewayv1.Listener {
		return gatewayv1.Listener{
			Name: gatewayv1.SectionName(d.name()), Hostname: maybe(d, gatewayv1.Hostname(d.host())), Port: int32(d.n(3)),
			Protocol: one(d, gatewayv1.HTTPProtocolType, gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType, gatewayv1.TLSProtocolType),
			AllowedRoutes: &gatewayv1.AllowedRoutes{
				Kinds: some(d, 1, func() gatewayv1.RouteGroupKind {
					return gatewayv1.RouteGroupKind{Kind: one[gatewayv1.Kind](d, "HTTPRoute", "TLSRoute")}
				}),
				Namespaces: &gatewayv1.RouteNamespaces{
					From:     new(one(d, gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSelector, gatewayv1.NamespacesFromNone, "")),
					Selector: maybe(d, metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": d.odd("a", "b")}}),
				},
			},
		}
	})}}
}

func (d *dice) route(m metav1.ObjectMeta) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: m}
	r.Spec.ParentRefs = some(d, 4, func() gatewayv1.ParentReference {
		return gatewayv1.ParentReference{
			Kind: rarely(d, one[gatewayv1.Kind](d, "Gateway", "Gateway", "Service")), Namespace: new(gatewayv1.Namespace(one(d, "gateways", "gateways", d.namespace()))),
			Name: gatewayv1.ObjectName(one(d, "x", d.name())), Port: rarely(d, int32(d.n(3))),
		}
	})
	r.Spec.Hostnames = some(d, 3, func() gatewayv1.Hostname { return gatewayv1.Hostname(d.host()) })
	r.Spec.Rules = some(d, 3, d.rule)
	r.Status.Parents = some(d, 1, func() gatewayv1.RouteParentStatus {
		return gatewayv1.RouteParentStatus{
			ParentRef:  gatewayv1.ParentReference{Namespace: new(gatewayv1.Namespace("gateways")), Name: "x"},
			Conditions: []metav1.Condition{{Type: "Accepted", Status: one(d, metav1.ConditionTrue, metav1.ConditionFalse), ObservedGeneration: int64(d.n(3)), Message: d.text}},
		}
	})
	return r
}

func (d *dice) rule() gatewayv1.HTTPRouteRule {
	return gatewayv1.HTTPRouteRule{
		Matches: some(d, 2, func() gatewayv1.HTTPRouteMatch {
			return gatewayv1.HTTPRouteMatch{
				Path: maybe(d, gatewayv1.HTTPPathMatch{
					Type:  maybe(d, one(d, gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchRegularExpression, "")),
					Value: maybe(d, d.path()),
				}),
				Method: rarely(d, one(d, gatewayv1.HTTPMethodPost, gatewayv1.HTTPMethodGet)),
			}
		}),
		Filters:  d.filters(),
		Timeouts: maybe(d, gatewayv1.HTTPRouteTimeouts{Request: maybe(d, gatewayv1.Duration(d.odd("1s", "0s")))}),
		BackendRefs: some(d, 2, func() gatewayv1.HTTPBackendRef {
			return gatewayv1.HTTPBackendRef{Filters: d.filters(), BackendRef: gatewayv1.BackendRef{
				Weight: rarely(d, int32(d.n(2))),
				BackendObjectReference: gatewayv1.BackendObjectReference{
					Group: rarely(d, one[gatewayv1.Group](d, "", "networking.istio.io")), Kind: maybe(d, one[gatewayv1.Kind](d, "Service", "Service", "Hostname", "Pool")),
					Name: gatewayv1.ObjectName(d.odd("x", "a.example.com", "x.b.svc.cluster.local", ".svc.cluster.local")), Namespace: rarely(d, gatewayv1.Namespace(d.namespace())), Port: new(int32(1 + d.n(1+d.n(2)))),
				},
			}}
		}),
	}
}

func (d *dice) filters() []gatewayv1.HTTPRouteFilter {
	if !d.once(3) {
		return nil
	}
	return some(d, 2, d.filter)
}

func (d *dice) filter() gatewayv1.HTTPRouteFilter {
	return gatewayv1.HTTPRouteFilter{
		Type: one(d, gatewayv1.HTTPRouteFilterURLRewrite, gatewayv1.HTTPRouteFilterURLRewrite, gatewayv1.HTTPRouteFilterRequestHeaderModifier, gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterRequestRedirect, ""),
		URLRewrite: maybe(d, gatewayv1.HTTPURLRewriteFilter{
			Hostname: maybe(d, gatewayv1.PreciseHostname(d.host())),
			Path: maybe(d, gatewayv1.HTTPPathModifier{
				Type: one(d, gatewayv1.FullPathHTTPPathModifier, gatewayv1.PrefixMatchHTTPPathModifier, ""), ReplaceFullPath: maybe(d, d.path()), ReplacePrefixMatch: maybe(d, d.path()),
			}),
		}),
		RequestHeaderModifier: maybe(d, gatewayv1.HTTPHeaderFilter{Set: some(d, 2, func() gatewayv1.HTTPHeader {
			return gatewayv1.HTTPHeader{Name: gatewayv1.HTTPHeaderName(d.odd("x-a", "Host", "X-A")), Value: d.odd("v", "")}
		})}),
	}
}

func (d *dice) server(m metav1.ObjectMeta) *v1alpha1.MCPServer {
	s := &v1alpha1.MCPServer{ObjectMeta: m}
	s.Spec = v1alpha1.MCPServerSpec{
		TargetRef:        v1alpha1.TargetReference{Kind: d.odd("", "HTTPRoute"), Name: v1alpha1.ObjectName(d.name()), Namespace: rarely(d, v1alpha1.Label(d.namespace()))},
		ToolPrefix:       d.odd("", "p_", "q_"),
		Path:             d.path(),
		Enabled:          maybe(d, d.once(2)),
		CredentialRef:    rarely(d, v1alpha1.CredentialReference{Name: v1alpha1.ObjectName(d.name()), Key: v1alpha1.DataKey(d.odd("", "k")), Header: v1alpha1.HeaderName(d.odd("", "x-k")), Prefix: maybe(d, d.text)}),
		OAuth:            rarely(d, d.oauth()),
		PerUser:          rarely(d, v1alpha1.PerUser{Title: d.odd("Key", ""), Header: v1alpha1.HeaderName(d.odd("", "x-k")), DiscoveryRef: rarely(d, d.secretRef())}),
		CACertificateRef: rarely(d, v1alpha1.CACertificateReference{Name: v1alpha1.ObjectName(d.name()), Kind: d.odd("", "Secret", "ConfigMap"), Key: v1alpha1.DataKey(d.odd("", "k"))}),
		TLS:              rarely(d, v1alpha1.TLS{ServerName: d.host()}),
		Headers: some(d, 2, func() v1alpha1.Header {
			return v1alpha1.Header{Name: v1alpha1.HeaderName(d.odd("x-a", "x-b")), Value: d.odd("v")}
		}),
		Timeouts: maybe(d, v1alpha1.Timeouts{Call: v1alpha1.Duration(d.odd("", "5m", "0s"))}),
		Tools: some(d, 2, func() v1alpha1.ToolSettings {
			return v1alpha1.ToolSettings{Name: d.odd("t", "u"), Timeout: maybe(d, v1alpha1.Duration(d.odd("1s"))), Pin: d.odd("", "sha256:"+strings.Repeat("0a", 32))}
		}),
		VirtualServers: some(d, 2, func() v1alpha1.Label { return v1alpha1.Label(d.name()) }),
	}
	s.Status.Conditions = d.conditions()
	return s
}

func (d *dice) secretRef() v1alpha1.SecretReference {
	return v1alpha1.SecretReference{Name: v1alpha1.ObjectName(d.name()), Key: v1alpha1.DataKey(d.odd("", "k"))}
}

func (d *dice) oauth() v1alpha1.OAuth {
	server := v1alpha1.AuthorizationServer{TokenURL: d.odd("", "https://idp.example.com/token"), Issuer: d.odd("https://idp.example.com", ""), ClientID: d.odd("gateway"), ClientSecretRef: d.secretRef()}
	return v1alpha1.OAuth{
		ClientCredentials: rarely(d, v1alpha1.ClientCredentials{AuthorizationServer: server}),
		TokenExchange:     maybe(d, v1alpha1.TokenExchange{AuthorizationServer: server, Resource: d.odd("", "urn:x")}),
		ClientToken:       d.once(2), DiscoveryRef: rarely(d, d.secretRef()),
	}
}

func (d *dice) conditions() []metav1.Condition {
	return some(d, 3, func() metav1.Condition {
		return metav1.Condition{Type: one(d, "Accepted", "ResolvedRefs", "Programmed", "Ready"), Status: one(d, metav1.ConditionTrue, metav1.ConditionFalse), Message: d.text, LastTransitionTime: metav1.Unix(1, 0)}
	})
}

func (d *dice) virtualServer(m metav1.ObjectMeta) *v1alpha1.MCPVirtualServer {
	v := &v1alpha1.MCPVirtualServer{ObjectMeta: m}
	v.Spec.Description = d.odd("", "for x")
	v.Spec.Tools = some(d, 3, func() v1alpha1.Glob { return v1alpha1.Glob(d.odd("a", "*", "a*")) })
	v.Spec.Servers = some(d, 3, func() v1alpha1.ServerReference {
		return v1alpha1.ServerReference{Name: v1alpha1.Label(d.name()), Namespace: maybe(d, v1alpha1.Label(d.namespace()))}
	})
	v.Status.Conditions = d.conditions()
	return v
}

func (d *dice) grant(m metav1.ObjectMeta) *gatewayv1beta1.ReferenceGrant {
	from := one(d, gatewayv1.ReferenceGrantFrom{Group: v1alpha1.GroupName, Kind: "MCPServer"}, gatewayv1.ReferenceGrantFrom{Group: gatewayv1.GroupName, Kind: "HTTPRoute"})
	from.Namespace = gatewayv1.Namespace(d.namespace())
	to := one(d, gatewayv1.ReferenceGrantTo{Group: gatewayv1.GroupName, Kind: "HTTPRoute"}, gatewayv1.ReferenceGrantTo{Kind: "Service"})
	to.Name = maybe(d, gatewayv1.ObjectName(d.name()))
	return &gatewayv1beta1.ReferenceGrant{ObjectMeta: m, Spec: gatewayv1.ReferenceGrantSpec{From: []gatewayv1.ReferenceGrantFrom{from}, To: []gatewayv1.ReferenceGrantTo{to}}}
}

func (d *dice) service(m metav1.ObjectMeta) *corev1.Service {
	return &corev1.Service{ObjectMeta: m, Spec: corev1.ServiceSpec{
		Type: one(d, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName), ClusterIP: one(d, "", "", "None"),
		Ports: some(d, 3, func() corev1.ServicePort {
			return corev1.ServicePort{Port: int32(1 + d.n(1+d.n(2))), Name: d.odd("", "https"), Protocol: one(d, "", corev1.ProtocolTCP, "", corev1.ProtocolUDP), TargetPort: one(d, intstr.FromInt32(8080), intstr.FromString("web"), intstr.IntOrString{})}
		}),
	}}
}

func (d *dice) serviceEntry(m metav1.ObjectMeta) *translator.ServiceEntry {
	return &translator.ServiceEntry{ObjectMeta: m, Spec: translator.ServiceEntrySpec{
		Hosts: some(d, 2, d.host), ExportTo: some(d, 1, func() string { return d.odd("*", ".", "gateways") }),
		Ports: some(d, 2, func() translator.ServiceEntryPort {
			return translator.ServiceEntryPort{Number: int32(1 + d.n(1+d.n(2))), Protocol: d.odd("HTTP", "https", "TLS", ""), TargetPort: int32(d.n(3))}
		}),
		Endpoints: some(d, 2, func() translator.ServiceEntryEndpoint {
			return translator.ServiceEntryEndpoint{Address: d.odd("192.0.2.1", "2001:db8::1", "a.internal", ""), Ports: map[string]int32{"": int32(d.n(2))}}
		}),
	}}
}

// shuffled is the same input in another order.
func (d *dice) shuffled(in translator.Input) translator.Input {
	in.MCPServers, in.MCPVirtualServers = shuffle(d, in.MCPServers), shuffle(d, in.MCPVirtualServers)
	in.HTTPRoutes, in.Gateways, in.ReferenceGrants = shuffle(d, in.HTTPRoutes), shuffle(d, in.Gateways), shuffle(d, in.ReferenceGrants)
	in.Services, in.ServiceEntries = shuffle(d, in.Services), shuffle(d, in.ServiceEntries)
	in.Secrets, in.ConfigMaps, in.Namespaces = shuffle(d, in.Secrets), shuffle(d, in.ConfigMaps), shuffle(d, in.Namespaces)
	return in
}

func shuffle[T any](d *dice, list []T) []T {
	list = append([]T(nil), list...)
	d.rest.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// requireProperties is what must hold of every input: a result that the file mode can read, that does not depend on the order of objects, and that is final; and
// objects that are as they were.
func requireProperties(t *testing.T, d *dice) translator.Output {
	t.Helper()
	in := d.input()
	before := clone(in)
	out := translator.Translate(in)
	require.Equal(t, before, in, "the input was modified")
	require.Equal(t, out, translator.Translate(d.shuffled(in)))
	requireReadable(t, out)
	requireSettled(t, in, out)
	requirePeace(t, in)
	return out
}

// requirePeace has the controllers of three gateways write by turns: they must come to an end.
func requirePeace(t *testing.T, in translator.Input) {
	t.Helper()
	in.MCPServers, in.MCPVirtualServers = slices.Clone(in.MCPServers), slices.Clone(in.MCPVirtualServers)
	var wrote []string
	for range 4 {
		wrote = nil
		for _, name := range []string{"x", "y", "z"} {
			in.Gateway.Name = name
			out := translator.Translate(in)
			for _, s := range out.ServerStatuses {
				if s.Changed {
					wrote = append(wrote, fmt.Sprintf("%s writes of %s: %v", name, s.Key, s.Conditions))
				}
			}
			for _, s := range out.VirtualServerStatuses {
				if s.Changed {
					wrote = append(wrote, fmt.Sprintf("%s writes of the virtual %s: %v", name, s.Key, s.Conditions))
				}
			}
			apply(&in, out)
		}
	}
	require.Empty(t, wrote, "controllers still write over each other's words")
}

// clone is a copy that has nothing in common with the input.
func clone(in translator.Input) translator.Input {
	in.Watched = slices.Clone(in.Watched)
	in.MCPServers, in.MCPVirtualServers = each(in.MCPServers, (*v1alpha1.MCPServer).DeepCopy), each(in.MCPVirtualServers, (*v1alpha1.MCPVirtualServer).DeepCopy)
	in.HTTPRoutes, in.Gateways = each(in.HTTPRoutes, (*gatewayv1.HTTPRoute).DeepCopy), each(in.Gateways, (*gatewayv1.Gateway).DeepCopy)
	in.ReferenceGrants, in.Services = each(in.ReferenceGrants, (*gatewayv1beta1.ReferenceGrant).DeepCopy), each(in.Services, (*corev1.Service).DeepCopy)
	in.Secrets, in.ConfigMaps = each(in.Secrets, (*corev1.Secret).DeepCopy), each(in.ConfigMaps, (*corev1.ConfigMap).DeepCopy)
	in.ServiceEntries = each(in.ServiceEntries, func(e *translator.ServiceEntry) *translator.ServiceEntry {
		return &translator.ServiceEntry{ObjectMeta: *e.DeepCopy(), Spec: translator.ServiceEntrySpec{
			Hosts: slices.Clone(e.Spec.Hosts), Ports: slices.Clone(e.Spec.Ports), Endpoints: slices.Clone(e.Spec.Endpoints), ExportTo: slices.Clone(e.Spec.ExportTo), Resolution: e.Spec.Resolution,
		}}
	})
	return in
}

func each[T any](list []*T, copy func(*T) *T) []*T {
	list = slices.Clone(list)
	for i := range list {
		list[i] = copy(list[i])
	}
	return list
}

func FuzzTranslate(f *testing.F) {
	for i := range 8 {
		f.Add(uint64(i), "a.example.com", []byte{byte(i)})
	}
	f.Add(uint64(1), "\xff\n *:[/", []byte("0123456789"))
	f.Fuzz(func(t *testing.T, seed uint64, text string, bytes []byte) {
		requireProperties(t, newDice(seed, text, bytes))
	})
}

func TestPropertiesOfManyInputs(t *testing.T) {
	reasons, served := map[string]bool{}, 0
	for seed := range uint64(300) {
		out := requireProperties(t, newDice(seed, one(newDice(seed, "", nil), "a.example.com", "", "%zz", "a\nb", "\xff"), nil))
		served += len(out.Servers)
		collect(reasons, out)
	}
	// The dice are worth their name only if they get everywhere.
	t.Logf("%d servers in configurations", served)
	require.Greater(t, served, 100)
	for _, reason := range everyReason() {
		if !strings.HasSuffix(reason, "="+translator.ProblemTooLarge) {
			require.True(t, reasons[reason], "never came to %s", reason)
		}
	}
}
