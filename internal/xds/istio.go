package xds

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DefaultIstioPriority puts the gateway's filters around those of all EnvoyFilters that say nothing of a priority or less: of two that insert a
// filter at the same place, Istio puts the one of the higher priority nearer to it.
const DefaultIstioPriority = 1_000_000

// Istio is what an Envoy that istiod feeds must be told beside what istiod tells it. Where the endpoint is and which servers there are, it has from
// the HTTPRoutes of the Gateway; the rest is the result of [EnvoyFilters].
type Istio struct {
	// Namespace is that of the Gateway's pods: an EnvoyFilter reaches no others.
	Namespace string
	// Gateway is the Gateway's name. Pods that Istio has not made itself may not bear it as a label: those are chosen by Selector, labels of their own.
	Gateway  string
	Selector map[string]string
	// Name begins the names of the objects; empty means the Gateway's with "-mcp" behind it.
	Name string
	// Labels are for all objects.
	Labels map[string]string
	// Priority is that of the filters; zero means [DefaultIstioPriority].
	Priority int32
	// Hosts are the hostnames of the endpoint, just as an HTTPRoute or, if that has none, its listener has them. Without any, there is no endpoint, and
	// nothing but the servers' ways is patched.
	Hosts []string
	// Router and Broker are the Services of this gateway.
	Router, Broker IstioService
	// Servers are the ways on which HTTPRoutes lead clients to MCP servers without asking the gateway. They are closed.
	Servers []IstioPath
	// AllowedOrigins are as in [Options].
	AllowedOrigins []string
	// ResourceMetadata and Scopes are what refused clients are told, as in [PolicyValues].
	ResourceMetadata string
	Scopes           []string
}

// IstioService is a port of a Service.
type IstioService struct {
	// Host is the Service's whole name, as in "mcp-gateway.mcp-system.svc.cluster.local".
	Host string
	Port uint16
}

// cluster is Istio's name for the Envoy cluster.
func (s IstioService) cluster() string { return fmt.Sprintf("outbound|%d||%s", s.Port, s.Host) }

// PathKind tells how paths are compared.
type PathKind uint8

// The kinds that an HTTPRoute has.
const (
	PathPrefix PathKind = iota
	PathExact
	PathRegex
)

// IstioPath are the requests for a hostname, just as an HTTPRoute or its listener has it, and for a path.
type IstioPath struct {
	Host string
	// Path is a prefix of whole segments if Kind says nothing else. Empty means every path.
	Path string
	Kind PathKind
}

func (o Istio) withDefaults() Istio {
	if o.Name == "" {
		o.Name = o.Gateway + "-mcp"
	}
	if o.Priority == 0 {
		o.Priority = DefaultIstioPriority
	}
	return o
}

// problem is what would make patches that nothing matches.
func (o Istio) problem() error {
	var errs []error
	if o.Namespace == "" || o.Gateway == "" {
		errs = append(errs, errors.New("istio: the Gateway is missing: give its namespace and its name"))
	}
	for _, host := range o.Hosts {
		errs = append(errs, checkHost(host))
	}
	for _, s := range o.Servers {
		errs = append(errs, checkHostname(s.Host))
		if s.Path != "" && s.Kind != PathRegex && !strings.HasPrefix(s.Path, "/") {
			errs = append(errs, fmt.Errorf("istio: path %q of %q: must begin with a slash", s.Path, s.Host))
		}
	}
	errs = append(errs, o.Router.problem("router"), o.Broker.problem("broker"))
	for _, origin := range o.AllowedOrigins {
		errs = append(errs, checkOrigin(origin))
	}
	if err := checkChallenge(o.ResourceMetadata, o.Scopes); err != nil {
		errs = append(errs, fmt.Errorf("istio: %w", err))
	}
	return errors.Join(errs...)
}

func (s IstioService) problem(what string) error {
	if s.Host == "" || s.Port == 0 || strings.ContainsAny(s.Host, "|:/ ") {
		return fmt.Errorf("istio: Service %q, port %d, of the %s: want its whole name, as in \"mcp-gateway.mcp-system.svc.cluster.local\", and a port", s.Host, s.Port, what)
	}
	return nil
}

// checkHost refuses what is no hostname of the Gateway API, nor the "*" of a listener that has none.
func checkHost(host string) error {
	if isIP(host) {
		return fmt.Errorf("istio: hostname %q: want a name, not an address", host)
	}
	return checkHostname(host)
}

// isIP tells whether a hostname is an address, which clients may call a server by, but not the endpoint.
func isIP(host string) bool {
	_, err := netip.ParseAddr(strings.TrimPrefix(host, "*."))
	return err == nil
}

// checkHostname is for what the API server has let pass as a hostname, addresses among them: whoever may make a route must not be able to keep those of others
// from being closed.
func checkHostname(host string) error {
	name := strings.TrimPrefix(host, "*.")
	bad := strings.ContainsFunc(name, func(r rune) bool { return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') })
	if host != "*" && (name == "" || bad) {
		return fmt.Errorf("istio: hostname %q: want a name in lower case, \"*.\" and a name, or \"*\"", host)
	}
	return nil
}

// EnvoyFilters are the objects that make the endpoint of an Istio gateway, as they are sent to the API server. All others that share the Gateway
// are left as they are: the filters are switched off but for the endpoint's own routes, and those take only what no other route is to have.
//
// It is pure, and the order of hosts and paths does not matter. The objects are the same in number and name for all options.
func EnvoyFilters(o Istio) ([]map[string]any, error) {
	o = o.withDefaults()
	if err := o.problem(); err != nil {
		return nil, err
	}
	w := &istioWiring{Istio: o, builder: &builder{options: Options{AllowedOrigins: o.AllowedOrigins}, static: true}}
	endpoint, closed := []any{}, w.serverPatches()
	if len(o.Hosts) > 0 {
		endpoint = append(w.filterPatches(), w.endpointPatches()...)
	}
	if err := errors.Join(w.errs...); err != nil {
		return nil, err
	}
	return []map[string]any{
		// A host may be the endpoint's and a server's: the routes of the endpoint are put before these. They come first, so that nothing is open that
		// need not be where only one can be written.
		w.object("servers", o.Priority-1, closed),
		w.object("endpoint", o.Priority, endpoint),
	}, nil
}

// EnvoyFiltersYAML renders the objects of [EnvoyFilters] as documents of one file.
func EnvoyFiltersYAML(o Istio) ([]byte, error) {
	objects, err := EnvoyFilters(o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, object := range objects {
		if err := enc.Encode(object); err != nil {
			return nil, fmt.Errorf("cannot render an EnvoyFilter: %w", err)
		}
	}
	return out.Bytes(), nil
}

// object is one EnvoyFilter. One without patches is legal, and means nothing.
func (w *istioWiring) object(part string, priority int32, patches []any) map[string]any {
	spec := map[string]any{"priority": int64(priority), "configPatches": patches}
	if len(w.Selector) > 0 {
		spec["workloadSelector"] = map[string]any{"labels": anyMap(w.Selector)}
	} else {
		spec["targetRefs"] = []any{map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": w.Gateway}}
	}
	services := slices.Compact(slices.Sorted(slices.Values([]string{w.Router.Host, w.Broker.Host})))
	metadata := map[string]any{
		"name": w.Name + "-" + part, "namespace": w.Namespace,
		// A gateway may be given only those clusters that its routes name.
		"annotations": map[string]any{"envoyfilter.istio.io/referenced-services": strings.Join(services, ",")},
	}
	if len(w.Labels) > 0 {
		metadata["labels"] = anyMap(w.Labels)
	}
	return map[string]any{"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": metadata, "spec": spec}
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
