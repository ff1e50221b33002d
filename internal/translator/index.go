package translator

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
)

// index finds the objects of an input by name. It is only read once it is made.
type index struct {
	gateway types.NamespacedName
	domain  string
	// hosts may be the endpoint's, if there are any; callerTokens are namespaces.
	hosts, callerTokens []string

	routes     map[types.NamespacedName]*gatewayv1.HTTPRoute
	gateways   map[types.NamespacedName]*gatewayv1.Gateway
	services   map[types.NamespacedName]*corev1.Service
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	namespaces map[types.NamespacedName]*corev1.Namespace
	virtual    map[types.NamespacedName]*v1alpha1.MCPVirtualServer
	// grants are by the namespace that grants.
	grants map[string][]*gatewayv1beta1.ReferenceGrant
	// entries are by lower-case host, the oldest first.
	entries map[string][]*ServiceEntry
}

func newIndex(in Input, virtual []*v1alpha1.MCPVirtualServer) *index {
	x := &index{
		gateway: in.Gateway,
		hosts:   in.EndpointHosts, callerTokens: in.CallerTokens,
		domain:     strings.ToLower(strings.Trim(cmp.Or(in.ClusterDomain, DefaultClusterDomain), ".")),
		routes:     byKey(in.HTTPRoutes),
		gateways:   byKey(in.Gateways),
		services:   byKey(in.Services),
		secrets:    byKey(in.Secrets),
		configMaps: byKey(in.ConfigMaps),
		namespaces: byKey(in.Namespaces),
		virtual:    byKey(virtual),
		grants:     map[string][]*gatewayv1beta1.ReferenceGrant{},
		entries:    map[string][]*ServiceEntry{},
	}
	for _, grant := range in.ReferenceGrants {
		if grant != nil {
			x.grants[grant.Namespace] = append(x.grants[grant.Namespace], grant)
		}
	}
	for _, entry := range byAge(in.ServiceEntries, nil) {
		for i, host := range entry.Spec.Hosts {
			if !slices.Contains(entry.Spec.Hosts[:i], host) {
				host = strings.ToLower(host)
				x.entries[host] = append(x.entries[host], entry)
			}
		}
	}
	return x
}

// object is a pointer to an API type.
type object[T any] interface {
	*T
	metav1.Object
}

func keyOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func byKey[T any, P object[T]](list []P) map[types.NamespacedName]P {
	m := make(map[types.NamespacedName]P, len(list))
	for _, o := range list {
		if o != nil {
			m[keyOf(o)] = o
		}
	}
	return m
}

// byAge keeps what is in the watched namespaces and not on its way out, the oldest first: that is the order in which objects keep what several want. Ages count
// in seconds, so that objects applied together are as old as each other; their names decide.
func byAge[T any, P object[T]](list []P, watched []string) []P {
	kept := make([]P, 0, len(list))
	for _, o := range list {
		if o == nil || o.GetDeletionTimestamp() != nil || len(watched) > 0 && !slices.Contains(watched, o.GetNamespace()) {
			continue
		}
		kept = append(kept, o)
	}
	slices.SortFunc(kept, func(a, b P) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), compareKeys(keyOf(a), keyOf(b)))
	})
	return kept
}

func compareKeys(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// reference is an object that another one, of a given kind and namespace, refers to.
type reference struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind                    string
	to                                 types.NamespacedName
}

// permitted tells whether the owner of the other namespace has allowed the reference. Within a namespace none is needed.
func (x *index) permitted(r reference) bool {
	if r.fromNamespace == r.to.Namespace {
		return true
	}
	from := func(f gatewayv1.ReferenceGrantFrom) bool {
		return string(f.Group) == r.fromGroup && string(f.Kind) == r.fromKind && string(f.Namespace) == r.fromNamespace
	}
	to := func(t gatewayv1.ReferenceGrantTo) bool {
		return string(t.Group) == r.toGroup && string(t.Kind) == r.toKind && (t.Name == nil || *t.Name == "" || string(*t.Name) == r.to.Name)
	}
	return slices.ContainsFunc(x.grants[r.to.Namespace], func(g *gatewayv1beta1.ReferenceGrant) bool {
		return slices.ContainsFunc(g.Spec.From, from) && slices.ContainsFunc(g.Spec.To, to)
	})
}

// or is what a pointer of the API holds, or what it means to leave it out.
func or[T ~string](p *T, otherwise string) string {
	if p == nil || *p == "" {
		return otherwise
	}
	return string(*p)
}
