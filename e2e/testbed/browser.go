package testbed

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// The variables by which tests find what a browser needs. hack/browser-env.sh prints them.
const (
	nodeBin      = "NODE_BIN"
	inspectorBin = "INSPECTOR_BIN"
)

// browserTools are those that a script finds for itself.
func browserTools() []string { return []string{"CHROMIUM_BIN", "PLAYWRIGHT_CORE", "AXE_CORE"} }

// Browser runs scripts that drive a real browser.
type Browser struct {
	// Pictures is the folder in which screenshots are kept.
	Pictures string
	// Command is how a program is run, where not simply as it is.
	Command func(program string, args ...string) Command
}

// NewBrowser is a Browser whose pictures are where the variable says; if it says nothing, they go with the test.
func NewBrowser(t testing.TB, variable string) *Browser {
	t.Helper()
	b := &Browser{Pictures: os.Getenv(variable), Command: func(program string, args ...string) Command { return Command{Path: program, Args: args} }}
	if b.Pictures == "" {
		b.Pictures = t.TempDir()
	} else if err := os.MkdirAll(b.Pictures, 0o755); err != nil { //nolint:gosec // as any other output
		t.Fatal(err)
	}
	t.Logf("screenshots are in %q", b.Pictures)
	return b
}

// Inspector starts an MCP Inspector for one user and tells the URL of its page.
func (b *Browser) Inspector(t testing.TB, endpoint string) string {
	t.Helper()
	start := b.Command(Program(t, inspectorBin), "--web", "--transport", "http", "--server-url", endpoint)
	start.Env = append(start.Env,
		"HOME="+t.TempDir(), "MCP_INSPECTOR_SECRET_STORE=memory", "MCP_AUTO_OPEN_ENABLED=false",
		"CLIENT_PORT="+strconv.Itoa(FreePort(t)), "MCP_SANDBOX_PORT="+strconv.Itoa(FreePort(t)),
	)
	p := Start(t, "inspector", start)
	page := regexp.MustCompile(`http://127\.0\.0\.1:\d+/?\?MCP_INSPECTOR_API_TOKEN=\w+`)
	Await(t, "the Inspector to say where its page is", func() bool { return page.MatchString(p.Output()) })
	return page.FindString(p.Output())
}

// Run runs a script to its end and returns what it printed. The script is given the options, and as "screenshots" where its pictures go: the folder, and
// the prefix of their names.
func (b *Browser) Run(t testing.TB, script, prefix string, options map[string]any) []byte {
	t.Helper()
	options = maps.Clone(options)
	options["screenshots"] = filepath.Join(b.Pictures, prefix)
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range browserTools() {
		Program(t, tool)
	}
	c := b.Command(Program(t, nodeBin), script, string(text))
	cmd := exec.CommandContext(t.Context(), c.Path, c.Args...) //nolint:gosec // the program that the test is about
	cmd.Env = append(os.Environ(), c.Env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(script), prefix, err, out.Bytes(), complaints.Bytes())
	}
	return out.Bytes()
}
