package xds_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// readIstio reads a *.istio-in.yaml file, whose keys are the options' names in lower case.
func readIstio(t *testing.T, path string) xds.Istio {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var o xds.Istio
	dec := yaml.NewDecoder(bytes.NewReader(file))
	dec.KnownFields(true)
	require.NoError(t, dec.Decode(&o))
	return o
}

func istioInputs(t *testing.T) []string {
	t.Helper()
	inputs, err := filepath.Glob("testdata/*.istio-in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	return inputs
}

func TestIstioGolden(t *testing.T) {
	for _, path := range istioInputs(t) {
		base := strings.TrimSuffix(path, ".istio-in.yaml")
		t.Run(filepath.Base(base), func(t *testing.T) {
			out, err := xds.EnvoyFiltersYAML(readIstio(t, path))
			require.NoError(t, err)
			golden(t, base+".istio-out.yaml", out)
		})
	}
}

// patches are those of all objects that apply to something, in order.
func patches(t *testing.T, objects []map[string]any, applyTo string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, o := range objects {
		for _, p := range o["spec"].(map[string]any)["configPatches"].([]any) {
			if p := p.(map[string]any); p["applyTo"] == applyTo {
				out = append(out, p["patch"].(map[string]any)["value"].(map[string]any))
			}
		}
	}
	return out
}

// Others share the Gateway: no filter is on in its chains, and each route of the endpoint says itself what it needs.
func TestIstioFiltersAreOffButForOurRoutes(t *testing.T) {
	objects, err := xds.EnvoyFilters(readIstio(t, "testdata/minimal.istio-in.yaml"))
	require.NoError(t, err)
	var names []string
	for _, f := range patches(t, objects, "HTTP_FILTER") {
		assert.Equal(t, true, f["disabled"], f["name"])
		names = append(names, f["name"].(string))
	}
	require.Len(t, names, 3)
	for _, r := range patches(t, objects, "HTTP_ROUTE") {
		for _, name := range names {
			assert.Contains(t, r["typed_per_filter_config"], name, r["name"])
		}
	}
}

// Invariant 3: no route takes a label's word for it, since a client could have sent it.
func TestIstioLabelsCountOnlyWithTheRoutersWord(t *testing.T) {
	objects, err := xds.EnvoyFilters(readIstio(t, "testdata/minimal.istio-in.yaml"))
	require.NoError(t, err)
	labelled := 0
	for _, r := range patches(t, objects, "HTTP_ROUTE") {
		match := r["match"].(map[string]any)
		if match["headers"] == nil {
			continue
		}
		labelled++
		text, err := json.Marshal(match["dynamic_metadata"])
		require.NoError(t, err)
		assert.Contains(t, string(text), wire.MetadataNamespace, r["name"])
		assert.Contains(t, string(text), `{"key":"`+wire.KeyServer+`"}`, r["name"])
		assert.Contains(t, r["request_headers_to_remove"], wire.HeaderCluster, r["name"])
	}
	assert.Equal(t, 3, labelled, "broker, server and watched server")
}

// The API server's library takes these types and no others.
func TestIstioObjectsArePlain(t *testing.T) {
	objects, err := xds.EnvoyFilters(readIstio(t, "testdata/full.istio-in.yaml"))
	require.NoError(t, err)
	require.Len(t, objects, 2)
	var plain func(any)
	plain = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, inner := range v {
				plain(inner)
			}
		case []any:
			for _, inner := range v {
				plain(inner)
			}
		case string, bool, int64, float64:
		default:
			t.Errorf("%#v is of the type %T", v, v)
		}
	}
	for _, o := range objects {
		plain(o)
	}
}

func TestIstioDoesNotDependOnOrder(t *testing.T) {
	o := readIstio(t, "testdata/full.istio-in.yaml")
	want, err := xds.EnvoyFiltersYAML(o)
	require.NoError(t, err)
	slices.Reverse(o.Hosts)
	slices.Reverse(o.Servers)
	o.Servers = append(o.Servers, o.Servers[0])
	got, err := xds.EnvoyFiltersYAML(o)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func TestIstioRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*xds.Istio)
		want   string
	}{
		"no gateway":       {func(o *xds.Istio) { o.Gateway = "" }, "the Gateway is missing"},
		"no namespace":     {func(o *xds.Istio) { o.Namespace = "" }, "the Gateway is missing"},
		"port in host":     {func(o *xds.Istio) { o.Hosts = []string{"mcp.example.com:80"} }, `hostname "mcp.example.com:80"`},
		"upper case":       {func(o *xds.Istio) { o.Hosts = []string{"MCP.example.com"} }, `hostname "MCP.example.com"`},
		"address":          {func(o *xds.Istio) { o.Hosts = []string{"10.0.0.1"} }, `hostname "10.0.0.1"`},
		"inner wildcard":   {func(o *xds.Istio) { o.Servers = []xds.IstioPath{{Host: "a.*.com"}} }, `hostname "a.*.com"`},
		"path without /":   {func(o *xds.Istio) { o.Servers = []xds.IstioPath{{Host: "a.com", Path: "mcp"}} }, `path "mcp" of "a.com"`},
		"no router":        {func(o *xds.Istio) { o.Router = xds.IstioService{} }, "of the router"},
		"URL as broker":    {func(o *xds.Istio) { o.Broker.Host = "http://broker" }, "of the broker"},
		"quote in scope":   {func(o *xds.Istio) { o.Scopes = []string{`a"`} }, `scope "a\""`},
		"space in URL":     {func(o *xds.Istio) { o.ResourceMetadata = "https://a /b" }, `resource metadata "https://a /b"`},
		"origin with path": {func(o *xds.Istio) { o.AllowedOrigins = []string{"https://a.com/x"} }, `origin "https://a.com/x"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := readIstio(t, "testdata/minimal.istio-in.yaml")
			tc.change(&o)
			_, err := xds.EnvoyFilters(o)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

// A way to a server that Envoy could not match as it is written is closed with all that is beside it: one bad route must not keep all others from Envoy.
func TestIstioClosesWhatItCannotMatch(t *testing.T) {
	o := readIstio(t, "testdata/minimal.istio-in.yaml")
	o.Hosts = nil
	for _, p := range []xds.IstioPath{{Path: "(", Kind: xds.PathRegex}, {Kind: xds.PathRegex}, {Path: "/a?b"}, {Path: "//"}, {Path: "/"}, {}} {
		p.Host = "a.com"
		o.Servers = []xds.IstioPath{p}
		objects, err := xds.EnvoyFilters(o)
		require.NoError(t, err)
		routes := patches(t, objects, "HTTP_ROUTE")
		require.Len(t, routes, 1)
		assert.Equal(t, map[string]any{"prefix": "/"}, routes[0]["match"], "%+v", p)
		assert.Empty(t, patches(t, objects, "HTTP_FILTER"), "there is no endpoint")
	}
}

// TestIstioClosesWhateverARouteHas: what one route has must not keep those of others from being closed.
func TestIstioClosesWhateverARouteHas(t *testing.T) {
	o := readIstio(t, "testdata/minimal.istio-in.yaml")
	o.Servers = []xds.IstioPath{{Host: "192.0.2.1"}, {Host: "weather.mcp.local", Path: "/mcp"}}
	for i := range 500 {
		o.Servers = append(o.Servers, xds.IstioPath{Host: "many.mcp.local", Path: fmt.Sprintf("/%0100d", i)})
	}
	objects, err := xds.EnvoyFilters(o)
	require.NoError(t, err)
	var closed []string
	for _, o := range objects {
		for _, p := range o["spec"].(map[string]any)["configPatches"].([]any) {
			text, err := json.Marshal(p)
			require.NoError(t, err)
			if strings.Contains(string(text), "reached through the gateway only") {
				closed = append(closed, string(text))
			}
		}
	}
	require.Len(t, closed, 3, "a host with many paths is closed as a whole")
	for i, host := range []string{"192.0.2.1", "many.mcp.local", "weather.mcp.local"} {
		assert.Contains(t, closed[i], host)
	}
	assert.Contains(t, closed[1], `"prefix":"/"`)
	o.Hosts = []string{"192.0.2.2"}
	_, err = xds.EnvoyFilters(o)
	require.ErrorContains(t, err, "want a name, not an address")
}
