// Package docs_test reads the documentation as its readers do: links lead somewhere, every page can be found from the front page, and what is to be
// typed or pasted exists.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

// pages are the repository's own, by their paths from its root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	return guidetest.Pages(t, "..")
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors are what GitHub makes of a page's headings.
func anchors(page string) []string {
	var out []string
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(h[1], "$1")
		text = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
		out = append(out, strings.ReplaceAll(text, " ", "-"))
	}
	return out
}

// TestLinks: those within the repository lead to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	all := pages(t)
	for path, page := range all {
		for _, l := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			target := l[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
				_, err := os.Stat(filepath.Join("..", to))
				if err != nil {
					t.Errorf("%s links to %s: %v", path, target, err)
				}
			}
			if anchor != "" && strings.HasSuffix(to, ".md") {
				assert.Contains(t, anchors(all[to]), anchor, "%s links to %s", path, target)
			}
		}
	}
}

// TestNamedTestsExist: a test that a page names as its proof is in the file that the page links to.
func TestNamedTestsExist(t *testing.T) {
	named := regexp.MustCompile("\\[`((?:Test|Fuzz)[A-Za-z0-9]+)`\\]\\(([^)#]+)\\)")
	found := map[string]int{}
	for path, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(page, -1) {
			found[path]++
			code, err := os.ReadFile(filepath.Join("..", filepath.Dir(path), m[2]))
			require.NoError(t, err, path)
			assert.Contains(t, string(code), "\nfunc "+m[1]+"(", "%s: there is no %s in %s", path, m[1], m[2])
		}
		if path != "SECURITY.md" {
			continue // elsewhere a name may be a word of advice
		}
		bare := regexp.MustCompile("`(?:Test|Fuzz)[A-Z][A-Za-z0-9]+`").FindAllString(page, -1)
		assert.Len(t, bare, found[path], "%s: a test is named without a link to its file: %v", path, bare)
	}
	assert.Greater(t, found["SECURITY.md"], 40)
}

// TestEveryInvariantHasItsProof: the threat model goes over all of them.
func TestEveryInvariantHasItsProof(t *testing.T) {
	all := pages(t)
	_, invariants, found := strings.Cut(all["docs/design/overview.md"], "\n## Invariants\n")
	require.True(t, found)
	invariants, _, _ = strings.Cut(invariants, "\n## ")
	numbers := regexp.MustCompile(`(?m)^(\d+)\. `).FindAllStringSubmatch(invariants, -1)
	require.NotEmpty(t, numbers)
	for _, n := range numbers {
		assert.Regexp(t, "(?m)^\\| "+n[1]+"\\. .*\\[`Test", all["SECURITY.md"], "Invariant %s", n[1])
	}
}

// TestEveryPageCanBeFound: from the front page, by links.
func TestEveryPageCanBeFound(t *testing.T) {
	all := pages(t)
	found, queue := map[string]bool{}, []string{"docs/README.md"}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if found[path] || all[path] == "" {
			continue
		}
		found[path] = true
		for _, l := range link.FindAllStringSubmatch(all[path], -1) {
			file, _, _ := strings.Cut(l[1], "#")
			queue = append(queue, filepath.Join(filepath.Dir(path), file))
		}
	}
	for path := range all {
		if strings.HasPrefix(path, "docs/") {
			assert.True(t, found[path], "no way leads from docs/README.md to %s", path)
		}
	}
}

// TestImageIsTheOneThatIsTested: the guide's oauth2-proxy is of the version that the tests build.
func TestImageIsTheOneThatIsTested(t *testing.T) {
	pins, err := os.ReadFile("../hack/testservers/oauth2-proxy/go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`github.com/oauth2-proxy/oauth2-proxy/v7 (v\S+)`).FindStringSubmatch(string(pins))
	require.NotNil(t, version)
	guide, err := os.ReadFile("guides/status-page-login.md")
	require.NoError(t, err)
	assert.Contains(t, string(guide), "image: quay.io/oauth2-proxy/oauth2-proxy:"+version[1]+"\n")
}

// TestExamples: the files to copy are taken by the gateway, and the guide shows them as they are.
func TestExamples(t *testing.T) {
	guide, err := os.ReadFile("guides/real-servers.md")
	require.NoError(t, err)
	files, err := filepath.Glob("../config/examples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Empty(t, configProblems(string(file)), path)
		assert.Contains(t, string(guide), "```yaml\n"+string(file)+"```", "the guide shows another %s", path)
	}
}

// configProblems are what is wrong with a configuration but for secrets and files, which are on no machine of ours.
func configProblems(text string) []string {
	_, err := config.Parse("example", []byte(text), everything{})
	if err == nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "certificate") && !strings.Contains(line, "PEM") {
			out = append(out, line)
		}
	}
	return out
}

// everything is a world in which every variable and every file is there.
type everything struct{}

// LookupEnv implements config.Env.
func (everything) LookupEnv(string) (string, bool) { return "secret", true }

// ReadFile implements config.Env.
func (everything) ReadFile(string) ([]byte, error) { return []byte("secret"), nil }
