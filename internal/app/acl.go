package app

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func newACL(p *process) *cobra.Command {
	c := &cobra.Command{
		Use:   "acl",
		Short: "Check policy values, and explain what they allow",
		Long: `Has commands for files of policy values: "acl check" validates one, "acl explain" tells what it allows somebody and why,
and "acl render" prints what another engine must be told of it.`,
		Example: `  mcp-broker-router acl check policies.yaml
  mcp-broker-router acl explain --policies policies.yaml --user alice --groups accounting`,
		RunE: func(c *cobra.Command, _ []string) error {
			return usagef(`give one of the commands "check", "explain" and "render"; see %s --help`, c.CommandPath())
		},
	}
	c.AddCommand(newACLCheck(p), newACLExplain(p), newACLRender(p))
	return c
}

func newACLCheck(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Validate a file of policy values",
		Long: `Reads a file of policy values as the gateway does, and prints everything that is wrong with it. It exits with 0 if the
gateway would take the file, else with 1. What the gateway would take and is seldom meant is printed as a warning.`,
		Example: `  mcp-broker-router acl check policies.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one file of policy values; see %s --help", c.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return p.checkPolicies(args[0]) },
	}
}

func (p *process) checkPolicies(file string) error {
	set, err := readPolicies(file)
	if err == nil {
		err = enforceable(set)
	}
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, warning := range set.Warnings() {
		fmt.Fprintf(&out, "%s: warning: %s\n", file, warning)
	}
	fmt.Fprintf(&out, "%s: is valid: %s\n", file, outline(set))
	_, err = p.stdout.Write([]byte(out.String()))
	return err
}

// readPolicies reads policy values once. All that is wrong with them is in the error.
func readPolicies(file string) (*policy.Set, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return nil, fmt.Errorf("the policies cannot be read from %q: %w", file, err)
	}
	set, err := policy.Parse(file, data)
	if err != nil {
		return nil, fmt.Errorf("the policies cannot be used:\n%w", err)
	}
	return set, nil
}

// enforceable tells what Envoy could not enforce. How Envoy is set up otherwise makes no difference to that.
func enforceable(set *policy.Set) error {
	s := &settings{}
	defaults := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.listening(defaults)
	s.envoy.addresses(defaults)
	s.envoy.shared(defaults)
	options, err := s.envoyOptions()
	if err != nil {
		return err
	}
	options.XDS, options.Values = "127.0.0.1:1", &xds.PolicyValues{Set: set}
	if _, err := xds.Translate(options, nil); err != nil {
		return fmt.Errorf("the policies cannot be enforced by Envoy:\n%w", err)
	}
	return nil
}

func outline(set *policy.Set) string {
	parts := []string{"no authentication", "no acl", counted(len(set.RateLimits), "rate limit")}
	if a := set.Authentication; a != nil {
		parts[0] = fmt.Sprintf("tokens of %s for %s", a.Issuer, strings.Join(a.Audiences, " or "))
	}
	if set.ACL != nil {
		parts[1] = counted(len(set.ACL), "rule")
	}
	if service := set.RateLimitService; service != nil {
		parts[2] += " counted by " + service.Address
	}
	return strings.Join(parts, ", ")
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
