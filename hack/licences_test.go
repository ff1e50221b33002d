package hack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// licence is one that a dependency may have: it asks whoever passes the program on for nothing but its own text and the names of its authors. What files of it
// have for themselves, as the MPL asks for, is fine as long as nobody here changes them.
type licence struct {
	name  string
	words []string // in its text, each, whatever the space between
}

func licences() []licence {
	return []licence{
		{"Apache-2.0", []string{"apache license", "version 2.0, january 2004"}},
		{"MPL-2.0", []string{"mozilla public license", "version 2.0"}},
		{"BSD", []string{"redistribution and use in source and binary forms, with or without modification, are permitted"}},
		{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice and this permission notice shall be included"}},
		{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"}},
		{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"}},
	}
}

// licenceOf is the name of the licence with a text, empty for one that is not among them.
func licenceOf(text string) string {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, l := range licences() {
		if !slices.ContainsFunc(l.words, func(words string) bool { return !strings.Contains(text, words) }) {
			return l.name
		}
	}
	return ""
}

// TestLicences: everything that is linked into the programs may be passed on with them.
func TestLicences(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", "./cmd/...", "./examples/...")
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)
	modules := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			modules[path] = dir
		}
	}
	require.Greater(t, len(modules), 20)
	for module, dir := range modules {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		var found []string
		for _, file := range files {
			name := strings.ToUpper(filepath.Base(file))
			if !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				continue // a folder
			}
			found = append(found, licenceOf(string(text)))
		}
		if assert.NotEmpty(t, found, "%s has no licence in %s: nobody may pass it on", module, dir) {
			assert.NotContains(t, found, "", "%s has a licence in %s that is not among those that are known to be fine: read it, then add it here or do without the module", module, dir)
		}
	}
}

func TestLicenceOf(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../LICENSE")
	require.NoError(t, err)
	assert.Equal(t, "Apache-2.0", licenceOf(string(text)))
	assert.Empty(t, licenceOf("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007"))
	assert.Empty(t, licenceOf("Business Source License 1.1"))
}
