package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guicassolato/mcp-gateway/internal/probe"
)

// probeSettings are the values of the flags of probe.
type probeSettings struct {
	probe.Options

	url, tokenFile, caFile, arguments string
}

func newProbe(p *process) *cobra.Command {
	s := &probeSettings{}
	c := &cobra.Command{
		Use:   "probe",
		Short: "Call a gateway as a client does, and tell whether it answers as it should",
		Long: `Opens a session, lists the tools, and calls one of them if it is named, printing a line about each step. A step that fails is tried
again until the time is up. With --forbidden-tool, policies that are accepted and not in force are found out: its call must be refused.
With --expect-challenge a call without a token must be refused with the way to the login; without a token, that is all there is to do.
In a cluster, ` + "`helm test`" + ` runs it.`,
		Example: `  mcp-broker-router probe --url https://mcp.example.com/mcp
  mcp-broker-router probe --url http://mcp-gateway-istio.mcp-system.svc/mcp --host mcp.example.com --expect-challenge \
    --token-file token --tool weather_get_forecast --arguments '{"city":"Rome"}' --forbidden-tool weather_watch_storm`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.complete(); err != nil {
				return usage(err)
			}
			return p.probe(c.Context(), s.Options)
		},
	}
	f := c.Flags()
	f.StringVar(&s.url, "url", "http://127.0.0.1:8888/mcp", "`URL` of the endpoint, with its path")
	f.StringVar(&s.Host, "host", "", "`hostname` by which requests call the gateway, where that is not the one in the URL")
	f.StringVar(&s.caFile, "ca-file", "", "`file` with the roots of the gateway's certificate, as PEM (default: the machine's)")
	f.StringVar(&s.tokenFile, "token-file", "", "`file` with the access token that is sent; empty means that none is")
	f.BoolVar(&s.Challenge, "expect-challenge", false, "fail unless a call without a token is refused with 401 and the way to the login")
	f.StringVar(&s.Tool, "tool", "", "`name` of the tool that is called; empty means that none is")
	f.StringVar(&s.arguments, "arguments", "{}", "the tool's arguments, a `JSON` object")
	f.StringVar(&s.Forbidden, "forbidden-tool", "", "`name` of a tool whose call must be refused. One of the same server as --tool is best: by then nobody but the policies stops it")
	f.DurationVar(&s.Timeout, "timeout", 2*time.Minute, "how long all of it may take, waiting for the gateway included")
	return c
}

// complete reads what the flags name.
func (s *probeSettings) complete() error {
	var errs []error
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, fmt.Errorf("--url %q: want a URL like https://mcp.example.com/mcp", s.url))
	}
	s.URL = u
	if arguments := map[string]json.RawMessage(nil); json.Unmarshal([]byte(s.arguments), &arguments) != nil || arguments == nil {
		errs = append(errs, fmt.Errorf("--arguments %s: want a JSON object", s.arguments))
	}
	s.Arguments = json.RawMessage(s.arguments)
	if s.Timeout <= 0 {
		errs = append(errs, errors.New("--timeout: must be more than 0"))
	}
	if s.tokenFile != "" {
		data, err := os.ReadFile(s.tokenFile)
		if s.Token = strings.TrimSpace(string(data)); err == nil && s.Token == "" {
			err = fmt.Errorf("%q is empty", s.tokenFile)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--token-file: %w", err))
		}
	}
	if s.caFile != "" {
		if s.CA, err = os.ReadFile(s.caFile); err != nil {
			errs = append(errs, fmt.Errorf("--ca-file: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (p *process) probe(ctx context.Context, o probe.Options) error {
	if err := probe.Run(ctx, o, p.stdout); err != nil {
		return fmt.Errorf("the gateway at %s does not answer as it should: %w", o.URL.Redacted(), err)
	}
	return nil
}
