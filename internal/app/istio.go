package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/protectedresource"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

const (
	flagControlPlane  = "envoy-control-plane"
	controlPlaneIstio = "istio"
)

// carriedByBroker tells of the servers that an Envoy fed by somebody else cannot call as they must be called: it has neither their credentials nor
// their headers, and perhaps no cluster.
func carriedByBroker(s *config.Server) bool {
	return s.Cluster == "" || s.Credential != nil || len(s.Headers) > 0
}

// authorityHeader is where the router says the server's authority: Istio's virtual hosts go by the client's.
func (s *settings) authorityHeader() string {
	if s.controlPlane == controlPlaneIstio {
		return wire.HeaderAuthority
	}
	return ""
}

// tokenHeader is where the router says the token: Istio's filter would look into the Authorization headers of all that share a Gateway.
func (s *settings) tokenHeader() string {
	if s.controlPlane == controlPlaneIstio {
		return wire.HeaderToken
	}
	return ""
}

// checkControlPlane allows one feeder of Envoys.
func (s *settings) checkControlPlane() error {
	switch {
	case s.controlPlane != "" && s.controlPlane != controlPlaneIstio:
		return fmt.Errorf("--%s %q: want %s, or nothing", flagControlPlane, s.controlPlane, controlPlaneIstio)
	case s.controlPlane != "" && s.envoy.headers:
		return fmt.Errorf("--%s is for Envoys that this program feeds or writes the file of, not for those of --%s", flagHeaders, flagControlPlane)
	case s.controlPlane != "" && s.xdsAddress != "":
		return fmt.Errorf("--%s and --%s exclude each other: an Envoy is fed by one", flagControlPlane, flagXDS)
	}
	return nil
}

// istioSettings are the values of the flags of istio-config.
type istioSettings struct {
	xds.Istio

	gateway, podNamespace, router, broker, publicURL string
	priority                                         int32
	servers                                          []string
}

func newIstioConfig(p *process) *cobra.Command {
	s := &istioSettings{}
	c := &cobra.Command{
		Use:   "istio-config",
		Short: "Print the EnvoyFilters that make an Istio gateway ours",
		Long: `Prints the EnvoyFilters by which the Envoy of an Istio gateway asks the router and reaches the broker. The controller applies the
same by itself; this is for those who apply them by hand. They have to be made anew when hostnames change, and when HTTPRoutes of
MCP servers come or go: what is not named with --server-host is reached without asking the gateway.`,
		Example: `  mcp-broker-router istio-config --gateway gateway-system/mcp --host mcp.example.com --server-host weather.mcp.local | kubectl apply -f -`,
		RunE: func(*cobra.Command, []string) error {
			if err := s.complete(); err != nil {
				return usage(err)
			}
			if s.publicURL != "" {
				if err := challenge(&s.ResourceMetadata, &s.Scopes, s.publicURL); err != nil {
					return usage(err)
				}
			}
			out, err := xds.EnvoyFiltersYAML(s.Istio)
			if err != nil {
				return usage(err)
			}
			_, err = p.stdout.Write(out)
			return err
		},
	}
	s.flags(c.Flags())
	return c
}

func (s *istioSettings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.gateway, flagGateway, "", "`namespace/name` of the Gateway")
	f.StringVar(&s.podNamespace, "pod-namespace", "", "`namespace` of the Gateway's pods (default: the Gateway's own)")
	f.StringToStringVar(&s.Selector, "pod-selector", nil, "`labels` of the Gateway's pods where Istio has not made them itself, as in istio=ingressgateway")
	f.StringVar(&s.Name, "name", "", "what the objects' `names` begin with (default: the Gateway's name and -mcp)")
	f.Int32Var(&s.priority, "priority", xds.DefaultIstioPriority, "`priority` of the EnvoyFilters: those with a lower one put their filters inside of ours")
	f.StringSliceVar(&s.Hosts, "host", nil, "`hostnames` of the endpoint, as its HTTPRoute has them; separated by commas")
	f.StringSliceVar(&s.servers, "server-host", nil, "`hostnames` of MCP servers' HTTPRoutes, which are closed to clients; a path may follow, as in apps.example.com/weather; separated by commas")
	f.StringVar(&s.router, "router-service", "mcp-gateway.mcp-system.svc.cluster.local:50051", "`host:port` of the router's Service, whose port's name or appProtocol must say gRPC")
	f.StringVar(&s.broker, "broker-service", "mcp-gateway.mcp-system.svc.cluster.local:8080", "`host:port` of the broker's Service")
	f.StringSliceVar(&s.AllowedOrigins, "allowed-origins", nil, "web `origins` whose pages may call, beside those of this machine; separated by commas")
	f.StringVar(&s.publicURL, flagPublic, "", "`URL` of the gateway as clients know it, without a path, by which refused clients are told where to log in, and to ask for the scopes of $"+protectedresource.EnvScopes)
}

// challenge sets what refused clients are told.
func challenge(metadata *string, scopes *[]string, publicURL string) error {
	public, err := (&settings{publicURL: publicURL}).public()
	if err != nil {
		return err
	}
	m, err := protectedresource.FromEnv(os.LookupEnv, public)
	*metadata, *scopes = resourceMetadataURL(public), m.ScopesSupported
	return err
}

// complete reads what stands together in one flag.
func (s *istioSettings) complete() (err error) {
	namespace, name, ok := strings.Cut(s.gateway, "/")
	if !ok {
		return fmt.Errorf("--%s %q: want namespace/name", flagGateway, s.gateway)
	}
	if len(s.Hosts) == 0 {
		return errors.New("--host: the endpoint needs a hostname, that of the HTTPRoute that leads to the broker")
	}
	s.Namespace, s.Gateway, s.Priority = namespace, name, s.priority
	if s.podNamespace != "" {
		s.Namespace = s.podNamespace
	}
	for _, server := range s.servers {
		host, path, found := strings.Cut(server, "/")
		if found {
			path = "/" + path
		}
		s.Servers = append(s.Servers, xds.IstioPath{Host: host, Path: path})
	}
	if s.Router, err = parseService("router-service", s.router); err != nil {
		return err
	}
	s.Broker, err = parseService("broker-service", s.broker)
	return err
}

func parseService(flag, text string) (xds.IstioService, error) {
	host, port, err := net.SplitHostPort(text)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	if err != nil || notNumber != nil {
		return xds.IstioService{}, fmt.Errorf("--%s %q: want host:port", flag, text)
	}
	return xds.IstioService{Host: host, Port: uint16(number)}, nil
}
