package xds_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/xds"
)

func TestParsePoliciesReportsEveryProblemWithItsPlace(t *testing.T) {
	const lua = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
	tests := map[string]struct {
		file string
		want []string
	}{
		"empty":         {file: "", want: []string{"the file is empty"}},
		"a remark only": {file: "# nothing\n", want: []string{"the file is empty"}},
		"not YAML":      {file: "httpFilters: [", want: []string{"policies: yaml: "}},
		"a list":        {file: "- a\n", want: []string{"line 1: want a mapping"}},
		"two documents": {file: "httpFilters: []\n---\nhttpFilters: []\n", want: []string{"one YAML document"}},
		"unknown key":   {file: "clusters: []\nlisteners: []\n", want: []string{`line 2: unknown key "listeners"`}},
		"a key twice":   {file: "clusters: []\nclusters: []\n", want: []string{`line 2: key "clusters" stands there twice`}},
		"no list":       {file: "clusters: {}\n", want: []string{`"clusters" must be a list`}},
		"no mapping":    {file: "clusters:\n  - name\n", want: []string{"policies: clusters[0] (line 2): "}},
		"a field twice": {file: "clusters:\n  - name: a\n    name: b\n", want: []string{"clusters[0] (line 2)", `"name" already defined at line 2`}},
		"unknown fields, all of them": {
			file: "httpFilters:\n  - name: a\n    colour: red\n  - name: b\n    typed_config: {\"@type\": " + lua + ", script: x}\nclusters:\n  - title: c\n",
			want: []string{
				`httpFilters[0] (line 2): unknown field "colour"`,
				`httpFilters[1] (line 4): unknown field "script"`,
				`clusters[0] (line 7): unknown field "title"`,
			},
		},
		"unknown type":  {file: "httpFilters:\n  - name: a\n    typed_config: {\"@type\": type.googleapis.com/my.Filter}\n", want: []string{"httpFilters[0] (line 2)", `"type.googleapis.com/my.Filter"`, "not found"}},
		"no type":       {file: "httpFilters:\n  - name: a\n    typed_config: {}\n", want: []string{`httpFilters[0] (line 2): filter "a": has no typed_config with an @type`}},
		"no config":     {file: "httpFilters:\n  - name: a\n", want: []string{`filter "a": has no typed_config with an @type`}},
		"no name":       {file: "httpFilters:\n  - typed_config: {\"@type\": " + lua + "}\n", want: []string{"httpFilters[0] (line 2)", "Name"}},
		"a broken rule": {file: "clusters:\n  - name: c\n    connect_timeout: 0s\n", want: []string{"clusters[0] (line 2)", "ConnectTimeout"}},
		"a broken rule inside": {
			file: "httpFilters:\n  - name: a\n    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit}\n",
			want: []string{"httpFilters[0] (line 2)", "StatPrefix"},
		},
		"the router": {
			file: "httpFilters:\n  - name: a\n    typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n",
			want: []string{`filter "a": the router filter ends the chain`},
		},
		"names of filters that are taken": {
			file: "httpFilters:\n" +
				"  - {name: mcp-gateway-router, typed_config: {\"@type\": " + lua + "}}\n" +
				"  - {name: a, typed_config: {\"@type\": " + lua + "}}\n" +
				"  - {name: a, typed_config: {\"@type\": " + lua + "}}\n" +
				"  - {name: mcp-gateway-authentication, typed_config: {\"@type\": " + lua + "}}\n" +
				"  - {name: mcp-gateway-access, typed_config: {\"@type\": " + lua + "}}\n" +
				"  - {name: mcp-gateway-limits, typed_config: {\"@type\": " + lua + "}}\n",
			want: []string{
				`filter name "mcp-gateway-router": is taken by a filter of the gateway`, `httpFilters[2] (line 4): filter name "a": is taken by another policy`,
				`filter name "mcp-gateway-authentication": is taken`, `filter name "mcp-gateway-access": is taken`, `filter name "mcp-gateway-limits": is taken`,
			},
		},
		"names of clusters that are taken": {
			file: "clusters: [{name: mcp_xds}, {name: mcp_jwks}, {name: a}, {name: a}]",
			want: []string{`cluster name "mcp_xds": is taken by a cluster of the gateway`, `cluster name "mcp_jwks": is taken`, `cluster name "a": is taken by another policy`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := xds.ParsePolicies([]byte(tt.file))
			require.Nil(t, p)
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "proto:", "a place in a text that the user has never seen")
		})
	}
}

func TestParsePoliciesTakesNone(t *testing.T) {
	p := parsePolicies(t, "httpFilters: []\n")
	o := goldenOptions()
	without, err := xds.Static(o, nil)
	require.NoError(t, err)
	o.Policies = p
	with, err := xds.Static(o, nil)
	require.NoError(t, err)
	require.Equal(t, string(without), string(with))
}

func TestParsePoliciesFollowsAnchors(t *testing.T) {
	p := parsePolicies(t, `
clusters:
  - &first {name: a, connect_timeout: &second 2s}
  - {<<: *first, name: b, connect_timeout: *second}
`)
	o := goldenOptions()
	o.Policies = p
	r, err := xds.Translate(o, nil)
	require.NoError(t, err)
	last := r.Clusters[len(r.Clusters)-1]
	require.Equal(t, "b", last.GetName())
	require.Equal(t, int64(2), last.GetConnectTimeout().GetSeconds())
}

// What is parsed is translated, whatever was in the file.
func FuzzParsePolicies(f *testing.F) {
	examples, err := filepath.Glob("../../policies/envoy/*.yaml")
	require.NoError(f, err)
	require.Len(f, examples, 3)
	for _, path := range examples {
		file, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(file)
	}
	f.Add([]byte("clusters: [{name: a, <<: {name: b}}, &a [*a], !!binary aGk=, 1e400, .nan, 2001-01-01, {1: 2}]"))
	f.Add([]byte("httpFilters: [{name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Any, value: {}}}]"))
	f.Add([]byte("httpFilters: [{name: a, typed_config: {'@type': type.googleapis.com/google.protobuf.Struct, value: {a: [null]}}}]"))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := xds.ParsePolicies(file)
		if err != nil {
			require.Nil(t, p)
			return
		}
		o := goldenOptions()
		o.Policies = p
		_, err = xds.Static(o, nil)
		require.NoError(t, err)
	})
}
