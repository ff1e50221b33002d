package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guicassolato/mcp-gateway/internal/policy"
)

// explanation is what "acl explain" is asked for.
type explanation struct {
	file                   string
	caller                 aclCaller
	tool, prompt, resource string
	server, ownName        string
	hints                  []string
	adminAddress           string
}

func newACLExplain(p *process) *cobra.Command {
	e := &explanation{}
	c := &cobra.Command{
		Use:   "explain",
		Short: "Tell what policy values allow somebody, and by which rule",
		Long: `Prints for one tool, prompt or resource whether a caller may have it, and what each rule says to that. Without one it
asks a running gateway for everything that it has, and prints a table. The decisions are made by the file alone, so
that it can be tried before it is put into force; no token is verified, and no budget of a rate limit is spent.`,
		Example: `  mcp-broker-router acl explain --policies policies.yaml --user alice --groups accounting
  mcp-broker-router acl explain --policies policies.yaml --user alice --tool weather_get_forecast
  mcp-broker-router acl explain --policies policies.yaml --claims-file token.json \
    --tool erp_save --server erp --own-name save --hint idempotent=true`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return p.explain(c.Context(), e, c.Flags()) },
	}
	f := c.Flags()
	f.StringVar(&e.file, flagValues, "", "`file` with the policy values")
	e.caller.flags(f)
	f.StringVar(&e.tool, "tool", "", "public `name` of a tool")
	f.StringVar(&e.prompt, "prompt", "", "public `name` of a prompt, in place of a tool")
	f.StringVar(&e.resource, "resource", "", "`URI` of a resource, in place of a tool")
	f.StringVar(&e.server, "server", "", "`name` of the server that it is of; without it, --own-name and --hint the running gateway is asked")
	f.StringVar(&e.ownName, "own-name", "", "the server's own `name` for it (default: the public one)")
	f.StringSliceVar(&e.hints, "hint", nil, "what the tool's annotations say, such as `readOnly=true`; the others are as the specification has them by default")
	f.StringVar(&e.adminAddress, flagAdmin, "127.0.0.1:8090", "`address` of the running gateway's /status: host:port or unix:/path")
	return c
}

func (p *process) explain(ctx context.Context, e *explanation, flags *pflag.FlagSet) error {
	item, err := e.item()
	if err != nil {
		return usage(err)
	}
	set, err := readPolicies(e.file)
	if err != nil {
		return err
	}
	id, err := e.caller.identity(set, flags.Changed)
	if err != nil {
		return err
	}
	gateway := gatewayStatus{address: e.adminAddress}
	var out strings.Builder
	fmt.Fprintf(&out, "caller: %s\n", describe(id))
	if item.Kind == policy.None {
		items, err := gateway.items(ctx)
		if err != nil {
			return fmt.Errorf("%w; or describe one item with --tool, --prompt or --resource", err)
		}
		table(&out, set, id, items)
	} else {
		if !e.described() {
			item = p.complete(ctx, gateway, item)
		}
		one(&out, set, id, item)
	}
	_, err = io.WriteString(p.stdout, out.String())
	return err
}

// item is of no kind where none is asked for.
func (e *explanation) item() (policy.Request, error) {
	var r policy.Request
	if e.file == "" {
		return r, fmt.Errorf("name the file of policy values with --%s", flagValues)
	}
	for kind, name := range map[policy.Kind]string{policy.Tool: e.tool, policy.Prompt: e.prompt, policy.Resource: e.resource} {
		if name == "" {
			continue
		}
		if r.Kind != policy.None {
			return r, errors.New("--tool, --prompt and --resource exclude each other: explain one item at a time")
		}
		r.Kind, r.PublicName, r.Name = kind, name, name
	}
	switch {
	case r.Kind == policy.None && e.described():
		return r, errors.New("--server, --own-name and --hint tell about one item: name it with --tool, --prompt or --resource")
	case r.Kind != policy.Tool && len(e.hints) > 0:
		return r, errors.New("--hint is about tools: name one with --tool")
	}
	if e.ownName != "" {
		r.Name = e.ownName
	}
	r.Server = e.server
	if r.Kind != policy.Tool || !e.described() {
		return r, nil
	}
	hints, err := parseHints(e.hints)
	r.Hints = hints
	return r, err
}

// described tells whether the item is told about, so that nobody has to be asked.
func (e *explanation) described() bool { return e.server != "" || e.ownName != "" || len(e.hints) > 0 }

// parseHints reads annotations and fills in what they leave out.
func parseHints(given []string) (string, error) {
	names := []string{"readOnly", "destructive", "idempotent", "openWorld"}
	values := map[string]bool{"destructive": true, "openWorld": true}
	said := map[string]bool{}
	for _, hint := range given {
		name, text, _ := strings.Cut(hint, "=")
		value, err := strconv.ParseBool(text)
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if err != nil || !known {
			return "", fmt.Errorf("--hint %q: want one of %s, as in readOnly=true", hint, strings.Join(names, ", "))
		}
		values[name], said[name] = value, true
	}
	if values["readOnly"] && !said["destructive"] {
		values["destructive"] = false
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = name + "=" + strconv.FormatBool(values[name])
	}
	return strings.Join(parts, ","), nil
}

// complete asks the running gateway for what the command line does not say of the item.
func (p *process) complete(ctx context.Context, g gatewayStatus, item policy.Request) policy.Request {
	items, err := g.items(ctx)
	if err != nil {
		_, _ = fmt.Fprintf(p.stderr, "note: %v; without it nothing is known of this %s but its name: tell more with --server, --own-name and --hint\n", err, item.Kind)
		return item
	}
	for _, known := range items {
		if known.Kind == item.Kind && known.PublicName == item.PublicName {
			return known
		}
	}
	_, _ = fmt.Fprintf(p.stderr, "note: the gateway at %s has no %s %q; nothing is known of it but its name: tell more with --server, --own-name and --hint\n",
		g.address, item.Kind, item.PublicName)
	return item
}

// one explains the decision about an item.
func one(out io.Writer, set *policy.Set, id *policy.Identity, item policy.Request) {
	_, _ = fmt.Fprintf(out, "%s: %s", item.Kind, item.PublicName)
	if item.Server != "" {
		_, _ = fmt.Fprintf(out, " (%s of server %s)", item.Name, item.Server)
	}
	if item.Hints != "" {
		_, _ = fmt.Fprintf(out, " %s", item.Hints)
	}
	decision := set.Decide(id, item)
	_, _ = fmt.Fprintf(out, "\n\n%s: %s\n", verdict(decision), decision.Reason)
	if len(set.ACL) > 0 && (set.Authentication == nil || id != nil) {
		rows := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprint(rows, "\nRULE\tIS FOR THIS CALLER\tIS ABOUT THIS ITEM\n")
		for i := range set.ACL {
			rule := &set.ACL[i]
			_, _ = fmt.Fprintf(rows, "%s\t%s\t%s\n", rule.Name, yesNo(rule.For(id)), yesNo(rule.Covers(item)))
		}
		_ = rows.Flush()
	}
	for i := range set.RateLimits {
		if limit := &set.RateLimits[i]; decision.Allowed && limit.Covers(item) {
			_, _ = fmt.Fprintf(out, "\nrate limit %s: %s\n", limit.Name, limit)
		}
	}
}

// table is one line for each item.
func table(out io.Writer, set *policy.Set, id *policy.Identity, items []policy.Request) {
	decide := set.Decider(id)
	rows := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(rows, "\nKIND\tNAME\tSERVER\tDECISION\tRULE\n")
	allowed := 0
	for _, item := range items {
		decision := decide(item)
		if decision.Allowed {
			allowed++
		}
		rule := decision.Rule
		if rule == "" {
			rule = "-"
		}
		_, _ = fmt.Fprintf(rows, "%s\t%s\t%s\t%s\t%s\n", item.Kind, item.PublicName, item.Server, verdict(decision), rule)
	}
	_ = rows.Flush()
	_, _ = fmt.Fprintf(out, "\n%d of %s allowed\n", allowed, counted(len(items), "item"))
	if set.Authentication != nil && id == nil {
		_, _ = fmt.Fprint(out, "These policies need a token: say who calls with --user, --groups, --roles, --scopes or --claims-file.\n")
	}
}

func verdict(d policy.Decision) string {
	if d.Allowed {
		return "allowed"
	}
	return "denied"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
