package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is what the golden files may refer to. They stand for files of /etc/gateway.
func world(t testing.TB) *memory {
	t.Helper()
	ca, err := os.ReadFile("testdata/files/ca.pem")
	require.NoError(t, err)
	const key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	m := newMemory(map[string]string{
		"/etc/gateway/ca.pem":            "a remark\n" + key + string(ca),
		"/etc/gateway/key.pem":           key,
		"/etc/gateway/broken.pem":        strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"),
		"/etc/gateway/secrets/time":      "time-token\n",
		"/etc/gateway/secrets/empty":     "\n",
		"/etc/gateway/secrets/forbidden": "forbidden",
		"/etc/gateway/secrets/binary":    "hunter2-abc\xff",
		"/etc/gateway/secrets/spaces":    "hunter2-abc ",
		"/etc/gateway/secrets/large":     strings.Repeat("hunter2-abc", 2000),
		"/etc/shared/token":              "shared-token",
		"/run/secrets/crlf":              "crlf-token\r\n\r\n",
	})
	m.vars = map[string]string{
		"WEATHER_TOKEN": "weather-token",
		"TIME_TOKEN":    "time-token",
		"CLIENT_SECRET": "client-secret",
		"EMPTY":         "",
		"MULTILINE":     "hunter2-abc\nhunter2-abc",
	}
	return m
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, input := range inputs {
		base := strings.TrimSuffix(input, ".in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			data, err := os.ReadFile(input)
			require.NoError(t, err)
			config, err := Parse("/etc/gateway/config.yaml", data, world(t))
			if err != nil {
				assert.Nil(t, config)
				assert.NotContains(t, err.Error(), "hunter2", "a problem repeats a secret")
				golden(t, base+".err.txt", err.Error()+"\n")
				absent(t, base+".out.yaml")
				return
			}
			golden(t, base+".out.yaml", render(t, config))
			absent(t, base+".err.txt")
		})
	}
}

func TestGoldenFilesHaveInputs(t *testing.T) {
	for _, suffix := range []string{".out.yaml", ".err.txt"} {
		outputs, err := filepath.Glob("testdata/*" + suffix)
		require.NoError(t, err)
		for _, output := range outputs {
			assert.FileExists(t, strings.TrimSuffix(output, suffix)+".in.yaml")
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update")
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func absent(t *testing.T, path string) {
	t.Helper()
	if *update {
		if err := os.Remove(path); !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		return
	}
	assert.NoFileExists(t, path)
}

// rendered is a compiled server as golden files show it: everything, with the test's credentials in clear.
type rendered struct {
	Name              string
	URL               string            `yaml:"url"`
	Parts             []any             `yaml:"parts,flow"`
	Hostname          string            `yaml:"hostname"`
	Cluster           string            `yaml:"cluster,omitempty"`
	Enabled           bool              `yaml:"enabled"`
	ToolPrefix        string            `yaml:"toolPrefix"`
	URIPrefix         bool              `yaml:"uriPrefix"`
	Headers           []Header          `yaml:"headers,omitempty"`
	Credential        map[string]any    `yaml:"credential,omitempty"`
	Timeout           time.Duration     `yaml:"timeout"`
	MaxCalls          *uint32           `yaml:"maxCalls,omitempty"` // where it is not the default
	MaxConnections    uint32            `yaml:"maxConnections,omitempty"`
	MaxBytesPerSecond uint32            `yaml:"maxBytesPerSecond,omitempty"`
	Untrusted         bool              `yaml:"untrusted,omitempty"`
	ToolTimeouts      map[string]string `yaml:"toolTimeouts,omitempty"`
	Pins              map[string]string `yaml:"pins,omitempty"`
	TLS               map[string]string `yaml:"tls,omitempty"`
}

func render(t *testing.T, config *Config) string {
	t.Helper()
	require.NotNil(t, config.Servers)
	list := []rendered{}
	for i := range config.Servers {
		s := &config.Servers[i]
		r := rendered{
			Name: s.Name, URL: s.URL(), Parts: []any{s.Scheme, s.Host, s.Port, s.Path}, Hostname: s.Hostname, Cluster: s.Cluster, Enabled: s.Enabled,
			ToolPrefix: s.ToolPrefix, URIPrefix: s.URIPrefix, Headers: s.Headers, Timeout: s.Timeout, MaxConnections: s.MaxConnections, MaxBytesPerSecond: s.MaxBytesPerSecond, Untrusted: s.Untrusted, Pins: s.Pins,
		}
		if c := s.Credential; c != nil {
			r.Credential = renderCredential(c)
		}
		if s.TLS != nil {
			r.TLS = map[string]string{"serverName": s.TLS.ServerName, "caFile": s.TLS.CAFile, "ca": string(s.TLS.CA)}
		}
		if s.MaxCalls != DefaultMaxCalls {
			r.MaxCalls = &s.MaxCalls
		}
		for tool := range s.ToolTimeouts {
			if r.ToolTimeouts == nil {
				r.ToolTimeouts = map[string]string{}
			}
			r.ToolTimeouts[tool] = s.TimeoutOf(tool).String()
		}
		list = append(list, r)
	}
	whole := map[string]any{"servers": list}
	if len(config.VirtualServers) > 0 {
		whole["virtualServers"] = renderVirtual(config)
	}
	out, err := yaml.Marshal(whole)
	require.NoError(t, err)
	return string(out)
}

func renderVirtual(config *Config) []map[string]any {
	var list []map[string]any
	for i := range config.VirtualServers {
		v := &config.VirtualServers[i]
		r := map[string]any{
			"name": v.Name, "segment": v.Segment(), "description": v.Description,
			"tools": v.Tools, "prompts": v.Prompts, "resources": v.Resources, "servers": v.Servers,
		}
		if v.Hints != nil {
			r["hints"] = v.Hints
		}
		list = append(list, r)
	}
	return list
}

func renderCredential(c *Credential) map[string]any {
	out := map[string]any{"header": c.Header, "value": c.HeaderValue().Reveal(), "env": c.Env, "file": c.File}
	if c.Kind != StaticCredential {
		out = map[string]any{
			"kind": map[CredentialKind]string{ClientCredentials: "clientCredentials", TokenExchange: "tokenExchange", ClientToken: "clientToken", PerUser: "perUser"}[c.Kind],
			"sent": c.Header + ": " + c.HeaderValue().Reveal() + "<token>",
		}
	}
	if c.Kind == PerUser {
		out["title"], out["description"] = c.Title, c.Description
	}
	if o := c.Client; o != nil {
		out["client"] = map[string]any{
			"tokenURL": o.TokenURL, "issuer": o.Issuer, "id": o.ID, "secret": o.Secret.Reveal(), "secretEnv": o.SecretEnv, "secretFile": o.SecretFile,
			"scopes": o.Scopes, "audience": o.Audience, "resource": o.Resource,
		}
	}
	if c.Discovery != nil {
		out["discovery"] = renderCredential(c.Discovery)
	}
	return out
}
