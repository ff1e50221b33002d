package docs_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

// commandBlocks are all blocks that are for a shell.
func commandBlocks(t *testing.T) []guidetest.Block {
	t.Helper()
	all := pages(t)
	var out []guidetest.Block
	for _, path := range slices.Sorted(maps.Keys(all)) {
		for _, block := range guidetest.Blocks(path, all[path]) {
			if block.IsCommands() {
				out = append(out, block)
			}
		}
	}
	require.Greater(t, len(out), 60)
	return out
}

// TestEveryBlockHasItsPlan: each block of commands is run by a test, or docs/blocks.yaml says why it cannot be.
func TestEveryBlockHasItsPlan(t *testing.T) {
	plans := guidetest.Plans(t, "blocks.yaml")
	used := map[int]bool{}
	for _, block := range commandBlocks(t) {
		assert.NotEmpty(t, block.Language, "%s:%d: say what the block is: sh or console for commands, text for what is none", block.Page, block.Line)
		var found []int
		for i := range plans {
			if plans[i].Of(block) {
				found = append(found, i)
				used[i] = true
			}
		}
		assert.Len(t, found, 1, "%s:%d: docs/blocks.yaml must have one entry for the block that begins with\n%s", block.Page, block.Line, block.Text)
	}
	for i := range plans {
		p := &plans[i]
		assert.True(t, used[i], "docs/blocks.yaml: %s has no block of commands that begins with %q", p.Page, p.Begins)
		given := slices.DeleteFunc([]string{p.Run, p.Test, p.Static}, func(s string) bool { return s == "" })
		assert.Len(t, given, 1, "docs/blocks.yaml: %s, %q: give one of run, test and static", p.Page, p.Begins)
		if p.Test != "" {
			file, name, _ := strings.Cut(p.Test, "#")
			code, err := os.ReadFile(filepath.Join("..", file))
			require.NoError(t, err)
			assert.Regexp(t, `(?m)^func (\([a-z]+ \*?[a-z]+\) )?`+regexp.QuoteMeta(name)+`\(`, string(code), "docs/blocks.yaml: there is no such test")
		}
	}
}

// TestTextHasNoCommands: what is to be typed stands in a block that is tested as such.
func TestTextHasNoCommands(t *testing.T) {
	command := regexp.MustCompile(`^(\$ |sudo |(make|curl|kubectl|helm|docker|npx|uvx|go|git|openssl|envoy|mcp-broker-router|bin/\S+|hack/\S+) )`)
	for path, page := range pages(t) {
		for _, block := range guidetest.Blocks(path, page) {
			if block.IsCommands() || block.Language == "mermaid" {
				continue
			}
			for line := range strings.Lines(block.Text) {
				assert.NotRegexp(t, command, line, "%s:%d: a command in a block of %s", path, block.Line, block.Language)
			}
		}
	}
}

// flags of a command and of the root command, by the generated reference, which has its own test.
func flags(t *testing.T, reference string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, section := range strings.Split(reference, "\n## mcp-broker-router")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		for _, f := range regexp.MustCompile("(?m)^\\| `(--[a-z-]+)").FindAllStringSubmatch(body, -1) {
			out[strings.TrimSpace(name)] = append(out[strings.TrimSpace(name)], f[1])
		}
		out[strings.TrimSpace(name)] = append(out[strings.TrimSpace(name)], "--help")
	}
	require.Greater(t, len(out), 5)
	return out
}

// joined is a command in one line, without its comment.
func joined(command string) string {
	command, _, _ = strings.Cut(strings.ReplaceAll(command, "\\\n", " "), " #")
	return command
}

// TestFlagsExist: each command line of this program has a command and flags that there are.
func TestFlagsExist(t *testing.T) {
	known := flags(t, pages(t)["docs/reference/flags.md"])
	checked := 0
	for _, block := range commandBlocks(t) {
		for _, line := range block.Commands() {
			_, command, ours := strings.Cut(joined(line), "mcp-broker-router ")
			if !ours || strings.Contains(line, "completion") || strings.Contains(line, "go test") {
				continue
			}
			command, _, _ = strings.Cut(command, "|")
			words := strings.Fields(command)
			name := ""
			for len(words) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(words[0]) && known[strings.TrimSpace(name+" "+words[0])] != nil {
				name = strings.TrimSpace(name + " " + words[0])
				words = words[1:]
			}
			for _, w := range words {
				if flag, _, _ := strings.Cut(w, "="); strings.HasPrefix(flag, "--") {
					checked++
					assert.Contains(t, known[name], flag, "%s:%d: %s", block.Page, block.Line, line)
				}
			}
		}
	}
	assert.Greater(t, checked, 50)
}

// TestTargetsExist: each make target is one, and so is each variable that make is given.
func TestTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	require.NoError(t, err)
	scripts := sources(t)
	checked := 0
	for _, block := range commandBlocks(t) {
		for _, line := range block.Commands() {
			call := regexp.MustCompile(`^((?:[A-Z_]+=\S+ )*)make\b(.*)$`).FindStringSubmatch(joined(line))
			if call == nil {
				continue
			}
			for _, word := range regexp.MustCompile(`([A-Z_]+)=('[^']*'|"[^"]*"|\S+)|[a-z][a-z0-9-]*`).FindAllStringSubmatch(call[1]+call[2], -1) {
				checked++
				if word[1] == "" {
					if !strings.Contains("\n"+string(makefile), "\n"+word[0]+":") { // the whole file would hide what is missing
						t.Errorf("%s:%d: there is no make %s", block.Page, block.Line, word[0])
					}
				} else {
					assert.True(t, strings.Contains(string(makefile), "\n"+word[1]+" ?=") || strings.Contains(scripts, word[1]), "%s:%d: make has no variable %s", block.Page, block.Line, word[1])
				}
			}
		}
	}
	assert.Greater(t, checked, 40)
}

// sources are the text of all programs and scripts.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"cmd", "internal", "hack", "e2e"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("..", folder), func(path string, _ os.DirEntry, err error) error {
			if err == nil && (strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".sh")) {
				var text []byte
				text, err = os.ReadFile(path)
				all.Write(text)
			}
			return err
		}))
	}
	return all.String()
}

// TestVariablesExist: the programs and scripts know the environment variables that blocks set.
func TestVariablesExist(t *testing.T) {
	known := sources(t)
	set := regexp.MustCompile(`\b((?:MCP_GATEWAY|GATEWAY|OAUTH|KIND|KEYCLOAK|OTEL|E2E|ENVOY)_[A-Z_]+)=`)
	checked := 0
	for _, block := range commandBlocks(t) {
		for _, name := range set.FindAllStringSubmatch(block.Text, -1) {
			if strings.HasPrefix(name[1], "ENVOY_DYNAMIC") {
				continue // Envoy's own
			}
			checked++
			if !strings.Contains(known, name[1]) {
				t.Errorf("%s:%d: nobody reads %s", block.Page, block.Line, name[1])
			}
		}
	}
	assert.Greater(t, checked, 5)
}

// TestPathsExist: files and packages of the repository that commands name are there, and so are the tests that are to be run.
func TestPathsExist(t *testing.T) {
	path := regexp.MustCompile(`(?:^|[\s'"=])((?:\./)?(?:hack|config|charts|policies|cmd|e2e|examples|internal)/[\w./-]+)`)
	test := regexp.MustCompile(`go test .*-run[ =](\w+)\b.* (\./\S+)`)
	checked := 0
	for _, block := range commandBlocks(t) {
		if strings.Contains(block.Page, "testdata") {
			continue
		}
		for _, line := range block.Commands() {
			for _, found := range path.FindAllStringSubmatch(joined(line), -1) {
				checked++
				if _, err := os.Stat(filepath.Join("..", found[1])); err != nil {
					t.Errorf("%s:%d: %v", block.Page, block.Line, err)
				}
			}
			if m := test.FindStringSubmatch(joined(line)); len(m) > 2 && m[1] != "" {
				out, err := exec.CommandContext(t.Context(), "grep", "-rn", "^func "+m[1], filepath.Join("..", m[2])).CombinedOutput()
				if err != nil {
					t.Errorf("%s:%d: there is no test %s in %s: %v %s", block.Page, block.Line, m[1], m[2], err, out)
				}
			}
		}
	}
	assert.Greater(t, checked, 20)
}

// TestChartKeysExist: what helm is told to set is a value of the chart.
func TestChartKeysExist(t *testing.T) {
	checked := 0
	for _, block := range commandBlocks(t) {
		for _, line := range block.Commands() {
			line = joined(line)
			name := regexp.MustCompile(`charts/(mcp-gateway(?:-stack)?)\b`).FindStringSubmatch(line)
			if name == nil || !strings.HasPrefix(line, "helm ") {
				continue
			}
			text, err := os.ReadFile(filepath.Join("..", "charts", name[1], "values.yaml"))
			require.NoError(t, err)
			var values map[string]any
			require.NoError(t, yaml.Unmarshal(text, &values))
			for _, set := range regexp.MustCompile(`--set[ =](\S+)`).FindAllStringSubmatch(line, -1) {
				for _, pair := range strings.Split(set[1], ",") {
					key, _, _ := strings.Cut(pair, "=")
					checked++
					assert.True(t, hasKey(values, strings.Split(key, ".")), "%s:%d: the chart has no value %s", block.Page, block.Line, key)
				}
			}
		}
	}
	assert.Greater(t, checked, 10)
}

// hasKey tells whether values have a key. A map that is empty takes any.
func hasKey(values map[string]any, key []string) bool {
	if len(values) == 0 {
		return values != nil
	}
	value, ok := values[key[0]]
	if !ok || len(key) == 1 {
		return ok
	}
	inner, ok := value.(map[string]any)
	return ok && hasKey(inner, key[1:])
}
