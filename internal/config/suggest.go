package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknown refuses a key, with the known one that was probably meant.
func (d *decoder) unknown(key *yaml.Node, field string, known []string) {
	pos, name := position{key.Line, key.Column}, child(field, key.Value)
	if meant := closest(key.Value, known); meant != "" {
		d.at(pos, name, "unknown key; did you mean %q?", meant)
		// The value was given, only under another name: that it is missing would be a second complaint about one mistake.
		d.spoilt[child(field, meant)] = true
		return
	}
	hint := ""
	if slices.Contains(known, "env") {
		hint = "; a credential comes from env or file and never stands in this file"
	}
	sorted := slices.Sorted(slices.Values(known))
	d.at(pos, name, "unknown key%s; the keys here are %s", hint, strings.Join(sorted, ", "))
}

// closest returns the known key that differs by case, separators or a slip of one or two letters, or nothing.
func closest(key string, known []string) string {
	fold := strings.NewReplacer("_", "", "-", "")
	want := strings.ToLower(fold.Replace(key))
	best, least := "", 3
	for _, k := range known {
		n := distance(want, strings.ToLower(k))
		if n < least && n*2 < len(k) {
			best, least = k, n
		}
	}
	return best
}

// distance is the Levenshtein distance, or 3 when it is more.
func distance(a, b string) int {
	const far = 3
	if len(a)-len(b) >= far || len(b)-len(a) >= far {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(substituted, diagonal+1, row[j]+1)
		}
	}
	return min(row[len(b)], far)
}
