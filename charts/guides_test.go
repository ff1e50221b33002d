package charts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

// eachCommand goes over the commands for a program in the blocks of all pages, in words, without pipes and what a shell makes of them.
func eachCommand(t *testing.T, program string, f func(page string, words []string)) {
	t.Helper()
	found := 0
	for path, page := range guidetest.Pages(t, "..") {
		for _, block := range guidetest.Blocks(path, page) {
			if !block.IsCommands() {
				continue
			}
			for _, command := range block.Commands() {
				command, _, _ = strings.Cut(strings.ReplaceAll(command, "\\\n", " "), " #")
				_, command, ok := strings.Cut("\n"+command, "\n"+program+" ")
				if !ok {
					continue
				}
				command, _, _ = strings.Cut(command, " | ")
				command, _, _ = strings.Cut(command, " & ")
				command, _, _ = strings.Cut(command, " <<")
				found++
				f(path, strings.Fields(regexp.MustCompile(`"?\$\([^)]*\)"?`).ReplaceAllString(command, "x")))
			}
		}
	}
	assert.Greater(t, found, 10, "commands for %s", program)
}

// TestHelmOfTheGuides: helm knows the flags that pages give it, and renders what they tell to install, with the values that they show.
func TestHelmOfTheGuides(t *testing.T) {
	pages := guidetest.Pages(t, "..")
	eachCommand(t, "helm", func(page string, words []string) {
		help, message, ok := helm(t, append(subcommand(words), "--help")...)
		require.True(t, ok, message)
		assertFlags(t, help, page, words)
		if i := slices.Index(words, "charts/mcp-gateway"); i >= 0 {
			_, message, ok := helm(t, append([]string{"template", release, chart}, valuesOf(t, pages[page], words[i+1:])...)...)
			assert.True(t, ok, "%s: helm %s\n%s", page, strings.Join(words, " "), message)
		}
	})
}

// TestLoginOfTheGuide: the guide's oauth2-proxy is where the route leads, goes where the page is, and is let in there.
func TestLoginOfTheGuide(t *testing.T) {
	page := string(read(t, "../docs/guides/status-page-login.md"))
	rendered := render(t, release, namespace, "--values", valuesFile(t, shown(page, "status-page.yaml")))
	manifest := shown(page, "oauth2-proxy.yaml")
	field := func(object *unstructured.Unstructured, path ...string) any {
		t.Helper()
		value, ok, err := unstructured.NestedFieldNoCopy(object.Object, path...)
		require.NoError(t, err)
		require.True(t, ok, path)
		return value
	}
	first := func(value any) map[string]any { return value.([]any)[0].(map[string]any) }

	service := object(t, manifest, "Service", "oauth2-proxy")
	port := first(field(service, "spec", "ports"))
	backend := first(first(field(object(t, rendered, "HTTPRoute", "mcp-gateway-status-page"), "spec", "rules"))["backendRefs"])
	assert.Equal(t, map[string]any{"name": "oauth2-proxy", "port": port["port"]}, backend)

	deployment := object(t, manifest, "Deployment", "oauth2-proxy")
	labels := field(deployment, "spec", "template", "metadata", "labels")
	assert.Equal(t, labels, field(service, "spec", "selector"))
	container := first(field(deployment, "spec", "template", "spec", "containers"))
	assert.Equal(t, port["targetPort"], first(container["ports"])["name"])
	assert.Contains(t, container["args"], fmt.Sprintf("--http-address=0.0.0.0:%v", first(container["ports"])["containerPort"]))

	upstream := object(t, rendered, "Service", "mcp-gateway-status-page")
	assert.Contains(t, container["args"], fmt.Sprintf("--upstream=http://%s:%v", upstream.GetName(), first(field(upstream, "spec", "ports"))["port"]))
	in := field(object(t, rendered, "NetworkPolicy", "mcp-gateway"), "spec", "ingress")
	from := map[string]any{"podSelector": map[string]any{"matchLabels": labels}}
	assert.Contains(t, in, map[string]any{"from": []any{from}, "ports": []any{map[string]any{"port": "status-page"}}})
}

// subcommand are the first words, up to the first that is no command of helm's.
func subcommand(words []string) []string {
	if slices.Contains([]string{"repo", "dependency"}, words[0]) {
		return words[:2]
	}
	return words[:1]
}

// valuesOf are the arguments that are about the namespace and values. A file of values is in the repository, or the page has it; of what is left to the reader
// nothing is taken.
func valuesOf(t *testing.T, page string, words []string) []string {
	t.Helper()
	var out []string
	for i := 0; i+1 < len(words); i++ {
		value := words[i+1]
		switch words[i] {
		case "--namespace", "--set":
			out = append(out, words[i], value)
		case "--values", "-f":
			if path, ok := strings.CutPrefix(value, "charts/"); ok {
				out = append(out, "--values", path)
			} else if text := shown(page, value); text != "" {
				out = append(out, "--values", valuesFile(t, text))
			} else {
				assert.Equal(t, "my-values.yaml", value, "no block begins with # %s", value)
			}
		}
	}
	return out
}

// shown is the block that is the file of this name.
func shown(page, name string) string {
	for _, block := range guidetest.Blocks("", page) {
		if strings.HasPrefix(block.Text, "# "+name) {
			return block.Text
		}
	}
	return ""
}

// assertFlags fails where help does not know a flag.
func assertFlags(t *testing.T, help, page string, words []string) {
	t.Helper()
	for _, word := range words {
		flag, _, _ := strings.Cut(word, "=")
		if word == "--" {
			return // what follows is for another program
		}
		if strings.HasPrefix(flag, "-") && flag != "-" {
			assert.Regexp(t, `(?m)(^|[\s\[])`+regexp.QuoteMeta(flag)+`\b`, help, "%s: %s", page, strings.Join(words, " "))
		}
	}
}

// TestKubectlOfTheGuides: kubectl knows the commands and flags that pages give it.
func TestKubectlOfTheGuides(t *testing.T) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: run `make test-charts`")
	}
	kubectl := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), args...).CombinedOutput() //nolint:gosec // the program that the tests are run with
		require.NoError(t, err, string(out))
		return string(out)
	}
	global := kubectl("options")
	eachCommand(t, "kubectl", func(page string, words []string) {
		var command []string
		for i := 0; i < len(words) && len(command) < 3; i++ {
			switch {
			case words[i] == "-n" || words[i] == "--namespace":
				i++ // its value
			case !strings.HasPrefix(words[i], "-") && regexp.MustCompile(`^[a-z-]+$`).MatchString(words[i]):
				command = append(command, words[i])
			}
		}
		require.NotEmpty(t, command, words)
		depth := 1
		if slices.Contains([]string{"create", "rollout"}, command[0]) {
			depth = min(len(command), map[bool]int{true: 3, false: 2}[command[0] == "create" && len(command) > 1 && command[1] == "secret"])
		}
		assertFlags(t, kubectl(append(command[:depth:depth], "--help")...)+global, page, words)
	})
}
