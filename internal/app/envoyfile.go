package app

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/protectedresource"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func newEnvoyConfig(p *process) *cobra.Command {
	s := &settings{}
	c := &cobra.Command{
		Use:   "envoy-config",
		Short: "Print a complete file for an Envoy that nobody feeds",
		Long: `Prints a complete Envoy file for the servers of a configuration, for an Envoy that runs beside this gateway and takes
its configuration from nobody. Credentials are not in it: Envoy reads them from where the configuration has them from.
The file has to be made anew when servers are added or change their addresses.`,
		Example: `  mcp-broker-router envoy-config --mcp-gateway-config ./config/mcp-system/config.yaml > envoy.yaml`,
		RunE: func(*cobra.Command, []string) error {
			return p.printEnvoy(s, func(o xds.Options) ([]byte, error) {
				cfg, err := config.Load(s.configFile, config.OS())
				if err != nil {
					return nil, fmt.Errorf("the configuration cannot be used:\n%w", err)
				}
				if o.Values, err = s.staticValues(os.LookupEnv); err != nil {
					return nil, err
				}
				return xds.Static(o, staticClusters(cfg))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&s.configFile, flagConfig, "./config/mcp-system/config.yaml", "the configuration `file`")
	s.listening(f)
	s.envoy.addresses(f)
	s.envoy.shared(f)
	s.envoy.ownAdmin(f)
	f.StringSliceVar(&s.allowedOrigins, "allowed-origins", nil, "web `origins` whose pages may call, beside those of this machine; separated by commas")
	f.StringVar(&s.publicURL, flagPublic, "http://127.0.0.1:8888", "`URL` of the gateway as clients know it, without a path")
	return c
}

// staticValues are the policy values for an Envoy that nobody feeds: it fetches the issuer's keys itself, and learns of no change.
func (s *settings) staticValues(lookup protectedresource.Lookup) (*xds.PolicyValues, error) {
	if s.envoy.values == "" {
		return nil, nil
	}
	public, err := s.public()
	if err != nil {
		return nil, usage(err)
	}
	metadata, err := protectedresource.FromEnv(lookup, public)
	if err != nil {
		return nil, err
	}
	values, err := policyFile(func(*policy.Set) error { return nil }).Load(s.envoy.values, config.OS())
	if err != nil {
		return nil, fmt.Errorf("the policies cannot be used:\n%w", err)
	}
	return &xds.PolicyValues{Set: values.set, ResourceMetadata: resourceMetadataURL(public), Scopes: metadata.ScopesSupported}, nil
}

func newEnvoyBootstrap(p *process) *cobra.Command {
	s := &settings{}
	c := &cobra.Command{
		Use:     "envoy-bootstrap",
		Short:   "Print the file for an Envoy that the gateway feeds",
		Long:    `Prints what an Envoy is started with that takes everything else from the gateway's --xds-address.`,
		Example: `  mcp-broker-router envoy-bootstrap --xds-address 127.0.0.1:18000 > bootstrap.yaml`,
		RunE:    func(*cobra.Command, []string) error { return p.printEnvoy(s, xds.Bootstrap) },
	}
	f := c.Flags()
	f.StringVar(&s.envoy.xds, flagXDS, "127.0.0.1:18000", "`address` at which Envoy finds the configuration server: host:port or unix:/path")
	f.StringVar(&s.envoy.nodeID, "envoy-node-id", xds.DefaultNodeID, "`name` by which Envoy introduces itself, different for each one")
	s.envoy.ownAdmin(f)
	// What these say comes over the stream. They are taken so that one list of flags does for the gateway and for Envoy.
	unused := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.listening(unused)
	s.envoy.addresses(unused)
	s.envoy.shared(unused)
	unused.VisitAll(func(flag *pflag.Flag) { flag.Hidden = true })
	f.AddFlagSet(unused)
	return c
}

// ownAdmin adds the flag of Envoy's own admin interface.
func (e *envoySettings) ownAdmin(f *pflag.FlagSet) {
	f.StringVar(&e.admin, "envoy-admin-address", "", "`address` of Envoy's own admin interface, on loopback or a Unix socket; empty means none")
}

func (p *process) printEnvoy(s *settings, render func(xds.Options) ([]byte, error)) error {
	if err := s.checkOrigins(); err != nil {
		return usage(err)
	}
	o, err := s.envoyOptions()
	if err != nil {
		return err
	}
	file, err := render(o)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(file)
	return err
}

// staticClusters are those that the router labels for where it feeds no Envoy.
func staticClusters(cfg *config.Config) []xds.Cluster {
	var out []xds.Cluster
	for i := range cfg.Servers {
		if s := cfg.Servers[i]; s.Enabled {
			out = append(out, xds.Cluster{Name: clusterName(&s), Server: s})
		}
	}
	return out
}
