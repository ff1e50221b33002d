package translator

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// passage is what the filters of a route make of a server's requests.
type passage struct {
	hostname, path string
	headers        map[string]string
	// notes are about filters that have no effect here.
	notes []string
	// problem is about a filter that has one which cannot be had.
	problem string
}

// pass sends a request to a path and hostname through the filters. The gateway calls servers by its own routes and, for lists and first calls, by itself: a
// filter counts if it says how the server is to be called. One that guards the way must not be skipped, so that a route with it is refused.
func (c chosen) pass(hostname, path string, filters []gatewayv1.HTTPRouteFilter) passage {
	p := passage{hostname: hostname, path: path, headers: map[string]string{}}
	for _, f := range filters {
		switch f.Type {
		case gatewayv1.HTTPRouteFilterURLRewrite:
			p.urlRewrite(c, f.URLRewrite)
		case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
			p.requestHeaders(f.RequestHeaderModifier)
		case gatewayv1.HTTPRouteFilterResponseHeaderModifier, gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterCORS:
			p.notes = appendOnce(p.notes, fmt.Sprintf("The route's filter %s has no effect on calls through the gateway.", f.Type))
		case gatewayv1.HTTPRouteFilterRequestRedirect:
			p.refuse("redirects with RequestRedirect what it should lead to the server: give the rule backendRefs in its place")
		case gatewayv1.HTTPRouteFilterExternalAuth, gatewayv1.HTTPRouteFilterExtensionRef:
			p.refuse(fmt.Sprintf("has the filter %s, which calls through the gateway would not pass: take it out, and guard the gateway's own route instead", f.Type))
		default:
			p.refuse(fmt.Sprintf("has a filter of the type %q, which is not supported: take it out", f.Type))
		}
	}
	return p
}

func (p *passage) refuse(problem string) {
	if p.problem == "" {
		p.problem = problem
	}
}

func (p *passage) urlRewrite(c chosen, f *gatewayv1.HTTPURLRewriteFilter) {
	if f == nil {
		return
	}
	p.hostname = strings.ToLower(or(f.Hostname, p.hostname))
	if f.Path == nil {
		return
	}
	path, problem := c.rewrite(p.path, f.Path)
	if problem != "" {
		p.refuse(problem)
		return
	}
	p.path = path
}

// requestHeaders takes over what the route sets. What it takes off is nothing that the gateway sends.
func (p *passage) requestHeaders(f *gatewayv1.HTTPHeaderFilter) {
	if f == nil {
		return
	}
	for _, h := range slices.Concat(f.Set, f.Add) {
		name := strings.ToLower(string(h.Name))
		switch problem := headerProblem(name, h.Value); {
		case problem != "":
			p.notes = appendOnce(p.notes, fmt.Sprintf("The route's RequestHeaderModifier has the header %q, which is not sent: it %s.", name, problem))
		case p.headers[name] != "" && p.headers[name] != h.Value:
			p.headers[name] += ", " + h.Value
		default:
			p.headers[name] = h.Value
		}
	}
}

// headerProblem asks the configuration's own rules.
func headerProblem(name, value string) string {
	problems := check(config.ServerSpec{Name: "s", URL: "http://s", Headers: map[string]string{name: value}}, nil)
	if len(problems) == 0 {
		return ""
	}
	return inWordsOfObjects(problems[0].Message)
}
