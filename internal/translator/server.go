package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// member is one MCPServer on its way to an entry and a status.
type member struct {
	object *v1alpha1.MCPServer
	key    types.NamespacedName

	// foreign says that its route leads to other gateways only, which exist; others are those that it leads to besides this one.
	foreign bool
	others  []string
	// gateways are all that the route names, whether they exist or not.
	gateways []string
	// waiting says why nothing can be told about Accepted.
	waiting string
	// refused are reasons not to be Accepted, unresolved not to be ResolvedRefs; unlooked says why the backend was not looked for.
	refused, unresolved []finding
	unlooked            string
	listeners           []*gatewayv1.Listener
	notes               []string
	// route is what targetRef leads to, rule the one of it that the server is found by; nil where there is none.
	route *gatewayv1.HTTPRoute
	rule  *gatewayv1.HTTPRouteRule

	way *way
	// document is the configuration file with this one entry, nil where there is none.
	document     []byte
	spec         config.ServerSpec
	secrets      []*attached
	certificates *attached
}

// way is how a server is reached by its route.
type way struct {
	passage
	backend *backend
	// timeout is the route's, zero if it has none.
	timeout time.Duration
}

// usable tells whether the server can be in the configuration.
func (m *member) usable() bool { return m.document != nil }

func (m *member) refuse(f *finding) { m.refused = append(m.refused, *f) }

func (x *index) member(server *v1alpha1.MCPServer) *member {
	m := &member{object: server, key: keyOf(server)}
	x.target(m)
	if m.foreign {
		return m
	}
	var f *finding
	for _, ref := range secretRefs(server) {
		secret, f := x.secret(server, ref)
		if f != nil {
			m.unresolved = append(m.unresolved, *f)
			continue
		}
		m.secrets = append(m.secrets, secret)
	}
	if m.certificates, f = x.certificates(server); f != nil {
		m.unresolved = append(m.unresolved, *f)
	}
	for _, name := range server.Spec.VirtualServers {
		if key := (types.NamespacedName{Namespace: server.Namespace, Name: string(name)}); x.virtual[key] == nil {
			f := found(v1alpha1.ReasonVirtualServerNotFound, "The MCPVirtualServer %q does not exist: create it, or take it out of spec.virtualServers. The server is in the gateway all the same.", key)
			f.harmless = true
			m.unresolved = append(m.unresolved, *f)
		}
	}
	if getsCallerTokens(server) && !x.mayGetCallerTokens(server.Namespace) {
		m.refuse(found(v1alpha1.ReasonNotPermitted, "spec.oauth would have the server, or its authorization server, get the tokens of callers, with which it could do what they may: whoever runs the gateway has to allow that to the namespace %q, by --caller-token-namespaces of the controller.", server.Namespace))
	}
	m.finish()
	return m
}

// target follows targetRef.
func (x *index) target(m *member) {
	ref := m.object.Spec.TargetRef
	key := types.NamespacedName{Namespace: m.object.TargetNamespace(), Name: string(ref.Name)}
	if ref.Group != "" && ref.Group != gatewayv1.GroupName || ref.Kind != "" && ref.Kind != kindHTTPRoute {
		m.refuse(found(v1alpha1.ReasonInvalid, "spec.targetRef names the kind %q of the group %q: it must be an HTTPRoute of the group %s.", ref.Kind, ref.Group, gatewayv1.GroupName))
		m.unlooked = "Not told before spec.targetRef names an HTTPRoute."
		return
	}
	// Before anything is told about the route: whoever may not refer to it may not know whether it is there.
	if !x.permitted(reference{v1alpha1.GroupName, v1alpha1.KindMCPServer, m.object.Namespace, gatewayv1.GroupName, kindHTTPRoute, key}) {
		m.waiting = "Not told before spec.targetRef may be followed: see ResolvedRefs."
		m.unresolved = append(m.unresolved, *found(v1alpha1.ReasonRefNotPermitted, "spec.targetRef names the HTTPRoute %q in another namespace: make a ReferenceGrant in %q from MCPServers of %q to HTTPRoutes.", key, key.Namespace, m.object.Namespace))
		return
	}
	route := x.routes[key]
	if route == nil {
		m.waiting = "Not told before the HTTPRoute exists: see ResolvedRefs."
		m.unresolved = append(m.unresolved, *found(v1alpha1.ReasonTargetNotFound, "The HTTPRoute %q does not exist: create it, or correct spec.targetRef.", key))
		return
	}
	m.route = route
	x.follow(m, route)
}

// follow goes from the route to the gateway on the one side and to the backend on the other.
func (x *index) follow(m *member, route *gatewayv1.HTTPRoute) {
	attachment := x.attach(route)
	m.others = attachment.foreign
	m.gateways = sortedSet(slices.Concat(attachment.foreign, attachment.missing))
	if attachment.ours {
		m.gateways = sortedSet(append(m.gateways, x.gateway.String()))
	}
	switch {
	case attachment.ours:
	case len(attachment.foreign) > 0:
		m.foreign = true
		m.refuse(found(v1alpha1.ReasonNotAttached, "The HTTPRoute %q leads to no Gateway that an MCP gateway is known to serve (but to %s): name one that is served in the route's parentRefs.", keyOf(route), quoted(attachment.foreign, " and ")))
		m.unlooked = "Not told before the HTTPRoute is attached to a Gateway that is served."
		return
	case len(attachment.missing) > 0:
		attachment.problem = fmt.Sprintf("The HTTPRoute %q names no Gateway that exists: create %s, or correct the route's parentRefs.", keyOf(route), quoted(attachment.missing, " or "))
	default:
		attachment.problem = fmt.Sprintf("The HTTPRoute %q is attached to no Gateway: name one in its parentRefs.", keyOf(route))
	}
	if attachment.problem != "" {
		m.refuse(found(v1alpha1.ReasonNotAttached, "%s", attachment.problem))
	}
	m.listeners = attachment.listeners
	x.find(m, route, attachment)
}

// find goes from the route to the backend, by the rule that the server's path takes.
func (x *index) find(m *member, route *gatewayv1.HTTPRoute, attachment attachment) {
	path := pathOf(m.object)
	m.unlooked = "Not told before the HTTPRoute leads to one backend: see Accepted."
	rule, ok := choose(route, path)
	if !ok {
		m.refuse(found(v1alpha1.ReasonUnsupportedRoute, "No rule of the HTTPRoute %q matches a POST to the path %q (%s): set spec.path to a path that one matches, or change the route.", keyOf(route), path, offered(route)))
		return
	}
	m.rule = rule.rule
	filters := rule.rule.Filters
	ref, f := only(route, rule.rule)
	if f == nil {
		filters = append(filters[:len(filters):len(filters)], ref.Filters...)
	}
	passage := rule.pass(attachment.hostname(route), path, filters)
	if passage.problem != "" {
		// A redirecting rule has no backends, so that its filter is to be told and not their absence.
		m.refuse(found(v1alpha1.ReasonUnsupportedRoute, "The HTTPRoute %q %s.", keyOf(route), passage.problem))
		return
	}
	if f != nil {
		m.refuse(f)
		return
	}
	backend, f := x.backend(route, ref)
	switch {
	case f == nil:
		m.unlooked = ""
		m.way = &way{passage: passage, backend: backend, timeout: timeoutOf(rule.rule)}
		m.way.notes = append(m.way.notes, backend.notes...)
	case f.reason == v1alpha1.ReasonUnsupportedRoute:
		m.refuse(f)
	default:
		m.unlooked = ""
		m.unresolved = append(m.unresolved, *f)
	}
}

// timeoutOf is the shortest time that a rule allows for a request; what cannot be read allows any.
func timeoutOf(rule *gatewayv1.HTTPRouteRule) time.Duration {
	if rule.Timeouts == nil {
		return 0
	}
	var shortest time.Duration
	for _, text := range []*gatewayv1.Duration{rule.Timeouts.Request, rule.Timeouts.BackendRequest} {
		if d, err := time.ParseDuration(or(text, "0s")); err == nil && d >= time.Millisecond && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	return shortest
}

// finish makes the entry and has it judged. Where the way is not known it judges what it can, so that nobody mends one fault to be told of the next.
func (m *member) finish() {
	w := m.way
	if w == nil {
		w = &way{passage: passage{path: pathOf(m.object)}, backend: &backend{host: "unknown", port: 80}}
	} else if b := w.backend; b.external != "" && w.hostname != "" && w.hostname != b.external {
		w.notes = append(w.notes, fmt.Sprintf("The external server %q gets requests for the host %q: if it does not know that name, add a URLRewrite with its own hostname to the route.", b.external, w.hostname))
	}
	spec, f := entry(m.object, w, m.secrets, m.certificates)
	if f != nil {
		m.refuse(f)
		return
	}
	document, err := marshal(spec)
	if err != nil {
		m.refuse(found(v1alpha1.ReasonInvalid, "%s.", err))
		return
	}
	for _, f := range judge(m.object, document, m.secrets, m.certificates) {
		if f.reason == v1alpha1.ReasonInvalid {
			m.refuse(&f)
		} else {
			m.unresolved = append(m.unresolved, f)
		}
	}
	m.spec, m.notes = spec, w.notes
	if m.way != nil && len(m.refused) == 0 && !blocked(m.unresolved) {
		m.document = document
	}
}

func pathOf(server *v1alpha1.MCPServer) string {
	return cmp.Or(server.Spec.Path, config.DefaultPath)
}

func blocked(findings []finding) bool {
	for _, f := range findings {
		if !f.harmless {
			return true
		}
	}
	return false
}

func quoted(names []string, between string) string {
	return `"` + strings.Join(names, `"`+between+`"`) + `"`
}
