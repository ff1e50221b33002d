package guides_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

// sheet is one block on a desk.
type sheet struct {
	*desk

	block    guidetest.Block
	commands []string // without those that the plan excepts
	script   string   // likewise
}

// cases are how blocks are run, by the names in docs/blocks.yaml.
func cases() map[string]func(*sheet, *testing.T) {
	return map[string]func(*sheet, *testing.T){
		"make run":           (*sheet).makeRun,
		"first call":         (*sheet).firstCall,
		"refused call":       (*sheet).refusedCall,
		"static Envoy":       (*sheet).staticEnvoy,
		"serve":              (*sheet).serves,
		"status":             (*sheet).status,
		"fed by xDS":         (*sheet).fed,
		"more flags":         (*sheet).moreFlags,
		"audit log":          (*sheet).auditLog,
		"apply":              (*sheet).apply,
		"signing key":        (*sheet).signingKey,
		"rate limit service": (*sheet).rateLimitService,
		"console":            (*sheet).console,
		"replica":            (*sheet).replica,
		"module":             (*sheet).module,
	}
}

// TestBlocks runs every block that docs/blocks.yaml says to run.
func TestBlocks(t *testing.T) {
	d := newDesk(t)
	unused := cases()
	for _, plan := range guidetest.Plans(t, filepath.Join(root, "docs", "blocks.yaml")) {
		if plan.Run == "" {
			continue
		}
		delete(unused, plan.Run)
		for _, block := range guidetest.Blocks(plan.Page, d.pages[plan.Page]) {
			if block.IsCommands() && plan.Of(block) {
				t.Run(fmt.Sprintf("%s:%d", block.Page, block.Line), func(t *testing.T) { perform(t, d, &plan, block) })
			}
		}
	}
	assert.Empty(t, slices.Collect(maps.Keys(unused)), "no block is run by these cases")
}

func perform(t *testing.T, d *desk, plan *guidetest.Plan, block guidetest.Block) {
	run := cases()[plan.Run]
	require.NotNil(t, run, "docs/blocks.yaml: there is no case %q", plan.Run)
	s := &sheet{desk: d, block: block, script: block.Text}
	left := map[string]bool{}
	for _, command := range block.Commands() {
		if plan.Excepts(command) {
			left[command] = true
			s.script = strings.Replace(s.script, command+"\n", "", 1)
			continue
		}
		s.commands = append(s.commands, command)
	}
	require.Len(t, left, len(plan.Except), "docs/blocks.yaml: what is to be left out is not there")
	run(s, t)
}

// write has the files there that the page has, with what is given in place of other words.
func (s *sheet) write(t *testing.T, in ...string) {
	t.Helper()
	for name, text := range s.files(t, s.block.Page) {
		s.file(t, name, strings.NewReplacer(in...).Replace(text))
	}
}

// makeRun runs each command by itself: a gateway that serves until Ctrl-C.
func (s *sheet) makeRun(t *testing.T) {
	s.write(t)
	for _, command := range s.commands {
		p := s.serve(t, command)
		p.Said(t, stops)
		url := regexp.MustCompile(`is ready: (http\S+)`).FindStringSubmatch(p.Output())
		require.NotNil(t, url, p.Output())
		c := testbed.Connect(t, url[1])
		if strings.Contains(command, "CONFIG=") {
			assert.Contains(t, p.Output(), "tickets", "the server of the file")
		} else {
			assert.Contains(t, c.Call(t, "weather_get_forecast", `{"city":"Rome"}`).Text(t), "Rome")
		}
		if router := regexp.MustCompile(`ROUTER=(\w+)`).FindStringSubmatch(command); router != nil {
			assert.Contains(t, strings.ReplaceAll(p.Output(), "ext_proc", "extproc"), "router: "+router[1])
		}
		interrupt(t, p)
	}
}

func (s *sheet) firstCall(t *testing.T) {
	s.gateway(t, "")
	out := s.run(t, s.script)
	assert.Contains(t, out, `"weather_get_forecast"`)
	assert.Contains(t, out, "Lisbon")
}

// refusedCall is made without a token, at a gateway that wants one.
func (s *sheet) refusedCall(t *testing.T) {
	issuer := testbed.NewIssuer(t)
	s.write(t, "https://login.example.com/realms/people", issuer.URL)
	s.gateway(t, "--example-servers bin/example-server --policies policies.yaml")
	out := s.run(t, s.script)
	assert.Contains(t, out, "401 Unauthorized")
	assert.Regexp(t, `(?i)www-authenticate: Bearer resource_metadata="http://127.0.0.1:8888/.well-known/oauth-protected-resource/mcp"`, out)
}

// staticEnvoy runs Envoy by a file that nobody feeds.
func (s *sheet) staticEnvoy(t *testing.T) {
	s.write(t)
	t.Cleanup(func() { _ = os.Remove(filepath.Join(s.dir, "envoy.yaml")) })
	p := s.serve(t, s.script)
	testbed.Await(t, "Envoy to serve", func() bool { return s.answers(t) })
	envoy, err := os.ReadFile(filepath.Join(s.dir, "envoy.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(envoy), "tickets.example.com")
	assert.NotContains(t, string(envoy), "4711", "credentials are not in it")
	interrupt(t, p)
}

// answers tells whether the endpoint opens a session.
func (s *sheet) answers(t *testing.T) bool {
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(hello))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK && response.Header.Get("Mcp-Session-Id") != ""
}

// serves checks what is to be checked before, and then serves until Ctrl-C. The issuer of the example is one of this machine.
func (s *sheet) serves(t *testing.T) {
	issuer := testbed.NewIssuer(t)
	places := []string{
		"https://login.example.com/realms/people", issuer.URL, "https://login.example.com/realms/mcp", issuer.URL, "https://keycloak.example.com/realms/mcp", issuer.URL,
	}
	s.write(t, places...)
	p := s.serve(t, strings.NewReplacer(places...).Replace(s.script))
	p.Said(t, stops)
	if strings.Contains(s.script, "acl check") {
		assert.Contains(t, p.Output(), "policies.yaml: is valid")
	}
	interrupt(t, p)
}

func (s *sheet) status(t *testing.T) {
	s.gateway(t, "")
	out := s.run(t, s.script)
	assert.Contains(t, out, "is ready: "+endpoint)
	assert.Regexp(t, `(?m)^weather +ready`, out)
}
