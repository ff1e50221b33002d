package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const kindHTTPRoute = "HTTPRoute"

// attachment is what the parentRefs of a route mean for this gateway.
type attachment struct {
	// ours is set when one of them names this gateway and it exists, whether the route is then let in or not.
	ours bool
	// foreign are other gateways that exist, missing are those that do not, this one perhaps among them; each once, in order.
	foreign, missing []string
	// listeners let the route in.
	listeners []*gatewayv1.Listener
	// problem says why there are none.
	problem string
}

func (x *index) attach(route *gatewayv1.HTTPRoute) attachment {
	var a attachment
	best := refused
	for _, ref := range route.Spec.ParentRefs {
		if or(ref.Group, gatewayv1.GroupName) != gatewayv1.GroupName || or(ref.Kind, "Gateway") != "Gateway" {
			continue
		}
		key := types.NamespacedName{Namespace: or(ref.Namespace, route.Namespace), Name: string(ref.Name)}
		gateway := x.gateways[key]
		switch {
		case gateway == nil:
			a.missing = append(a.missing, key.String())
			continue
		case key != x.gateway:
			a.foreign = append(a.foreign, key.String())
			continue
		}
		a.ours = true
		for i := range gateway.Spec.Listeners {
			l := &gateway.Spec.Listeners[i]
			how := x.admits(l, ref, route)
			best = max(best, how)
			if how == admitted {
				a.listeners = appendOnce(a.listeners, l)
			}
		}
	}
	a.foreign, a.missing = sortedSet(a.foreign), sortedSet(a.missing)
	switch {
	case !a.ours:
	case len(a.listeners) == 0:
		a.problem = best.explain(route, x.gateway)
	default:
		a.problem = x.declined(route)
	}
	return a
}

func appendOnce[T comparable](list []T, item T) []T {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// admission is how far a route got with a listener. Of several listeners the one that it got furthest with is worth reporting.
type admission int

const (
	refused admission = iota // the parentRef means another listener
	wrongKind
	wrongNamespace
	wrongHostname
	admitted
)

func (x *index) admits(l *gatewayv1.Listener, ref gatewayv1.ParentReference, route *gatewayv1.HTTPRoute) admission {
	switch {
	case ref.SectionName != nil && *ref.SectionName != l.Name, ref.Port != nil && *ref.Port != l.Port:
		return refused
	case l.Protocol != gatewayv1.HTTPProtocolType && l.Protocol != gatewayv1.HTTPSProtocolType, !allowsKind(l):
		return wrongKind
	case !x.allowsNamespace(l, route.Namespace):
		return wrongNamespace
	case len(hostnames(l, route)) == 0:
		return wrongHostname
	}
	return admitted
}

func allowsKind(l *gatewayv1.Listener) bool {
	if l.AllowedRoutes == nil || len(l.AllowedRoutes.Kinds) == 0 {
		return true
	}
	return slices.ContainsFunc(l.AllowedRoutes.Kinds, func(k gatewayv1.RouteGroupKind) bool {
		return or(k.Group, gatewayv1.GroupName) == gatewayv1.GroupName && k.Kind == kindHTTPRoute
	})
}

func (x *index) allowsNamespace(l *gatewayv1.Listener, namespace string) bool {
	from, selector := string(gatewayv1.NamespacesFromSame), (*metav1.LabelSelector)(nil)
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil {
		from, selector = or(l.AllowedRoutes.Namespaces.From, from), l.AllowedRoutes.Namespaces.Selector
	}
	switch gatewayv1.FromNamespaces(from) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == x.gateway.Namespace
	case gatewayv1.NamespacesFromSelector:
		chosen, err := metav1.LabelSelectorAsSelector(selector)
		// What cannot be read chooses nothing.
		return err == nil && chosen.Matches(x.labelsOf(namespace))
	default:
		return false
	}
}

// labelsOf has the one label that the API server gives to every namespace, also where the namespace itself cannot be seen.
func (x *index) labelsOf(namespace string) labels.Set {
	set := labels.Set{"kubernetes.io/metadata.name": namespace}
	if ns := x.namespaces[types.NamespacedName{Name: namespace}]; ns != nil {
		set = labels.Merge(set, ns.Labels)
	}
	return set
}

// hostnames are those by which the listener serves the route, in the route's order; one that is empty stands for any.
func hostnames(l *gatewayv1.Listener, route *gatewayv1.HTTPRoute) []string {
	if len(route.Spec.Hostnames) == 0 {
		return []string{strings.ToLower(or(l.Hostname, ""))}
	}
	var common []string
	for _, h := range route.Spec.Hostnames {
		if both, ok := intersect(or(l.Hostname, ""), string(h)); ok {
			common = append(common, both)
		}
	}
	return common
}

// hostname is the first name that a client could send a request for the route to; it is empty if only wildcards are left.
func (a attachment) hostname(route *gatewayv1.HTTPRoute) string {
	for i := range max(1, len(route.Spec.Hostnames)) {
		for _, l := range a.listeners {
			host := or(l.Hostname, "")
			if i < len(route.Spec.Hostnames) {
				var ok bool
				if host, ok = intersect(host, string(route.Spec.Hostnames[i])); !ok {
					continue
				}
			}
			if concrete(host) {
				return strings.ToLower(host)
			}
		}
	}
	return ""
}

func (a admission) explain(route *gatewayv1.HTTPRoute, gateway types.NamespacedName) string {
	key := keyOf(route)
	switch a {
	case wrongKind:
		return fmt.Sprintf("The listeners of the Gateway %q that the HTTPRoute %q names take no HTTPRoutes: name one with protocol HTTP or HTTPS whose allowedRoutes.kinds has HTTPRoute.", gateway, key)
	case wrongNamespace:
		return fmt.Sprintf("No listener of the Gateway %q that the HTTPRoute %q names takes routes of the namespace %q: allow it in the listener's allowedRoutes.namespaces.", gateway, key, route.Namespace)
	case wrongHostname:
		return fmt.Sprintf("No hostname of the HTTPRoute %q is within the hostname of a listener of the Gateway %q that it names: change one of the two.", key, gateway)
	case refused, admitted:
	}
	return fmt.Sprintf("The Gateway %q has no listener with the sectionName or port that the HTTPRoute %q gives: correct the route's parentRefs.", gateway, key)
}

// declined is why the gateway's own controller does not take the route as it is now. It may know what an object does not show, such as a clash of routes.
func (x *index) declined(route *gatewayv1.HTTPRoute) string {
	problem := ""
	for i := range route.Status.Parents {
		parent := &route.Status.Parents[i]
		if (types.NamespacedName{Namespace: or(parent.ParentRef.Namespace, route.Namespace), Name: string(parent.ParentRef.Name)}) != x.gateway {
			continue
		}
		for _, c := range parent.Conditions {
			if c.Type != string(gatewayv1.RouteConditionAccepted) {
				continue
			}
			if c.Status != metav1.ConditionFalse || c.ObservedGeneration != route.Generation {
				// One listener that takes it is enough; and what was said of an older route does not count.
				return ""
			}
			problem = fmt.Sprintf("The controller %q of the Gateway %q has not accepted the HTTPRoute %q (%s): %s", parent.ControllerName, x.gateway, keyOf(route), c.Reason, c.Message)
		}
	}
	return problem
}
