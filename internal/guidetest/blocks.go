package guidetest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Block is a fenced block of a page.
type Block struct {
	// Page is the path of the page from the repository's root, Line that of the block's first line.
	Page           string
	Line           int
	Language, Text string
}

// Pages are the repository's own, by their paths from its root, whose path is given.
func Pages(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"bin", "node_modules"}, d.Name())) {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".md") {
			var text []byte
			text, err = os.ReadFile(filepath.Join(root, path))
			out[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Blocks are those of a page, in their order, without the indentation that a list gives them.
func Blocks(path, page string) []Block {
	var out []Block
	var block *Block
	indent := ""
	fence := regexp.MustCompile("^( *)```(\\S*)\\s*$")
	number := 0
	for line := range strings.Lines(page) {
		number++
		m := fence.FindStringSubmatch(line)
		switch {
		case m == nil && block != nil:
			block.Text += strings.TrimPrefix(line, indent)
		case m == nil:
		case block == nil:
			block, indent = &Block{Page: path, Line: number + 1, Language: m[2]}, m[1]
		default:
			out = append(out, *block)
			block = nil
		}
	}
	return out
}

// IsCommands tells whether a block is for a shell.
func (b Block) IsCommands() bool {
	return slices.Contains([]string{"", "sh", "bash", "shell", "console"}, b.Language)
}

// Commands are what is to be typed, one a line but for those that the page continues. In a console's block that is what stands behind the prompt.
func (b Block) Commands() []string {
	var out []string
	more := false
	for line := range strings.Lines(b.Text) {
		line = strings.TrimSuffix(line, "\n")
		if b.Language == "console" && !more {
			typed, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			line = typed
		}
		if more {
			out[len(out)-1] += "\n" + line
		} else if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			out = append(out, line)
		}
		more = strings.HasSuffix(line, `\`)
	}
	return out
}

// Output is what a console's block shows behind its only command.
func (b Block) Output() string {
	_, after, _ := strings.Cut(b.Text, b.Commands()[0]+"\n")
	return after
}

// Plan is what becomes of one block of commands: exactly one of Run, Test and Static is given.
type Plan struct {
	Page string
	// Begins is how the block begins; empty means all blocks of the page.
	Begins string
	// Run is the case of e2e/guides that runs the block.
	Run string
	// Test is another test that runs the same commands, as file#Name.
	Test string
	// Static says why nothing runs it.
	Static string
	// Except are commands of a block that is run, by how they begin, and why these are not.
	Except map[string]string
}

// Plans are what docs/blocks.yaml says of all blocks of commands.
func Plans(t testing.TB, path string) []Plan {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var plans []Plan
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&plans); err != nil {
		t.Fatal(err)
	}
	return plans
}

// Of tells whether the plan is for the block.
func (p *Plan) Of(b Block) bool { return p.Page == b.Page && strings.HasPrefix(b.Text, p.Begins) }

// Excepts tells whether a command of the block is not run.
func (p *Plan) Excepts(command string) bool {
	for begins := range p.Except {
		if strings.HasPrefix(command, begins) {
			return true
		}
	}
	return false
}
