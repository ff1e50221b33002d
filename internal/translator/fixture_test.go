package translator_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/guicassolato/mcp-gateway/api/v1alpha1"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/translator"
)

// settings are what a case says beside its objects, in a document of the kind Settings.
type settings struct {
	Gateway       string   `json:"gateway,omitempty"`
	Watched       []string `json:"watched,omitempty"`
	ClusterDomain string   `json:"clusterDomain,omitempty"`
	Written       string   `json:"written,omitempty"`
	Broker        string   `json:"broker,omitempty"`
	EndpointHosts []string `json:"endpointHosts,omitempty"`
	CallerTokens  []string `json:"callerTokens,omitempty"`
	// Copies makes so many MCPServers of each one, with a number behind the name, for cases that are large.
	Copies int `json:"copies,omitempty"`
}

// now is later than any time in a case.
func now() metav1.Time { return metav1.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC) }

func newInput() translator.Input {
	return translator.Input{Gateway: types.NamespacedName{Namespace: "gateways", Name: "mcp"}, Now: now()}
}

// read makes an input of a multi-document YAML file. It is strict, so that a slip in a case does not pass for a case.
func read(t *testing.T, data []byte) translator.Input {
	t.Helper()
	in, s := newInput(), settings{}
	reader := kyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		var meta metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal(document, &meta))
		add(t, &in, &s, meta.Kind, document)
	}
	if namespace, name, ok := strings.Cut(s.Gateway, "/"); ok {
		in.Gateway = types.NamespacedName{Namespace: namespace, Name: name}
	}
	if namespace, name, ok := strings.Cut(s.Broker, "/"); ok {
		in.Broker = types.NamespacedName{Namespace: namespace, Name: name}
	}
	in.Watched, in.ClusterDomain, in.Written = s.Watched, s.ClusterDomain, []byte(s.Written)
	in.EndpointHosts, in.CallerTokens = s.EndpointHosts, s.CallerTokens
	for _, server := range in.MCPServers {
		for i := range s.Copies {
			c := server.DeepCopy()
			c.Name += fmt.Sprintf("-%04d", i)
			in.MCPServers = append(in.MCPServers, c)
		}
	}
	return in
}

func add(t *testing.T, in *translator.Input, s *settings, kind string, document []byte) {
	t.Helper()
	switch kind {
	case "": // a document of comments
	case "Settings":
		document = bytes.Replace(document, []byte("kind: Settings\n"), nil, 1)
		require.NoError(t, yaml.UnmarshalStrict(document, s))
	case "MCPServer":
		in.MCPServers = append(in.MCPServers, decode[v1alpha1.MCPServer](t, document))
	case "MCPVirtualServer":
		in.MCPVirtualServers = append(in.MCPVirtualServers, decode[v1alpha1.MCPVirtualServer](t, document))
	case "HTTPRoute":
		in.HTTPRoutes = append(in.HTTPRoutes, decode[gatewayv1.HTTPRoute](t, document))
	case "Gateway":
		in.Gateways = append(in.Gateways, decode[gatewayv1.Gateway](t, document))
	case "ReferenceGrant":
		in.ReferenceGrants = append(in.ReferenceGrants, decode[gatewayv1beta1.ReferenceGrant](t, document))
	case "Service":
		in.Services = append(in.Services, decode[corev1.Service](t, document))
	case "Secret":
		in.Secrets = append(in.Secrets, secret(decode[corev1.Secret](t, document)))
	case "ConfigMap":
		in.ConfigMaps = append(in.ConfigMaps, decode[corev1.ConfigMap](t, document))
	case "Namespace":
		in.Namespaces = append(in.Namespaces, decode[corev1.Namespace](t, document))
	case "ServiceEntry":
		var content map[string]any
		require.NoError(t, yaml.Unmarshal(document, &content))
		entry, err := translator.ServiceEntryFrom(content)
		require.NoError(t, err)
		in.ServiceEntries = append(in.ServiceEntries, entry)
	default:
		t.Fatalf("unknown kind %q", kind)
	}
}

func decode[T any](t *testing.T, document []byte) *T {
	t.Helper()
	var object T
	require.NoError(t, yaml.UnmarshalStrict(document, &object), "%s", document)
	return &object
}

// secret does what the API server does to stringData.
func secret(s *corev1.Secret) *corev1.Secret {
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
	return s
}

// beside is the file system of the gateway as the output would have it.
type beside struct{ out translator.Output }

func (beside) LookupEnv(string) (string, bool) { return "", false }

func (b beside) ReadFile(path string) ([]byte, error) {
	switch folder, key, _ := strings.Cut(strings.TrimPrefix(path, "/config/"), "/"); folder {
	case translator.CredentialFolder:
		if value, ok := b.out.Credentials[key]; ok {
			return []byte(value.Reveal()), nil
		}
	case translator.CertificateFolder:
		if value, ok := b.out.Certificates[key]; ok {
			return value, nil
		}
	}
	return nil, fs.ErrNotExist
}

// requireReadable proves that the file mode takes the configuration with the files beside it, and finds in it what the output says of it.
func requireReadable(t *testing.T, out translator.Output) {
	t.Helper()
	parsed, err := config.Parse("/config/config.yaml", out.Config, beside{out})
	require.NoError(t, err)
	require.Len(t, parsed.Servers, len(out.Servers))
	used := map[string]bool{}
	for i, server := range parsed.Servers {
		told := out.Servers[i]
		require.Equal(t, told.Name, server.Name)
		require.Equal(t, told.Enabled, server.Enabled)
		require.Equal(t, told.TLS != nil, server.TLS != nil)
		if server.TLS != nil {
			require.Equal(t, server.TLS.ServerName, told.TLS.ServerName)
		}
		if told.Hostname != "" {
			require.Equal(t, told.Hostname, server.Hostname)
		}
		if server.Credential != nil && server.Enabled {
			for _, file := range credentialFiles(server.Credential) {
				used[file] = true
			}
		}
		if server.TLS != nil && server.TLS.CAFile != "" && server.Enabled {
			used[server.TLS.CAFile] = true
		}
	}
	require.Len(t, used, len(out.Credentials)+len(out.Certificates), "there is a file that no server needs")
	require.Len(t, parsed.VirtualServers, len(out.VirtualServers))
	for i, virtual := range parsed.VirtualServers {
		require.Equal(t, out.VirtualServers[i].Name, virtual.Name)
		require.Equal(t, out.VirtualServers[i].Path, "/mcp/"+virtual.Segment())
	}
}

func credentialFiles(c *config.Credential) []string {
	var files []string
	if c.File != "" {
		files = append(files, c.File)
	}
	if c.Client != nil {
		files = append(files, c.Client.SecretFile)
	}
	if c.Discovery != nil {
		files = append(files, c.Discovery.File)
	}
	return files
}

// apply does what the controller does with statuses, so that the next translation sees them.
func apply(in *translator.Input, out translator.Output) {
	servers := map[types.NamespacedName]translator.ServerStatus{}
	for _, s := range out.ServerStatuses {
		servers[s.Key] = s
	}
	for i, object := range in.MCPServers {
		if s, ok := servers[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}]; ok && !s.Release {
			object = object.DeepCopy()
			object.Status.Conditions, object.Status.Endpoint = s.Conditions, s.Endpoint
			in.MCPServers[i] = object
		}
	}
	virtual := map[types.NamespacedName]translator.VirtualServerStatus{}
	for _, s := range out.VirtualServerStatuses {
		virtual[s.Key] = s
	}
	for i, object := range in.MCPVirtualServers {
		if s, ok := virtual[types.NamespacedName{Namespace: object.Namespace, Name: object.Name}]; ok && !s.Release {
			object = object.DeepCopy()
			object.Status.Conditions, object.Status.Path = s.Conditions, s.Path
			in.MCPVirtualServers[i] = object
		}
	}
}

func digest(data string) string {
	sum := sha256.Sum256([]byte(data))
	return fmt.Sprintf("%d bytes, sha256 %s", len(data), hex.EncodeToString(sum[:4]))
}
