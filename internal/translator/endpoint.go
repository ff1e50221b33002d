package translator

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Path is a way into the gateway: the requests for a hostname, which may be "*" or begin with "*.", that a path match takes.
type Path struct {
	Host string
	Kind gatewayv1.PathMatchType
	// Value is what the match compares paths with.
	Value string
}

// endpoint finds the hostnames by which clients come to the broker: those of the HTTPRoutes that lead to its Service. Others are those that it may not have,
// under which the broker answers nobody.
func (x *index) endpoint(broker types.NamespacedName) (hosts, others []string) {
	for _, route := range x.routes {
		if !x.leadsTo(route, broker) {
			continue
		}
		for _, l := range x.attach(route).listeners {
			for _, host := range served(l, route) {
				if _, err := netip.ParseAddr(host); err == nil || len(x.hosts) > 0 && !slices.Contains(x.hosts, host) {
					others = append(others, host)
				} else {
					hosts = append(hosts, host)
				}
			}
		}
	}
	return sortedSet(hosts), sortedSet(others)
}

func (x *index) leadsTo(route *gatewayv1.HTTPRoute, service types.NamespacedName) bool {
	if !x.permitted(reference{gatewayv1.GroupName, kindHTTPRoute, route.Namespace, "", kindService, service}) {
		return false
	}
	for i := range route.Spec.Rules {
		for j := range route.Spec.Rules[i].BackendRefs {
			ref := &route.Spec.Rules[i].BackendRefs[j]
			if x.serviceRef(route, ref) == service {
				return true
			}
		}
	}
	return false
}

// serviceRef is the Service that a backendRef names, in either way, or nothing.
func (x *index) serviceRef(route *gatewayv1.HTTPRoute, ref *gatewayv1.HTTPBackendRef) types.NamespacedName {
	group, kind := or(ref.Group, ""), or(ref.Kind, kindService)
	if group == "" && kind == kindService {
		return types.NamespacedName{Namespace: or(ref.Namespace, route.Namespace), Name: string(ref.Name)}
	}
	if key, ok := x.serviceOf(string(ref.Name)); ok && group == istioGroup && kind == kindHostname {
		return key
	}
	return types.NamespacedName{}
}

// served are the names by which a listener serves a route, as a virtual host has them.
func served(l *gatewayv1.Listener, route *gatewayv1.HTTPRoute) []string {
	names := hostnames(l, route)
	for i, name := range names {
		names[i] = cmp.Or(name, "*")
	}
	return names
}

// bypasses are the ways on which a server's route leads clients to it without asking the gateway: the paths of the rule that the server is found by,
// and of all others that lead to the same backend, whatever else those want of a request. Where the rule is not known they are all that the route has.
// That the server is switched off, or not usable, changes nothing.
func (m *member) bypasses() []Path {
	var out []Path
	for _, l := range m.listeners {
		for _, host := range served(l, m.route) {
			for i := range m.route.Spec.Rules {
				if rule := &m.route.Spec.Rules[i]; m.rule == nil || sharesBackend(m.rule, rule) {
					out = append(out, pathsOf(host, rule)...)
				}
			}
		}
	}
	return out
}

func sharesBackend(a, b *gatewayv1.HTTPRouteRule) bool {
	if a == b {
		return true
	}
	same := func(x, y gatewayv1.HTTPBackendRef) bool {
		return x.Name == y.Name && or(x.Namespace, "") == or(y.Namespace, "") && or(x.Kind, kindService) == or(y.Kind, kindService)
	}
	return slices.ContainsFunc(a.BackendRefs, func(x gatewayv1.HTTPBackendRef) bool {
		return slices.ContainsFunc(b.BackendRefs, func(y gatewayv1.HTTPBackendRef) bool { return same(x, y) })
	})
}

func pathsOf(host string, rule *gatewayv1.HTTPRouteRule) []Path {
	if len(rule.Matches) == 0 {
		return []Path{{host, gatewayv1.PathMatchPathPrefix, "/"}}
	}
	var out []Path
	for _, match := range rule.Matches {
		p := Path{host, gatewayv1.PathMatchPathPrefix, "/"}
		if match.Path != nil {
			p.Kind, p.Value = gatewayv1.PathMatchType(or(match.Path.Type, string(p.Kind))), or(match.Path.Value, p.Value)
		}
		out = append(out, p)
	}
	return out
}

func comparePaths(a, b Path) int {
	return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value))
}
