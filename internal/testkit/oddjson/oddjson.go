// Package oddjson writes JSON as an unfriendly peer might, for tests of what must pass through unchanged (Invariant 1).
package oddjson

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Writer writes odd spaces, numbers and escapes, and members that nobody knows. It is not for concurrent use.
type Writer struct{ *rand.Rand }

// New makes a writer that writes the same each time.
func New(seed uint64) *Writer { return &Writer{rand.New(rand.NewPCG(seed, 2))} } //nolint:gosec // tests need no secrets

func (w *Writer) space() string { return []string{"", "", "", " ", "\n\t", "  "}[w.IntN(6)] }

func (w *Writer) text() string {
	return []string{
		`"plain"`, `"\u0000\u001f"`, `"é\u00e9"`, `"\ud83d\ude00"`, `"\/\b\f\n\r\t\\\""`, `"=?base64?x?="`, `""`, `"` + strings.Repeat("x", w.IntN(300)) + `"`,
	}[w.IntN(8)]
}

// Value is one of any kind, of at most so many levels.
func (w *Writer) Value(depth int) string {
	switch n := w.IntN(8); {
	case n < 2 && depth > 0:
		return w.Object(depth - 1)
	case n == 2 && depth > 0:
		var values []string
		for range w.IntN(4) {
			values = append(values, w.space()+w.Value(depth-1))
		}
		return "[" + strings.Join(values, ",") + "]"
	case n == 3:
		return w.text()
	case n == 4:
		return []string{"null", "true", "false"}[w.IntN(3)]
	default:
		return []string{"0", "-0", "1.10", "1e400", "-1E-400", "9007199254740993", "123456789012345678901234567890", "1.0"}[w.IntN(8)]
	}
}

// Object is one with the given members at random places among others.
func (w *Writer) Object(depth int, members ...string) string {
	members = append([]string(nil), members...)
	for i := range w.IntN(5) {
		members = append(members, fmt.Sprintf(`"m%d\u00e9":%s`, i, w.Value(depth)))
	}
	w.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	for i := range members {
		members[i] = w.space() + members[i] + w.space()
	}
	return "{" + strings.Join(members, ",") + "}"
}
