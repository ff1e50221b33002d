package app

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// engineRateLimit is the global rate limit service.
const engineRateLimit = "ratelimit"

func newACLRender(p *process) *cobra.Command {
	var engine, file string
	c := &cobra.Command{
		Use:   "render",
		Short: "Print the configuration of another engine for the same policy values",
		Long: `Prints what another program must be told so that it does its part of the policy values. There is one engine:
"ratelimit" is the global rate limit service (github.com/envoyproxy/ratelimit) that policies.rateLimitService names, and
what is printed is a file for its configuration folder. What an engine cannot express is an error; nothing is left out.`,
		Example: `  mcp-broker-router acl render --engine ratelimit --policies policies.yaml > ratelimit/config/mcp-gateway.yaml`,
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return p.renderPolicies(engine, file) },
	}
	f := c.Flags()
	f.StringVar(&engine, "engine", "", "`name` of the engine: "+engineRateLimit)
	f.StringVar(&file, flagValues, "", "`file` with the policy values")
	return c
}

func (p *process) renderPolicies(engine, file string) error {
	switch {
	case engine != engineRateLimit:
		return usagef("--engine %q: want %q", engine, engineRateLimit)
	case file == "":
		return usagef("name the file of policy values with --%s", flagValues)
	}
	set, err := readPolicies(file)
	if err != nil {
		return err
	}
	out, err := xds.RateLimitService(set)
	if err != nil {
		return fmt.Errorf("%q cannot be rendered for %s: %w", file, engine, err)
	}
	_, err = p.stdout.Write(out)
	return err
}
