package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/controller"
	"github.com/guicassolato/mcp-gateway/internal/kubesource"
)

const (
	flagController = "controller"
	flagGateway    = "gateway"
	flagNamespace  = "namespace"
	flagWatch      = "watch-namespaces"
	flagMetrics    = "metrics-address"
	flagHealth     = "health-address"

	flagPoliciesMap = "policies-config-map"
)

// kubeSettings are those that concern a cluster.
type kubeSettings struct {
	kubeconfig string
	namespaces []string

	// For the broker and router.
	configMap, policiesConfigMap string

	// For the controller.
	gateways       []string
	namespace      string
	service        string
	clusterDomain  string
	endpointHosts  []string
	callerTokens   []string
	metricsAddress string
	healthAddress  string
	leaderElect    bool
}

// flags adds the flags of everything in a cluster.
func (k *kubeSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&k.configMap, flagConfigMap, "", "`namespace/name` of a ConfigMap with the configuration, which is watched over the Kubernetes API, in place of a file")
	f.StringVar(&k.policiesConfigMap, flagPoliciesMap, "", "`namespace/name` of a ConfigMap with policy values, in its key "+kubesource.PoliciesKey+", which is watched over the Kubernetes API, in place of a file. Until there are good ones, nobody gets anything")
	f.StringVar(&k.kubeconfig, "kubeconfig", "", "`file` that says how the Kubernetes API is reached (default: that of $KUBECONFIG, else the pod's own service account)")
	f.StringSliceVar(&k.namespaces, flagWatch, nil, "`namespaces` whose MCPServers count, separated by commas; empty means all. With them neither controller nor broker looks at the rest of the cluster")
	f.StringSliceVar(&k.gateways, flagGateway, []string{"gateway-system/mcp-gateway"}, "with --controller: the Gateway, as `namespace/name`, whose MCPServers are looked after. Several have a namespace each for their broker: namespace/name=namespace")
	f.StringVar(&k.namespace, flagNamespace, "mcp-system", "with --controller: the `namespace` of the broker and router, where their configuration is written")
	f.StringVar(&k.service, "service", "mcp-gateway", "with --controller and --"+flagControlPlane+": `name` of the Service of broker and router, with the ports 8080 and 50051, in their namespace")
	f.StringVar(&k.clusterDomain, "cluster-domain", "cluster.local", "with --controller: the `domain` that the names of Services end with")
	f.StringSliceVar(&k.endpointHosts, "endpoint-hosts", nil, "with --controller: `hostnames` that the endpoint may have, separated by commas; empty means all that HTTPRoutes lead to the broker. Give them where policies know the endpoint by its hostnames")
	f.StringSliceVar(&k.callerTokens, "caller-token-namespaces", nil, "with --controller: `namespaces` whose MCPServers may get callers' tokens (oauth.clientToken, oauth.tokenExchange), separated by commas, * for all; empty means none. Whoever gets such a token can do with it what its caller may")
	f.StringVar(&k.metricsAddress, flagMetrics, ":8082", "with --controller: `address` for /metrics; empty means none")
	f.StringVar(&k.healthAddress, flagHealth, ":8081", "with --controller: `address` for /healthz and /readyz; empty means none")
	f.BoolVar(&k.leaderElect, "leader-elect", true, "with --controller: let one of several replicas work at a time, by a Lease in --"+flagNamespace)
}

// options are the settings as package controller wants them.
func (k *kubeSettings) options() (controller.Options, error) {
	o := controller.Options{
		Namespaces: k.namespaces, ClusterDomain: k.clusterDomain, EndpointHosts: k.endpointHosts, CallerTokens: k.callerTokens, MetricsAddress: k.metricsAddress, HealthAddress: k.healthAddress,
		LeaderElection: k.leaderElect, LeaseNamespace: k.namespace,
	}
	var errs []error
	for _, text := range k.gateways {
		g, err := controller.ParseGateway(text, k.namespace)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s %w", flagGateway, err))
			continue
		}
		o.Gateways = append(o.Gateways, g)
	}
	if len(errs) == 0 {
		errs = append(errs, o.Check())
	}
	for flag, address := range map[string]string{flagMetrics: k.metricsAddress, flagHealth: k.healthAddress} {
		if address != "" {
			errs = append(errs, checkAddress(flag, address))
		}
	}
	return o, errors.Join(errs...)
}

// control runs the controller until it is told to stop.
func (p *process) control(ctx context.Context, s *settings) error {
	o, err := s.kube.options()
	if err != nil {
		return usage(fmt.Errorf("--%s: %w", flagController, err))
	}
	if err := errors.Join(s.checkOrigins(), s.checkControlPlane()); err != nil {
		return usage(err)
	}
	if s.controlPlane == controlPlaneIstio {
		o.Istio = &controller.Istio{Service: s.kube.service, RouterPort: 50051, BrokerPort: 8080, AllowedOrigins: s.allowedOrigins}
		if err := s.controllerChallenge(o.Istio); err != nil {
			return usage(err)
		}
	}
	if o.Logger, err = p.logger(s); err != nil {
		return err
	}
	if o.Config, _, err = kubesource.Cluster(s.kube.kubeconfig); err != nil {
		return err
	}
	o.Logger.InfoContext(ctx, "controller starts", "gateways", s.kube.gateways, "namespace", s.kube.namespace, "watch-namespaces", s.kube.namespaces, "version", p.version)
	return p.ended(controller.Run(ctx, o))
}

// controllerChallenge sets what the endpoint's refused clients are told, if there is one endpoint whose URL is said.
func (s *settings) controllerChallenge(o *controller.Istio) error {
	switch {
	case !s.publicGiven:
		return nil
	case len(s.kube.gateways) > 1:
		return fmt.Errorf("--%s is the URL of one Gateway, and --%s names %d: leave it out, and clients look for the metadata at the host that they called", flagPublic, flagGateway, len(s.kube.gateways))
	}
	return challenge(&o.ResourceMetadata, &o.Scopes, s.publicURL)
}
