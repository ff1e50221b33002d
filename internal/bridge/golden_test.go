package bridge_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

var update = flag.Bool("update", false, "write the translations anew")

// TestGolden translates each NAME.WAY of testdata/*.txtar and compares with NAME.out. The ways are below.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			require.NotEmpty(t, bytes.TrimSpace(archive.Comment), "it must open with why it exists")
			out := &txtar.Archive{Comment: archive.Comment}
			want := map[string]string{}
			for _, f := range archive.Files {
				if name, ok := strings.CutSuffix(f.Name, ".out"); ok {
					want[name] = string(f.Data)
				}
			}
			for _, f := range archive.Files {
				name, way, _ := strings.Cut(f.Name, ".")
				if way == "out" {
					continue
				}
				t.Run(name, func(t *testing.T) {
					got := translate(t, way, bytes.TrimSuffix(f.Data, []byte("\n"))) + "\n"
					out.Files = append(out.Files, f, txtar.File{Name: name + ".out", Data: []byte(got)})
					if diff := cmp.Diff(want[name], got); diff != "" && !*update {
						t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
					}
				})
				delete(want, name)
			}
			assert.Empty(t, want, "translations of nothing")
			if *update {
				require.NoError(t, os.WriteFile(path, txtar.Format(out), 0o644))
			}
		})
	}
}

var legacyClient = bridge.ReadInitialize(json.RawMessage(`{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{},"url":{}},"x":1.10},"clientInfo":{"name":"old","version":"1"}}`))

func translate(t *testing.T, way string, body []byte) string {
	t.Helper()
	m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	require.Nil(t, fault, "%s", body)
	way, method, _ := strings.Cut(way, ".")
	method = strings.ReplaceAll(method, ".", "/")
	answer := bridge.Answer{ID: []byte("9007199254740993"), Method: method, ServerInfo: json.RawMessage(`{"name":"s","version":"1.10"}`)}
	var (
		out []byte
		err error
	)
	switch way {
	case "request-to-legacy":
		out, err = bridge.ToLegacy(&m, []byte(`"gw-1"`), []byte(`"gw-t"`))
	case "request-to-modern":
		c := legacyClient
		c.LogLevel = "info"
		out, err = bridge.ToModern(&m, c, bridge.Retry{})
	case "retry-to-modern":
		out, err = bridge.ToModern(&m, legacyClient, bridge.Retry{ID: []byte(`"gw-2"`), Responses: []byte(`{"k":{"action":"accept"}}`), State: []byte(`"s\u0074"`)})
	case "response-to-modern":
		out, err = answer.ToModern(&m)
	case "response-to-legacy":
		out, err = answer.ToLegacy(&m)
	case "url-elicitation":
		if asks := bridge.URLElicitations(&m); asks != nil {
			out = bridge.AppendInputRequired(nil, answer.ID, asks, "state", answer.ServerInfo)
		}
	case "input":
		var r bridge.Required
		r, _, err = bridge.ReadRequired(&m)
		for i, ask := range r.Asks {
			request, err := ask.Request([]byte{'"', 'a' + byte(i), '"'}, "e-1")
			require.NoError(t, err)
			out = append(append(append(out, ask.Key...), ": "...), append(request, '\n')...)
		}
		out = append(append(out, "state: "...), r.State...)
	default:
		require.Fail(t, "no such way", way)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return string(out)
}
