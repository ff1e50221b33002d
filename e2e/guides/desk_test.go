package guides_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/guidetest"
)

const (
	root     = "../.."
	endpoint = "http://127.0.0.1:8888/mcp"
	admin    = "http://127.0.0.1:8090"
	// stops is what `standalone` says once it serves.
	stops = "Ctrl-C stops it."
)

// desk is where somebody works who reads the guides: a copy of the repository, and what else is on the machine.
type desk struct {
	dir   string            // of the copy
	tools string            // of programs beside it
	pages map[string]string // by their paths
}

// newDesk copies the repository as it stands, without what was built in it.
func newDesk(t *testing.T) *desk {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	d := &desk{dir: filepath.Join(dir, "mcp-gateway"), tools: filepath.Join(dir, "tools"), pages: guidetest.Pages(t, root)}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(d.dir, strings.TrimPrefix(path, root))
		switch {
		case entry.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(to, 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode().Perm())
	}))
	require.NoError(t, os.Mkdir(d.tools, 0o755))
	require.NoError(t, os.Symlink(testbed.Program(t, testbed.EnvoyBin), filepath.Join(d.tools, "envoy")))
	d.run(t, "make build module")
	return d
}

// file puts a file where the page has it, for the time of the test.
func (d *desk) file(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(d.dir, name)
	require.NoFileExists(t, path)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	t.Cleanup(func() { _ = os.Remove(path) })
}

// files are those that a page says to write: a block of YAML whose first line is its name. Where the page takes one for granted, it is that of the README.
func (d *desk) files(t *testing.T, page string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, from := range []string{page, "README.md"} {
		for _, block := range guidetest.Blocks(from, d.pages[from]) {
			name, _, _ := strings.Cut(block.Text, "\n")
			for _, want := range []string{"servers.yaml", "policies.yaml"} {
				if block.Language == "yaml" && strings.HasPrefix(name, "# "+want) && found[want] == "" {
					found[want] = block.Text
				}
			}
		}
	}
	require.Len(t, found, 2)
	return found
}

// program puts a shell script on the path, in place of a program that needs what is not here.
func (d *desk) program(t *testing.T, name, script string) {
	t.Helper()
	path := filepath.Join(d.tools, name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755)) //nolint:gosec // it is to be run
	t.Cleanup(func() { _ = os.Remove(path) })
}

func (d *desk) env() []string {
	return []string{
		"PATH=" + filepath.Join(d.dir, "bin") + string(os.PathListSeparator) + d.tools + string(os.PathListSeparator) + os.Getenv("PATH"),
		"TICKETS_TOKEN=do-not-tell-4711", "TMPDIR=/tmp",
	}
}

// shell is a script as a shell takes it from a page, but that it stops at the first error.
func shell(script string) []string { return []string{"-c", "set -euo pipefail\n" + script} }

// run runs a script to its end, and returns what it says.
func (d *desk) run(t *testing.T, script string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", shell(script)...)
	command.Dir, command.Env = d.dir, append(os.Environ(), d.env()...)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
	return string(out)
}

// serve runs a script that goes on until Ctrl-C.
func (d *desk) serve(t *testing.T, script string) *testbed.Process {
	t.Helper()
	return testbed.Start(t, script, testbed.Command{Path: "bash", Args: shell(script), Dir: d.dir, Env: d.env(), Group: true})
}

// interrupt types Ctrl-C and waits until all is over.
func interrupt(t *testing.T, p *testbed.Process) {
	t.Helper()
	p.Signal(syscall.SIGINT)
	p.ExitCode(t) // what a shell makes of it differs
	assert.NotContains(t, p.Output(), "level=ERROR")
}

// gateway is the one that `make run` runs, with the example servers and whatever else is given.
func (d *desk) gateway(t *testing.T, flags string) *testbed.Process {
	t.Helper()
	if flags == "" {
		flags = "--example-servers bin/example-server"
	}
	p := d.serve(t, "exec mcp-broker-router standalone --router extproc "+flags)
	p.Said(t, stops)
	return p
}
