package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/guicassolato/mcp-gateway/internal/admin"
)

// statusSettings is what "status" is asked for.
type statusSettings struct {
	adminAddress string
	output       string
	tools        bool
}

func newStatus(p *process) *cobra.Command {
	s := &statusSettings{}
	c := &cobra.Command{
		Use:   "status",
		Short: "Print how a running gateway is",
		Long: `Asks a running gateway at its admin address for what the status page shows, and prints it as tables: whether it is ready and
why not, the servers with their health, what is wrong and what to do. It exits with 0 if the gateway is ready, else with 1.`,
		Example: `  mcp-broker-router status
  mcp-broker-router status --tools
  mcp-broker-router status --admin-address unix:/run/mcp-gateway/admin.sock --output json
  kubectl -n mcp-system exec deploy/mcp-gateway -- mcp-broker-router status`,
		RunE: func(c *cobra.Command, _ []string) error { return p.status(c.Context(), s) },
	}
	f := c.Flags()
	f.StringVar(&s.adminAddress, flagAdmin, "127.0.0.1:8090", "`address` of the running gateway's /status: host:port or unix:/path")
	f.StringVarP(&s.output, "output", "o", "table", "table or json")
	f.BoolVar(&s.tools, "tools", false, "list the tools, prompts and resources, too")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // it fails for unknown flags only
	return c
}

func (p *process) status(ctx context.Context, s *statusSettings) error {
	if s.output != "table" && s.output != "json" {
		return usagef("--output %q: want table or json", s.output)
	}
	if err := checkAddress(flagAdmin, s.adminAddress); err != nil {
		return usage(err)
	}
	st, err := gatewayStatus{address: s.adminAddress}.get(ctx)
	if err != nil {
		return fmt.Errorf("cannot ask the gateway at %s (%w); start it, or name its --%s", s.adminAddress, err, flagAdmin)
	}
	if s.output == "json" {
		out, err := json.MarshalIndent(st, "", "  ")
		if err == nil {
			_, err = fmt.Fprintf(p.stdout, "%s\n", out)
		}
		if err != nil {
			return err
		}
	} else if _, err := io.WriteString(p.stdout, statusText(st, s.tools, time.Now())); err != nil {
		return err
	}
	if !st.Ready {
		return fmt.Errorf("the gateway is not ready: %s", strings.Join(st.NotReady, "; "))
	}
	return nil
}

// statusText is everything that there is to say. Of an empty part nothing is.
func statusText(st *admin.Status, tools bool, now time.Time) string {
	var out strings.Builder
	ready := "ready"
	if !st.Ready {
		ready = "not ready"
	}
	fmt.Fprintf(&out, "MCP Gateway %s is %s", st.Version, ready)
	if st.Endpoint != "" {
		fmt.Fprintf(&out, ": %s", st.Endpoint)
	}
	fmt.Fprintf(&out, "\n%s, %s, %s, %s\n", counted(len(st.Tools), "tool"), counted(st.Sessions, "session"), counted(st.Streams, "open stream"), counted(st.Calls, "call")+" at the broker")
	serverTable(&out, st, now)
	virtualTable(&out, st)
	envoyTable(&out, st, now)
	for _, problem := range statusProblems(st) {
		out.WriteString(problem)
	}
	if tools {
		itemTable(&out, st)
	}
	return out.String()
}

// rows writes a table. Texts of others are cut to one line, so that none of them can pretend to be a row.
func rows(out io.Writer, heading ...string) (row func(cells ...string), end func()) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row = func(cells ...string) {
		for i, cell := range cells {
			cells[i] = oneLine(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_, _ = fmt.Fprintln(out)
	row(heading...)
	return row, func() { _ = w.Flush() }
}

// oneLine takes out what a terminal would obey.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
}

func serverTable(out io.Writer, st *admin.Status, now time.Time) {
	if len(st.Servers) == 0 {
		_, _ = fmt.Fprintf(out, "\nThere are no servers yet: add one to %s\n", oneLine(st.Config.File))
		return
	}
	heading := []string{"SERVER", "STATE", "SINCE", "REVISION", "TOOLS", "LAST READ", "URL"}
	if st.Servers[0].Load != nil {
		heading = append(heading, "CALLS NOW", "CALLS/S")
	} else {
		heading = append(heading, "AT BROKER")
	}
	row, end := rows(out, heading...)
	for i := range st.Servers {
		s := &st.Servers[i]
		state := s.State
		if state == "ready" && !s.Programmed {
			state = "waits for Envoy"
		}
		cells := []string{s.Name, state, ago(s.Since, now), orDash(strings.Join(s.Revisions, " ")), fmt.Sprint(s.Tools), "-", s.URL}
		if !s.Discovered.IsZero() {
			cells[5] = time.Duration(s.DiscoverySeconds * float64(time.Second)).Round(time.Millisecond).String()
		}
		if s.Load != nil {
			cells = append(cells, fmt.Sprint(s.Load.Active), fmt.Sprintf("%.1f", s.Load.Rate))
		} else {
			cells = append(cells, fmt.Sprint(s.Carried))
		}
		row(cells...)
	}
	end()
}

func virtualTable(out io.Writer, st *admin.Status) {
	if len(st.VirtualServers) == 0 {
		return
	}
	row, end := rows(out, "VIRTUAL SERVER", "PATH", "TOOLS", "PROMPTS", "RESOURCES")
	for _, v := range st.VirtualServers {
		row(v.Name, v.Path, fmt.Sprint(v.Tools), fmt.Sprint(v.Prompts), fmt.Sprint(v.Resources))
	}
	end()
}

func envoyTable(out io.Writer, st *admin.Status, now time.Time) {
	if st.Envoys == nil || len(*st.Envoys) == 0 {
		return
	}
	row, end := rows(out, "ENVOY", "BUILD", "CONNECTED", "SERVES", "REFUSED")
	for _, e := range *st.Envoys {
		row(e.Node, orDash(e.Build), ago(e.ConnectedSince, now), yesNo(e.Serving), fmt.Sprint(len(e.Refused)))
	}
	end()
}

func itemTable(out io.Writer, st *admin.Status) {
	open := "AT BROKER"
	if st.ToolCalls.AllOpen() {
		open = "CALLS NOW"
	}
	heading, none := []string{"KIND", "NAME", "SERVER", "CALLS", "CALLS/S", open}, []string{"", "", ""}
	if st.ToolCalls.AllFailed() {
		heading, none = append(heading, "FAILED"), append(none, "")
	}
	row, end := rows(out, append(heading, "HINTS", "HASH")...)
	for i := range st.Tools {
		t := &st.Tools[i]
		cells := []string{"tool", t.Name, t.Server, fmt.Sprint(t.Calls), fmt.Sprintf("%.1f", t.Rate), fmt.Sprint(t.Open)}
		if st.ToolCalls.AllFailed() {
			cells = append(cells, fmt.Sprint(t.Failed))
		}
		row(append(cells, t.Hints, t.Hash)...)
	}
	for _, list := range []struct {
		kind  string
		items []admin.Item
	}{{"prompt", st.Prompts}, {"resource", st.Resources}, {"template", st.Templates}} {
		for _, it := range list.items {
			row(slices.Concat([]string{list.kind, it.Name, it.Server}, none, []string{"", ""})...)
		}
	}
	end()
}

// statusProblems are what is wrong, a paragraph each.
func statusProblems(st *admin.Status) []string {
	var out []string
	add := func(about, message, advice string) {
		text := "\n" + oneLine(about) + ": " + oneLine(message) + "\n"
		if advice != "" {
			text += "  " + advice + "\n"
		}
		out = append(out, text)
	}
	for _, p := range st.Config.Problems {
		add("configuration", p, "The one before it stays in force.")
	}
	if st.Policies != nil {
		for _, p := range st.Policies.Problems {
			add("policies", p, st.Policies.Advice(p))
		}
	}
	for i := range st.Servers {
		if s := &st.Servers[i]; s.LastError != "" {
			add("server "+s.Name, s.LastError, s.Advice)
		}
	}
	if st.Envoys != nil {
		for _, e := range *st.Envoys {
			for _, r := range e.Refused {
				add("Envoy "+e.Node+" refuses "+r.Type+" "+r.Name, r.Message, "")
			}
		}
	}
	for _, p := range st.Problems {
		add(strings.TrimSpace("server "+p.Server+" "+p.Kind+" "+p.Name), p.Message, "")
	}
	return out
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// ago is how long something has been so, in its greatest unit.
func ago(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	d := now.Sub(since)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
