package xds

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// managerFilter is what all HTTP filters are inside of.
const managerFilter = "envoy.filters.network.http_connection_manager"

// istioWiring makes the patches, of the same messages that other Envoys are fed.
type istioWiring struct {
	Istio
	*builder
}

// filterPatches put the gateway's filters where they belong in every chain: switched off, so that they are nothing to a request whose route does not
// switch them on. Each is put before all that is there, so that the last comes first.
func (w *istioWiring) filterPatches() []any {
	off := func(f *hcmv3.HttpFilter) *hcmv3.HttpFilter {
		f.Disabled = true
		return f
	}
	return []any{
		w.filterPatch("INSERT_FIRST", "", off(w.filter(RouterFilter, w.processor(w.Router.cluster())))),
		// Istio's own comes after the policies, whose refusals a browser could then not read.
		w.filterPatch("INSERT_FIRST", "", off(w.filter(istioCORSFilter, &corsv3.Cors{}))),
		w.filterPatch("INSERT_BEFORE", lastFilter, off(w.filter(judgeFilter, judgeByName()))),
		w.patch("NETWORK_FILTER", within(""), "MERGE", &listenerv3.Filter{
			Name:       managerFilter,
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: w.pack(&hcmv3.HttpConnectionManager{LocalReplyConfig: w.ownReplies()})},
		}),
	}
}

func (w *istioWiring) filterPatch(operation, beside string, f *hcmv3.HttpFilter) any {
	return w.patch("HTTP_FILTER", within(beside), operation, f)
}

// within matches the HTTP filters of every listener, or one of them.
func within(filter string) map[string]any {
	manager := map[string]any{"name": managerFilter}
	if filter != "" {
		manager["subFilter"] = map[string]any{"name": filter}
	}
	return map[string]any{"listener": map[string]any{"filterChain": map[string]any{"filter": manager}}}
}

// ownReplies are the replies that Envoy makes of its own, changed for the endpoint's requests and for no others. Those that a route took to a server
// bear its name as their authority, and are known by what the router said of them.
func (w *istioWiring) ownReplies() *hcmv3.LocalReplyConfig {
	ours := or(hasKey(wire.KeyServer), hasKey(wire.KeyReply), and(
		headerIs(":authority", w.hostPattern()),
		headerIs(":path", wire.PathMCP+`([/?].*)?`),
	))
	config := localReplies(append(w.refusals(), replyTable()...), w.ResourceMetadata)
	for _, m := range config.GetMappers() {
		m.Filter = and(ours, m.GetFilter())
	}
	return config
}

// hostPattern matches the authorities of the endpoint.
func (w *istioWiring) hostPattern() string {
	var names []string
	for _, host := range w.sortedHosts() {
		name := strings.ReplaceAll(strings.TrimPrefix(host, "*"), ".", `\.`)
		if host == "*" {
			name = `.+?`
		} else if strings.HasPrefix(host, "*") {
			name = `[^:]+` + name
		}
		names = append(names, name)
	}
	return `(?i)(` + strings.Join(names, "|") + `)(:[0-9]+)?`
}

func (w *istioWiring) sortedHosts() []string {
	return slices.Compact(slices.Sorted(slices.Values(w.Hosts)))
}

func headerIs(name, pattern string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{HeaderFilter: &accesslogv3.HeaderFilter{
		Header: &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regex(pattern)}},
	}}}
}

func or(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{Filters: filters}}}
}

// endpointPatches put the endpoint's routes before those that an HTTPRoute made for its hosts. Each is put before all that is there.
func (w *istioWiring) endpointPatches() []any {
	var out []any
	routes := w.endpointRoutes()
	for _, host := range w.sortedHosts() {
		for _, r := range slices.Backward(routes) {
			out = append(out, w.routePatch(host, r))
		}
	}
	return out
}

// closedPaths is how many paths of one host are closed each by itself. A host with more is closed as a whole: the objects must stay small enough for the API
// server, whatever a single route has.
const closedPaths = 64

// pathsToClose are the ways to the servers, in order.
func (w *istioWiring) pathsToClose() []IstioPath {
	paths := slices.Clone(w.Servers)
	slices.SortFunc(paths, func(a, b IstioPath) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	paths = slices.Compact(paths)
	of := map[string]int{}
	for _, p := range paths {
		of[p.Host]++
	}
	for i := range paths {
		if of[paths[i].Host] > closedPaths {
			paths[i] = IstioPath{Host: paths[i].Host}
		}
	}
	return slices.Compact(paths)
}

// serverPatches answer what would pass the gateway by. No request that the router has labelled comes this way, for it stays at the endpoint's host.
func (w *istioWiring) serverPatches() []any {
	out := []any{}
	for _, p := range w.pathsToClose() {
		r := &routev3.Route{
			Name:  istioRoutePrefix + "closed",
			Match: p.match(),
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
				Status: http.StatusNotFound,
				Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "this MCP server is reached through the gateway only\n"}},
			}},
		}
		if validate(r) != nil {
			r.Match = withHeaders() // what cannot be matched as it is written is closed with all beside it
		}
		out = append(out, w.routePatch(p.Host, r))
	}
	return out
}

func (p IstioPath) match() *routev3.RouteMatch {
	switch {
	case p.Kind == PathExact:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: p.Path}}
	case p.Kind == PathRegex && isRegex(p.Path):
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p.Path}}}
	case p.Kind == PathRegex, strings.Trim(p.Path, "/") == "":
		return withHeaders()
	default:
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: strings.TrimRight(p.Path, "/")}}
	}
}

// isRegex tells whether Envoy could compile an expression. It would refuse all routes for one that it cannot.
func isRegex(s string) bool {
	_, err := regexp.Compile(s)
	return err == nil && s != ""
}

func (w *istioWiring) routePatch(host string, r *routev3.Route) any {
	return w.patch("HTTP_ROUTE", map[string]any{"routeConfiguration": map[string]any{"vhost": map[string]any{"domainName": host}}}, "INSERT_FIRST", r)
}

func (w *istioWiring) patch(applyTo string, match map[string]any, operation string, value proto.Message) any {
	match["context"] = "GATEWAY"
	return map[string]any{
		"applyTo": applyTo, "match": match,
		"patch": map[string]any{"operation": operation, "value": w.asObject(value)},
	}
}

// asObject is a message as it stands in an object of the API server.
func (w *istioWiring) asObject(m proto.Message) any {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	var value any
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("cannot render %q: %w", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return wholeNumbers(value)
}

// wholeNumbers writes numbers without fractions as such.
func wholeNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = wholeNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = wholeNumbers(v[i])
		}
	case float64:
		if v == math.Trunc(v) {
			return int64(v)
		}
	}
	return value
}
