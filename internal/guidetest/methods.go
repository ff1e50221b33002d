// Package guidetest reads what README and guides promise, for tests that hold something to it. It must not know what that is.
package guidetest

import (
	"os"
	"regexp"
	"testing"
)

// Method is a row of the guide's table of methods: what becomes of one, by the client's family.
type Method struct{ Name, WithSession, Stateless string }

// Methods are the rows of the table in docs/guides/protocol-versions.md, whose path is given.
func Methods(t testing.TB, path string) []Method {
	t.Helper()
	guide, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+/?[a-zA-Z/]*)` \\| ([a-z ]+) \\| ([a-z ]+) \\|$").FindAllStringSubmatch(string(guide), -1)
	const fewest = 15 // with less, it is the pattern that is wrong
	if len(rows) < fewest {
		t.Fatalf("found %d methods in %s", len(rows), path)
	}
	var out []Method
	for _, row := range rows {
		out = append(out, Method{row[1], row[2], row[3]})
	}
	return out
}
