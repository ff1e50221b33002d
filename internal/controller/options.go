package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
)

// The objects that are written for a gateway, in the namespace of its broker and router.
const (
	// ConfigName is a ConfigMap whose key ConfigKey is the configuration file.
	ConfigName = "mcp-gateway-config"
	ConfigKey  = "config.yaml"
	// CredentialsName is a Secret with the files that the configuration calls credentials/KEY.
	CredentialsName = "mcp-gateway-credentials" //nolint:gosec // a name
	// CertificatesName is a ConfigMap with the files that it calls certificates/KEY.
	CertificatesName = "mcp-gateway-certificates"
	// SessionKeyName is a Secret whose key SessionKeyKey is what the gateway's replicas sign sessions with. It is made once, at random.
	SessionKeyName = "mcp-gateway-session-key"
	SessionKeyKey  = "key"

	// LeaseName is what the replicas of a controller elect their leader by.
	LeaseName = "mcp-gateway-controller"
)

// Gateway is a Gateway whose MCPServers are looked after.
type Gateway struct {
	Namespace, Name string
	// Output is the namespace of its broker and router, where what they read is written.
	Output string
}

func (g Gateway) key() types.NamespacedName {
	return types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
}

func (g Gateway) String() string { return g.Namespace + "/" + g.Name }

// ParseGateway reads "namespace/name" or "namespace/name=output", where output is the namespace of the gateway's broker and router.
func ParseGateway(text, output string) (Gateway, error) {
	name, own, hasOwn := strings.Cut(text, "=")
	if hasOwn {
		output = own
	}
	namespace, name, ok := strings.Cut(name, "/")
	g := Gateway{Namespace: namespace, Name: name, Output: output}
	if !ok || len(validation.IsDNS1123Label(g.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(g.Name)) > 0 || len(validation.IsDNS1123Label(g.Output)) > 0 {
		return g, fmt.Errorf("%q: want namespace/name of a Gateway, or namespace/name=namespace with the namespace of its broker and router", text)
	}
	return g, nil
}

// Options are how a controller is run.
type Options struct {
	// Config is how the API server is reached.
	Config *rest.Config
	// Gateways are those that are looked after, each with a namespace of its own for its broker and router.
	Gateways []Gateway
	// Namespaces limits what is watched to these and to those of the gateways and their brokers; none means the whole cluster.
	Namespaces []string
	// ClusterDomain is the end of the names of Services; empty means cluster.local.
	ClusterDomain string
	// EndpointHosts are the hostnames that endpoints may have; none means any.
	EndpointHosts []string
	// CallerTokens are the namespaces whose MCPServers may get callers' tokens, "*" for all.
	CallerTokens []string
	// Istio makes the controller write EnvoyFilters, as soon as the cluster has the kind; nil means that it writes none.
	Istio *Istio
	// MetricsAddress and HealthAddress are where those are served; empty means that they are not.
	MetricsAddress, HealthAddress string
	// LeaderElection lets one of several replicas work, by a Lease in LeaseNamespace.
	LeaderElection bool
	LeaseNamespace string
	Logger         *slog.Logger
}

// Check finds mistakes that need no look at the cluster.
func (o *Options) Check() error {
	var errs []error
	if len(o.Gateways) == 0 {
		errs = append(errs, errors.New("no Gateway is named"))
	}
	for i, g := range o.Gateways {
		for _, other := range o.Gateways[:i] {
			switch {
			case g.key() == other.key():
				errs = append(errs, fmt.Errorf("the Gateway %q is named twice", g))
			case g.Output == other.Output:
				errs = append(errs, fmt.Errorf("the Gateways %q and %q have one namespace %q for their brokers: give each its own, as in %s=NAMESPACE", other, g, g.Output, g))
			}
		}
	}
	for _, namespace := range o.Namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			errs = append(errs, fmt.Errorf("%q is not the name of a namespace", namespace))
		}
	}
	for _, host := range o.EndpointHosts {
		if len(validation.IsDNS1123Subdomain(host)) > 0 && len(validation.IsWildcardDNS1123Subdomain(host)) > 0 {
			errs = append(errs, fmt.Errorf("%q is not a hostname of an endpoint", host))
		}
	}
	for _, namespace := range o.CallerTokens {
		if namespace != "*" && len(validation.IsDNS1123Label(namespace)) > 0 {
			errs = append(errs, fmt.Errorf("%q is not the name of a namespace whose MCPServers may get callers' tokens", namespace))
		}
	}
	return errors.Join(errs...)
}

// outputs are the namespaces of the gateways' brokers.
func (o *Options) outputs() []string {
	var all []string
	for _, g := range o.Gateways {
		all = append(all, g.Output)
	}
	return all
}

// watched are the namespaces that the controller looks into; none means all.
func (o *Options) watched() []string {
	if len(o.Namespaces) == 0 {
		return nil
	}
	all := append(o.outputs(), o.Namespaces...)
	for _, g := range o.Gateways {
		all = append(all, g.Namespace)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
