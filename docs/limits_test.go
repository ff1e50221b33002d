package docs_test

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// constants are the numeric constants of a package, by name. They are read and not imported: most are nobody's but the package's.
func constants(t *testing.T, pkg string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, pkg)
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i := range min(len(spec.Names), len(spec.Values)) {
				if v, ok := number(fset, spec.Values[i]); ok {
					out[spec.Names[i].Name] = v
				}
			}
			return true
		})
	}
	return out
}

// number is the value of an expression of numbers and units of time; a time counts in nanoseconds.
func number(fset *token.FileSet, e ast.Expr) (int64, bool) {
	var text strings.Builder
	if format.Node(&text, fset, e) != nil {
		return 0, false
	}
	plain := strings.NewReplacer("time.Millisecond", "1000000", "time.Second", "1000000000", "time.Minute", "60000000000", "time.Hour", "3600000000000").Replace(text.String())
	v, err := types.Eval(fset, nil, token.NoPos, plain)
	if err != nil || v.Value == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(v.Value.ExactString(), 10, 64)
	return n, err == nil
}

// TestLimitsAreThose: each number of the page is the code's.
func TestLimitsAreThose(t *testing.T) {
	page, err := os.ReadFile("reference/limits.md")
	require.NoError(t, err)
	units := map[string]int64{"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}
	row := regexp.MustCompile("(?m)^\\| (.*) \\| ([0-9 ]+?)(?: (bytes|KiB|MiB|ms|s|min|h))? \\| .* \\| `([a-z/]+)\\.(\\w+)`(?: \\((KiB|s)\\))? \\|$")
	known := map[string]map[string]int64{}
	rows := row.FindAllStringSubmatch(string(page), -1)
	assert.Len(t, rows, strings.Count(string(page), "`internal/"), "a row cannot be read")
	for _, m := range rows {
		what, pkg, name := m[1], m[4], m[5]
		n, err := strconv.ParseInt(strings.ReplaceAll(m[2], " ", ""), 10, 64)
		require.NoError(t, err, what)
		if known[pkg] == nil {
			known[pkg] = constants(t, pkg)
		}
		value, found := known[pkg][name]
		if assert.True(t, found, "%s: there is no %s in %s", what, name, pkg) {
			assert.Equal(t, value*units[m[6]], n*units[m[3]], what)
		}
	}
}
