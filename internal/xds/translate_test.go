package xds_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenOptions are valid and the same on every machine.
func goldenOptions() xds.Options {
	return xds.Options{
		Listen: "127.0.0.1:8888",
		Router: "127.0.0.1:50051",
		Broker: "127.0.0.1:8080",
		XDS:    "127.0.0.1:18000",
		Admin:  "127.0.0.1:9901",
	}
}

// goldenInput is a *.in.yaml file.
type goldenInput struct {
	// Options lie over those of goldenOptions.
	Options struct {
		Listen, Router, Broker, XDS, Admin, Module string
		NodeID                                     string   `yaml:"nodeID"`
		AllowedOrigins                             []string `yaml:"allowedOrigins"`
		UseRemoteAddress                           bool     `yaml:"useRemoteAddress"`
		BufferLimit                                uint32   `yaml:"bufferLimit"`
		AccessLog                                  string   `yaml:"accessLog"`
		AuditLog                                   string   `yaml:"auditLog"`
		ReportCalls                                bool     `yaml:"reportCalls"`
		HeadersFirst                               bool     `yaml:"headersFirst"`
		SystemCA                                   string   `yaml:"systemCA"`
		Policies                                   string
		Values                                     *struct {
			File             string
			JWKS             string `yaml:"jwks"`
			ResourceMetadata string `yaml:"resourceMetadata"`
			Scopes           []string
		}
	}
	Clusters []struct {
		Name              string
		URL               string `yaml:"url"`
		ToolPrefix        string `yaml:"toolPrefix"`
		MaxCalls          uint32 `yaml:"maxCalls"`
		MaxConnections    uint32 `yaml:"maxConnections"`
		MaxBytesPerSecond uint32 `yaml:"maxBytesPerSecond"`
		Headers           map[string]string
		Credential        *struct{ Header, Prefix, Value, Env, File string }
		TLS               *struct {
			ServerName string `yaml:"serverName"`
			CAFile     string `yaml:"caFile"`
		} `yaml:"tls"`
	}
	// Show are the parts of the translation that the golden file shows; none means all.
	Show []string
	// Env is what the static file needs in Envoy's environment.
	Env []string
}

func readGolden(t *testing.T, path string) (goldenInput, xds.Options, []xds.Cluster) {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var in goldenInput
	dec := yaml.NewDecoder(bytes.NewReader(file))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&in))
	o := goldenOptions()
	for target, value := range map[*string]string{
		&o.Listen: in.Options.Listen, &o.Router: in.Options.Router, &o.Broker: in.Options.Broker, &o.XDS: in.Options.XDS,
		&o.Admin: in.Options.Admin, &o.Module: in.Options.Module, &o.NodeID: in.Options.NodeID, &o.AccessLog: in.Options.AccessLog, &o.AuditLog: in.Options.AuditLog, &o.SystemCA: in.Options.SystemCA,
	} {
		if value != "" {
			*target = value
		}
	}
	o.ReportCalls, o.HeadersFirst = in.Options.ReportCalls, in.Options.HeadersFirst
	o.AllowedOrigins, o.UseRemoteAddress, o.BufferLimit = in.Options.AllowedOrigins, in.Options.UseRemoteAddress, in.Options.BufferLimit
	if in.Options.Policies != "" {
		o.Policies = parsePolicies(t, in.Options.Policies)
	}
	if v := in.Options.Values; v != nil {
		set, err := policy.Parse("values", []byte(v.File))
		require.NoError(t, err)
		o.Values = &xds.PolicyValues{Set: set, JWKS: []byte(v.JWKS), ResourceMetadata: v.ResourceMetadata, Scopes: v.Scopes}
	}
	return in, o, in.clusters(t)
}

func (in goldenInput) clusters(t *testing.T) []xds.Cluster {
	t.Helper()
	var out []xds.Cluster
	for _, c := range in.Clusters {
		cluster := clusterAt(t, c.Name, c.URL)
		s := &cluster.Server
		s.ToolPrefix, s.MaxCalls, s.MaxConnections, s.MaxBytesPerSecond = c.ToolPrefix, c.MaxCalls, c.MaxConnections, c.MaxBytesPerSecond
		for name, value := range c.Headers {
			s.Headers = append(s.Headers, config.Header{Name: name, Value: value})
		}
		if c.Credential != nil {
			s.Credential = &config.Credential{
				Header: c.Credential.Header, Prefix: c.Credential.Prefix, Value: config.NewSecret(c.Credential.Value),
				Env: c.Credential.Env, File: c.Credential.File,
			}
		}
		if c.TLS != nil {
			s.TLS = &config.TLS{ServerName: c.TLS.ServerName, CAFile: c.TLS.CAFile}
			if c.TLS.CAFile != "" {
				ca, err := os.ReadFile(c.TLS.CAFile)
				require.NoError(t, err)
				s.TLS.CA = ca
			}
		}
		out = append(out, cluster)
	}
	return out
}

// golden compares with a file, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "write it with -update")
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("differs from %s; if that is right, run the test with -update (-want +got):\n%s", path, diff)
	}
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, path := range inputs {
		base := strings.TrimSuffix(path, ".in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			in, o, cs := readGolden(t, path)
			resources, err := xds.Translate(o, cs)
			require.NoError(t, err)
			golden(t, base+".translate.out.yaml", show(t, resources, in.Show))
			boot, err := xds.Bootstrap(o)
			require.NoError(t, err)
			golden(t, base+".bootstrap.out.yaml", boot)
			static, err := xds.Static(o, cs)
			require.NoError(t, err)
			golden(t, base+".static.out.yaml", static)
			for _, c := range cs {
				if cred := c.Server.Credential; cred != nil {
					assert.NotContains(t, string(static), cred.Value.Reveal())
				}
			}
		})
	}
}

// Every rendered file is one that a real Envoy takes without a warning.
func TestGoldenFilesAreValid(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	for _, path := range inputs {
		base := strings.TrimSuffix(path, ".in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			in, o, _ := readGolden(t, path)
			for _, kind := range []string{".static.out.yaml", ".bootstrap.out.yaml"} {
				if o.Module != "" && kind == ".static.out.yaml" {
					continue // it loads the router module: the tests of the standalone mode have one
				}
				file, err := os.ReadFile(base + kind)
				require.NoError(t, err)
				validateWithEnvoy(t, file, in.Env...)
			}
		})
	}
}

// show renders the resources that Envoys are fed, in full: what is packed is unpacked.
func show(t *testing.T, r *xds.Resources, parts []string) []byte {
	t.Helper()
	var out yaml.Node
	out.Kind = yaml.MappingNode
	add := func(part string, messages []proto.Message) {
		if len(messages) == 0 || len(parts) > 0 && !strings.Contains(" "+strings.Join(parts, " ")+" ", " "+part+" ") {
			return
		}
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, m := range messages {
			text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
			require.NoError(t, err)
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal(text, &doc))
			list.Content = append(list.Content, doc.Content[0])
		}
		out.Content = append(out.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: part}, list)
	}
	add("clusters", protos(r.Clusters))
	add("secrets", protos(r.Secrets))
	add("filters", protos(r.Filters))
	add("listeners", protos(r.Listeners))
	add("routes", protos(r.Routes))
	unstyle(&out)
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	require.NoError(t, enc.Encode(&out))
	return buf.Bytes()
}

func protos[M proto.Message](messages []M) []proto.Message {
	var out []proto.Message
	for _, m := range messages {
		out = append(out, m)
	}
	return out
}

func unstyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		unstyle(child)
	}
}

func TestTranslateIsPure(t *testing.T) {
	_, o, cs := readGolden(t, "testdata/servers.in.yaml")
	first, err := xds.Translate(o, cs)
	require.NoError(t, err)
	for range 20 {
		rand.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
		again, err := xds.Translate(o, cs)
		require.NoError(t, err)
		require.Len(t, again.Clusters, len(first.Clusters))
		for i := range first.Clusters {
			require.Equal(t, encode(t, first.Clusters[i]), encode(t, again.Clusters[i]), "byte by byte")
		}
		require.Equal(t, encode(t, first.Listeners[0]), encode(t, again.Listeners[0]))
	}
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	return out
}

func TestTranslateReportsEveryProblem(t *testing.T) {
	server := func(name, at string) xds.Cluster { return clusterAt(t, name, at) }
	secure := server("s", "https://10.0.0.1:443")
	bare := server("bare", "http://10.0.0.1:80")
	bare.Server.Credential = &config.Credential{Header: "authorization", Value: config.NewSecret("hush")}
	oddHeader := server("odd", "http://10.0.0.1:80")
	oddHeader.Server.Headers = []config.Header{{Name: "a b\n", Value: "c"}}

	tests := map[string]struct {
		options  func(*xds.Options)
		clusters []xds.Cluster
		static   bool
		want     []string
	}{
		"addresses": {
			options: func(o *xds.Options) {
				o.Listen, o.Router, o.Broker, o.Admin, o.XDS = "localhost:80", "nowhere", "host:0", "10.0.0.1:9901", "unix:relative"
			},
			want: []string{
				`listen address "localhost:80": Envoy listens on an IP address`, `router address "nowhere": want "host:port"`,
				`broker address "host:0": the port`, `admin address "10.0.0.1:9901": must be a Unix socket or a loopback address`,
				`xds address "unix:relative": a Unix socket needs an absolute path`,
			},
		},
		"a socket to listen on": {
			options: func(o *xds.Options) { o.Listen = "unix:/run/x" },
			want:    []string{`listen address "unix:/run/x": want "address:port"`},
		},
		"origins": {
			options: func(o *xds.Options) { o.AllowedOrigins = []string{"*", "https://a.example.com/", "HTTPS://B", "null"} },
			want:    []string{`allowed origin "*"`, `allowed origin "https://a.example.com/"`, `allowed origin "HTTPS://B"`, `allowed origin "null"`},
		},
		"names": {
			clusters: []xds.Cluster{server("twice", "http://10.0.0.1:80"), server("twice", "http://10.0.0.2:80"), server("mcp_broker", "http://10.0.0.1:80"), server("", "http://10.0.0.1:80"), server("a b", "http://10.0.0.1:80")},
			want:     []string{`cluster name "twice": is taken`, `cluster name "mcp_broker": is taken`, `cluster name "": must be printable`, `cluster name "a b": must be printable`},
		},
		"no roots": {
			clusters: []xds.Cluster{secure},
			want:     []string{`server "s": https without a CA of its own needs the machine's trusted roots`},
		},
		"a credential from nowhere": {
			clusters: []xds.Cluster{bare},
			static:   true,
			want:     []string{`server "bare": its credential comes from neither an environment variable nor a file`},
		},
		"what Envoy would refuse": {
			clusters: []xds.Cluster{oddHeader},
			want:     []string{`cluster "odd"`, "HeaderMutation"},
		},
		"a policy that takes a server's name": {
			options: func(o *xds.Options) {
				o.Policies = parsePolicies(t, `clusters: [{name: weather, connect_timeout: 1s}]`)
			},
			clusters: []xds.Cluster{server("weather", "http://10.0.0.1:80")},
			want:     []string{`policies: cluster name "weather": is taken`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := goldenOptions()
			if tt.options != nil {
				tt.options(&o)
			}
			var err error
			if tt.static {
				_, err = xds.Static(o, tt.clusters)
			} else {
				_, err = xds.Translate(o, tt.clusters)
			}
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hush")
		})
	}
}

func TestBootstrapNeedsAConfigurationServer(t *testing.T) {
	o := goldenOptions()
	o.XDS = ""
	_, err := xds.Bootstrap(o)
	require.ErrorContains(t, err, "xds address: is missing")
	_, err = xds.Static(o, nil)
	require.NoError(t, err, "a static file needs none")
	o.Admin = ""
	file, err := xds.Static(o, nil)
	require.NoError(t, err)
	require.NotContains(t, string(file), "admin")
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	require.NoError(t, err)
	return a
}
