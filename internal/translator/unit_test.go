package translator

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHostnamesInCommon(t *testing.T) {
	for _, c := range []struct {
		a, b, common string
		ok           bool
	}{
		{"", "", "", true},
		{"*", "a.example.com", "a.example.com", true},
		{"a.example.com", "A.Example.com", "a.example.com", true},
		{"*.example.com", "a.example.com", "a.example.com", true},
		{"*.example.com", "b.a.example.com", "b.a.example.com", true},
		{"*.example.com", "*.a.example.com", "*.a.example.com", true},
		{"*.example.com", "*.example.com", "*.example.com", true},
		{"*.example.com", "example.com", "", false},
		{"*.example.com", ".example.com", "", false},
		{"*.example.com", "aexample.com", "", false},
		{"a.example.com", "b.example.com", "", false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			common, ok := intersect(pair[0], pair[1])
			assert.Equal(t, c.ok, ok, "%q and %q", pair[0], pair[1])
			assert.Equal(t, c.common, common, "%q and %q", pair[0], pair[1])
		}
	}
}

func TestPathsBelowAPrefix(t *testing.T) {
	for _, c := range []struct {
		prefix, path, rest string
		ok                 bool
	}{
		{"/", "/", "/", true},
		{"/", "/a", "/a", true},
		{"/a", "/a", "", true},
		{"/a", "/a/", "/", true},
		{"/a/", "/a", "", true},
		{"/a", "/a/b", "/b", true},
		{"/a", "/ab", "", false},
		{"/a", "/", "", false},
	} {
		rest, ok := below(c.prefix, c.path)
		assert.Equal(t, c.ok, ok, "%q below %q", c.path, c.prefix)
		if ok {
			assert.Equal(t, c.rest, rest, "%q below %q", c.path, c.prefix)
		}
	}
}

func TestMessagesAreShortAndWhole(t *testing.T) {
	assert.Equal(t, "all of it", clip("all of it"))
	long := clip(strings.Repeat("é", maxMessage))
	assert.LessOrEqual(t, len(long), maxMessage)
	assert.True(t, strings.HasSuffix(long, "é…"))
	assert.Equal(t, "a\uFFFDb", clip("a\xffb"))
}

func TestServiceEntryFromUnstructured(t *testing.T) {
	entry, err := ServiceEntryFrom(map[string]any{
		"apiVersion": "networking.istio.io/v1",
		"metadata":   map[string]any{"name": "github", "namespace": "team"},
		"spec": map[string]any{
			"hosts": []any{"api.example.org"}, "location": "MESH_EXTERNAL", "resolution": "DNS", "exportTo": []any{"*"},
			"ports":     []any{map[string]any{"number": int64(443), "name": "https", "protocol": "HTTPS", "targetPort": int64(8443)}},
			"endpoints": []any{map[string]any{"address": "192.0.2.1", "ports": map[string]any{"https": int64(9443)}, "labels": map[string]any{"a": "b"}}},
		},
	})
	require.NoError(t, err)
	assert.Equal(t, "team/github", keyOf(entry).String())
	assert.Equal(t, ServiceEntrySpec{
		Hosts: []string{"api.example.org"}, Resolution: "DNS", ExportTo: []string{"*"},
		Ports:     []ServiceEntryPort{{Number: 443, Name: "https", Protocol: "HTTPS", TargetPort: 8443}},
		Endpoints: []ServiceEntryEndpoint{{Address: "192.0.2.1", Ports: map[string]int32{"https": 9443}}},
	}, entry.Spec)

	_, err = ServiceEntryFrom(map[string]any{"spec": map[string]any{"hosts": "not a list"}})
	assert.ErrorContains(t, err, "read a ServiceEntry")
}
