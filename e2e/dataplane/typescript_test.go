package dataplane_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestTypeScriptBetweenTheEras: clients and servers of the TypeScript SDKs, each of which speaks one era, have of each other all that both revisions have, and
// see it as their own one has it.
func TestTypeScriptBetweenTheEras(t *testing.T) {
	t.Parallel()
	var servers []config.ServerSpec
	for name, revision := range map[string]string{"old": legacyRevision, "new": modernRevision} {
		servers = append(servers, spec(name, testbed.TypeScriptServer(t, "testdata/typescript/server-"+revision+".mjs", name).URL))
	}
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		// Few items to a page, so that clients have to follow the pages.
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: servers, Flags: []string{"--page-size", "5"}})
		for _, revision := range []string{legacyRevision, modernRevision} {
			for _, server := range []string{"old", "new"} {
				t.Run("client of "+revision+", "+server+" server", func(t *testing.T) {
					key := string(mode) + "-" + revision
					saw := map[string]string{}
					for _, line := range testbed.TypeScriptClient(t, "testdata/typescript/client.mjs", revision, g.Endpoint, server, key) {
						var step struct {
							Step string
							Saw  json.RawMessage
						}
						require.NoError(t, json.Unmarshal([]byte(line), &step), line)
						saw[step.Step] = string(step.Saw)
					}
					steps := typeScriptSteps(revision, server)
					assert.Equal(t, slices.Sorted(maps.Keys(steps)), slices.Sorted(maps.Keys(saw)))
					values := strings.NewReplacer("SERVER", server, "KEY", key, "REVISION", revision)
					for step, want := range steps {
						assert.JSONEq(t, values.Replace(want), saw[step], step)
					}
				})
			}
		}
	})
}

// typeScriptSteps are what a client goes through, by name, with what it must see. What is asked for in two ways is there twice.
func typeScriptSteps(revision, server string) map[string]string {
	twice := func(one string) string { return "[" + one + "," + one + "]" }
	tools := "cancelled count fail grow log_aside page sum sure survey survey_aside wait write"
	if server == "new" {
		tools = "cancelled count fail grow page region sum sure survey wait words write"
	}
	prefixed, _ := json.Marshal(strings.Fields("SERVER_" + strings.ReplaceAll(tools, " ", " SERVER_"))) // strings can always be written
	survey := twice(`{"said":"eve says \"of the model\", roots file:///home","asked":["elicitation/create","sampling/createMessage","roots/list"]}`)
	note := `{"uri":"SERVER://notes/KEY","mimeType":"text/plain","text":"new"}`
	steps := map[string]string{
		"connect":   `{"revision":"REVISION"}`,
		"tools":     string(prefixed),
		"prompts":   `["SERVER_greet","SERVER_greet_me"]`,
		"resources": `["SERVER://mine","SERVER://readme"]`,
		"templates": `["SERVER://notes/{note}"]`,

		"structured":   twice(`{"sum":42}`),
		"error result": twice(`{"isError":true,"content":[{"type":"text","text":"this tool fails"}]}`),
		"progress and log": twice(`{"progress":[{"progress":1,"total":3},{"progress":2,"total":3},{"progress":3,"total":3}],` +
			`"logged":[{"level":"info","logger":"SERVER","data":"begun"}],"said":"counted"}`),
		"progress of three calls at once": `[[1],[1,2],[1,2,3]]`,

		"asked in a call":      survey,
		"asked and declined":   twice(`{"said":"decline","asked":["elicitation/create"]}`),
		"asked to open a page": twice(`{"said":"accept","asked":["elicitation/create"]}`),
		"asked in a prompt":    twice(`{"said":[{"role":"user","content":{"type":"text","text":"Hello, eve"}}],"asked":["elicitation/create"]}`),
		"asked in a resource":  twice(`{"said":[{"uri":"SERVER://mine","mimeType":"text/plain","text":"eve's"}],"asked":["elicitation/create"]}`),

		"prompt":              twice(`[{"role":"user","content":{"type":"text","text":"Hello, ada"}}]`),
		"complete a prompt":   `["ada","alan"]`,
		"complete a template": `["green","grey"]`,
		"resource":            twice(`[{"uri":"SERVER://readme","mimeType":"text/plain","text":"read me"}]`),
		"no resource":         `{"code":-32602,"data":{"uri":"SERVER://notes/KEY"}}`,

		"cancel":           `["given up","cancelled"]`,
		"watch":            `{"toolsListChanged":true,"resourceSubscriptions":["SERVER://notes/KEY"]}`,
		"resource changed": `[` + note + `]`,
		"tools changed":    `"I am grown_KEY"`,
		"close":            `null`,
	}
	if revision == legacyRevision {
		steps["no resource"] = `{"code":-32002,"data":{"uri":"SERVER://notes/KEY"}}`
		steps["watch"] = `{}`
	}
	switch {
	case server == "new" && revision == legacyRevision:
		steps["structured otherwise"] = twice(`{"content":[{"type":"text","text":"two words"}]}`)
	case server == "new":
		steps["structured otherwise"] = twice(`{"schema":"array","content":[{"type":"text","text":"two words"}],"structuredContent":["two","words"]}`)
	case revision == legacyRevision:
		steps["log beside a call"] = `["aside"]`
	}
	if server == "new" {
		steps["argument in a header"] = twice(`"Zürich is =?base64?WsO8cmljaA==?="`)
	} else {
		steps["asked beside a call"] = survey
	}
	return steps
}
