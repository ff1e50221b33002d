package app

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the generated documentation anew")

// run is one run of the whole command line.
func run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, log bytes.Buffer
	err = Main(t.Context(), "1.2.3", args, &out, &log)
	return out.String(), log.String(), err
}

func TestUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":           {[]string{"--frob"}, "unknown flag: --frob; see mcp-broker-router --help"},
		"an unknown flag of a part": {[]string{"standalone", "--frob"}, "unknown flag: --frob; see mcp-broker-router standalone --help"},
		"an unknown command":        {[]string{"frob"}, `unknown command or argument "frob"; see mcp-broker-router --help`},
		"an argument too many":      {[]string{"envoy-config", "x"}, `unknown command or argument "x"; see mcp-broker-router envoy-config --help`},
		"the controller":            {[]string{"--controller", "--gateway", "mcp"}, "--controller: --gateway \"mcp\": want namespace/name of a Gateway"},
		"a router module over TCP": {
			[]string{"--xds-address", "127.0.0.1:0", "--mcp-router-module-address", "127.0.0.1:1"},
			`--mcp-router-module-address "127.0.0.1:1": want unix:/path, since the keys of sessions go over it`,
		},
		"a router module of an Envoy that nobody feeds": {
			[]string{"--mcp-router-module-address", "unix:/run/m.sock"}, "--mcp-router-module-address needs --xds-address",
		},
		"an unknown adapter": {[]string{"standalone", "--example-servers", "x", "--router", "wasm"}, `--router "wasm": want auto, module or extproc`},
		"addresses": {
			[]string{"--mcp-router-address", "50051", "--mcp-broker-public-address", "unix:broker.sock", "--admin-address", "host:port", "--xds-address", ":99999"},
			"--mcp-router-address \"50051\": want host:port or unix:/path\n" +
				"--mcp-broker-public-address \"unix:broker.sock\": a Unix socket needs an absolute path, as in unix:/run/gateway.sock\n" +
				"--admin-address \"host:port\": want host:port or unix:/path\n" +
				"--xds-address \":99999\": want host:port or unix:/path",
		},
		"numbers":                {[]string{"--page-size", "0", "--drain-timeout", "-1s", "--max-request-bytes=-5", "--tool-search-threshold=-1", "--max-sessions=0"}, "--max-request-bytes: must be more than 0\n--page-size: must be more than 0\n--max-sessions: must be more than 0\n--drain-timeout: must be more than 0\n--tool-search-threshold: must not be negative"},
		"a number that is none":  {[]string{"--page-size", "many"}, `invalid argument "many" for "--page-size" flag: strconv.ParseInt: parsing "many": invalid syntax; see mcp-broker-router --help`},
		"origins":                {[]string{"--allowed-origins", "https://ok.example.com,*,https://x.example.com/path"}, "--allowed-origins \"*\": want scheme://host or scheme://host:port, without a path or a wildcard\n--allowed-origins \"https://x.example.com/path\": want scheme://host or scheme://host:port, without a path or a wildcard"},
		"the public URL":         {[]string{"--public-url", "mcp.example.com"}, `--public-url "mcp.example.com": want a URL like https://mcp.example.com`},
		"a path in it":           {[]string{"--public-url", "https://example.com/mcp"}, "--public-url: must have nothing but scheme, host and port; the endpoint is always at /mcp"},
		"the log":                {[]string{"--log-level", "loud"}, `unknown log level "loud": want debug, info, warn or error`},
		"nothing to run":         {[]string{"standalone"}, "give --mcp-gateway-config, or --example-servers to try the gateway with two example servers"},
		"two things to run":      {[]string{"standalone", "--example-servers", "x", "--mcp-gateway-config", "y"}, "--mcp-gateway-config and --example-servers exclude each other: the example servers have a configuration of their own"},
		"a port that is none":    {[]string{"standalone", "--example-servers", "x", "--port", "70000"}, "--port 70000: want 1 to 65535"},
		"an Envoy that is none":  {[]string{"standalone", "--example-servers", "x", "--port", freePort(t), "--envoy", "/nowhere/envoy"}, `--envoy "/nowhere/envoy": there is no such program; hack/envoy.sh prints the path of one, and func-e or your distribution has one too`},
		"something else instead": {[]string{"standalone", "--example-servers", "x", "--port", freePort(t), "--envoy", script(t, "echo hello")}, "is not Envoy: it calls its version \"hello\""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := run(t, tt.args...)
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, 2, ExitCode(err))
			assert.Empty(t, stdout)
			assert.Empty(t, stderr, "the error is printed in one place, by who called")
		})
	}
}

func TestOtherErrors(t *testing.T) {
	broken := write(t, "broken.yaml", "servers:\n  - name: a\n    ur: http://127.0.0.1:1\n  - name: a\n")
	taken := listener(t)
	good := write(t, "good.yaml", "servers: []\n")
	short := write(t, "short", "too short\n")
	tests := map[string]struct {
		args []string
		env  map[string]string
		want []string
	}{
		"no configuration":      {args: []string{"--mcp-gateway-config", "/nowhere/config.yaml"}, want: []string{"the configuration cannot be used:\n", "/nowhere/config.yaml", "does not exist"}},
		"all that is wrong":     {args: []string{"--mcp-gateway-config", broken}, want: []string{broken + ":3:5: servers[0].ur: unknown key", broken + `:4:11: servers[1].name: the name "a" is already taken`}},
		"a taken address":       {args: []string{"--mcp-gateway-config", good, "--admin-address", "127.0.0.1:0", "--mcp-router-address", taken}, want: []string{"--mcp-router-address: cannot listen on \"" + taken + "\": bind: address already in use"}},
		"no key file":           {args: []string{"--mcp-gateway-config", good, "--session-key-file", "/nowhere/key"}, want: []string{"--session-key-file: open /nowhere/key: no such file or directory"}},
		"a short key file":      {args: []string{"--mcp-gateway-config", good, "--session-key-file", short}, want: []string{"--session-key-file: session key has 9 bytes, it needs at least 32"}},
		"a short key":           {args: []string{"--mcp-gateway-config", good}, env: map[string]string{envSessionKey: "secret"}, want: []string{envSessionKey + ": session key has 6 bytes, it needs at least 32"}},
		"OAuth":                 {args: []string{"--mcp-gateway-config", good}, env: map[string]string{"OAUTH_RESOURCE": "ftp://x"}, want: []string{"OAUTH_RESOURCE"}},
		"policies":              {args: []string{"--mcp-gateway-config", good, "--xds-address", "127.0.0.1:0", "--envoy-policies", short}, want: []string{"--envoy-policies", "policies: "}},
		"policy values":         {args: []string{"--mcp-gateway-config", good, "--policies", broken}, want: []string{"the policies cannot be used:\n", broken + ":1:1: "}},
		"no policy values":      {args: []string{"--mcp-gateway-config", good, "--policies", "/nowhere/p.yaml"}, want: []string{"--policies: ", "/nowhere/p.yaml"}},
		"a policy engine's key": {args: []string{"--mcp-gateway-config", good, "--trusted-authorizer-key-file", short}, want: []string{"--trusted-authorizer-key-file", "PEM"}},
		"a static Envoy's keys": {args: []string{"envoy-config", "--mcp-gateway-config", good, "--policies", write(t, "p.yaml", withTokens(""))}, want: []string{"jwksURI"}},
		"an unreachable Envoy":  {args: []string{"--mcp-gateway-config", good, "--xds-address", "127.0.0.1:0", "--envoy-listen-address", "example.com:1"}, want: []string{"Envoy listens on an IP address"}},
		"an Envoy without runs": {args: []string{"standalone", "--example-servers", "x", "--port", freePort(t), "--envoy", script(t, "echo 'no libc' >&2; exit 127")}, want: []string{"does not run: exit status 127: no libc"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			_, _, err := run(t, tt.args...)
			require.Error(t, err)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			assert.Equal(t, 1, ExitCode(err))
		})
	}
}

func TestTwoSessionKeys(t *testing.T) {
	t.Setenv(envSessionKey, strings.Repeat("k", 32))
	_, _, err := run(t, "--mcp-gateway-config", write(t, "c.yaml", "servers: []"), "--session-key-file", write(t, "key", strings.Repeat("k", 32)))
	require.EqualError(t, err, "both --session-key-file and MCP_GATEWAY_SESSION_KEY are given: keep one of them")
	assert.Equal(t, 2, ExitCode(err))
}

func TestVersionAndHelp(t *testing.T) {
	stdout, _, err := run(t, "--version")
	require.NoError(t, err)
	assert.Equal(t, "mcp-broker-router 1.2.3\n", stdout)
	stdout, stderr, err := run(t, "standalone", "--help")
	require.NoError(t, err)
	assert.Contains(t, stdout, "--example-servers")
	assert.Empty(t, stderr)
}

func TestEnvoyFiles(t *testing.T) {
	t.Setenv("TOKEN", "very secret")
	cfg := write(t, "config.yaml", `
servers:
  - {name: team/a, url: "http://a.example.com:8080", credential: {env: TOKEN}}
  - {name: off, url: "http://off.example.com", enabled: false}
`)
	stdout, _, err := run(t, "envoy-config", "--mcp-gateway-config", cfg, "--mcp-router-address", "0.0.0.0:1234", "--mcp-broker-public-address", "unix:/run/b.sock")
	require.NoError(t, err)
	assert.Contains(t, stdout, "name: team.a\n", "the name that the router labels for")
	assert.Contains(t, stdout, "port_value: 1234")
	assert.Contains(t, stdout, "path: /run/b.sock")
	assert.NotContains(t, stdout, "off.example.com")
	assert.NotContains(t, stdout, "very secret")

	stdout, _, err = run(t, "envoy-bootstrap", "--xds-address", "unix:/run/x.sock", "--envoy-node-id", "edge-7", "--mcp-router-address", "127.0.0.1:1")
	require.NoError(t, err)
	assert.Contains(t, stdout, "path: /run/x.sock")
	assert.Contains(t, stdout, "id: edge-7")
}

const shippedEnvoy = "../../config/envoy/envoy.yaml"

// The Envoy file that is shipped for the sample configuration is what envoy-config prints for it.
func TestShippedEnvoyFile(t *testing.T) {
	got, _, err := run(t, "envoy-config", "--mcp-gateway-config", "../../config/mcp-system/config.yaml", "--envoy-admin-address", "127.0.0.1:9901")
	require.NoError(t, err)
	got = "# For an Envoy beside the gateway with the sample configuration. Made by: mcp-broker-router envoy-config\n" + got
	if *update {
		require.NoError(t, os.WriteFile(shippedEnvoy, []byte(got), 0o644))
	}
	want, err := os.ReadFile(shippedEnvoy)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "run go test ./internal/app -run TestShippedEnvoyFile -update")
}

const flagReference = "../../docs/reference/flags.md"

// The reference is made of the command tree; this test makes it anew with -update.
func TestFlagReference(t *testing.T) {
	got := reference(newRoot(&process{version: "dev"}))
	if *update {
		require.NoError(t, os.WriteFile(flagReference, []byte(got), 0o644))
	}
	want, err := os.ReadFile(flagReference)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "run go test ./internal/app -run TestFlagReference -update")
}

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Command line\n\n<!-- Made by `go test ./internal/app -run TestFlagReference -update`; changes here are overwritten. -->\n")
	commands := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" {
			commands = append(append(commands, c), c.Commands()...)
		}
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s\n\n```sh\n%s\n```\n", c.CommandPath(), c.Short, c.Long, dedent(c.Example))
		if c.HasAvailableLocalFlags() {
			b.WriteString("\n| Flag | Default | Meaning |\n|---|---|---|\n")
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			kind, text := pflag.UnquoteUsage(f)
			def := ""
			if f.DefValue != "" && f.DefValue != "[]" {
				def = "`" + f.DefValue + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.TrimSpace("--"+f.Name+" "+kind), def, text)
		})
	}
	b.WriteString(environment)
	return b.String()
}

const environment = `
## Environment

| Variable | Default | Meaning |
|---|---|---|
| ` + "`MCP_GATEWAY_SESSION_KEY`" + ` | made for this run | The secret, at least 32 bytes, that session tokens are signed with, in place of ` + "`--session-key-file`" + `. |
| ` + "`MCP_GATEWAY_STORE_URL`" + ` | none | The URL of the Redis or Valkey that replicas share, in place of ` + "`--store-url`" + `. |
| ` + "`MCP_GATEWAY_STORE_SENTINEL_PASSWORD`" + ` | none | The password of the sentinels by which it is found, where they want one: it is not that of the URL. |
| ` + "`MCP_GATEWAY_STORE_SENTINEL_USER`" + ` | none | Their user, where they have users. |
| ` + "`GATEWAY_LOCAL_PORT_HTTP_MCP`" + ` | ` + "`8888`" + ` | The port of ` + "`standalone`" + ` and ` + "`make run`" + `, in place of ` + "`--port`" + `. |
| ` + "`OAUTH_RESOURCE_NAME`" + ` | ` + "`MCP Server`" + ` | What clients show of the gateway when they ask for permission. |
| ` + "`OAUTH_RESOURCE`" + ` | ` + "`/mcp`" + ` | The protected resource: a URL, or a path on ` + "`--public-url`" + `. |
| ` + "`OAUTH_AUTHORIZATION_SERVERS`" + ` | none | The issuers of tokens: URLs, separated by commas. |
| ` + "`OAUTH_BEARER_METHODS_SUPPORTED`" + ` | ` + "`header`" + ` | How tokens may be sent, separated by commas. |
| ` + "`OAUTH_SCOPES_SUPPORTED`" + ` | ` + "`basic`" + ` | The scopes that clients may ask for, separated by commas. |

The last five make the protected resource metadata (RFC 9728) under ` + "`/.well-known/oauth-protected-resource`" + `; a list that is set to nothing is left out.

## Shell completion

` + "`mcp-broker-router completion`" + ` prints a script for bash, zsh, fish or PowerShell, which completes commands, flags and the values of some flags:

` + "```sh" + `
mcp-broker-router completion bash > /etc/bash_completion.d/mcp-broker-router    # needs the package bash-completion
mcp-broker-router completion zsh > "${fpath[1]}/_mcp-broker-router"
mcp-broker-router completion fish > ~/.config/fish/completions/mcp-broker-router.fish
` + "```" + `

## Signals and exit codes

SIGTERM, SIGINT and SIGHUP end the process: ` + "`/readyz`" + ` turns to 503, calls in flight get ` + "`--drain-timeout`" + ` to end, then the sessions with
servers are closed. A second signal stops at once.

| Exit code | Meaning |
|---|---|
| 0 | stopped by a signal |
| 1 | failed, with the reason as the last words on standard error |
| 2 | a mistake on the command line |
`

func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}

// Every flag says what it is, and none is documented as something that it isn't.
func TestFlagsExplainThemselves(t *testing.T) {
	root := newRoot(&process{})
	for _, c := range append(root.Commands(), root) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			assert.NotEmpty(t, f.Usage, f.Name)
			assert.Equal(t, strings.ToLower(f.Name), f.Name)
			assert.False(t, strings.HasSuffix(f.Usage, "."), "--%s: without a full stop, as the default follows", f.Name)
		})
		assert.NotEmpty(t, c.Long, c.Name())
		assert.NotEmpty(t, c.Example, c.Name())
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// script is a program of one line.
func script(t *testing.T, line string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o700))
	return path
}

// listener holds an address until the test ends.
func listener(t *testing.T) string {
	t.Helper()
	l, err := listen(context.Background(), "test", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := listen(context.Background(), "test", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	return port
}
