package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Load reads and parses the file at path. Its error is always [Problems].
func Load(path string, env Env) (*Config, error) {
	if path == "" {
		return nil, Problems{{Message: "no configuration file is named; name one with --mcp-gateway-config"}}
	}
	data, err := env.ReadFile(path)
	if err != nil {
		return nil, Problems{{
			File: path, Message: "the configuration file " + reason(err) + "; --mcp-gateway-config names the file to read",
		}}
	}
	return Parse(path, data, env)
}

// Parse makes a configuration of the file's bytes. file is what problems call it, and relative paths in it start from its folder.
// The error is [Problems]: all of them at once.
func Parse(file string, data []byte, env Env) (*Config, error) {
	r := newReport(file)
	root := readDocument(r, data)
	if err := r.err(); err != nil {
		return nil, err
	}
	document, complete := decode(r, root)
	if !complete {
		return nil, r.err()
	}
	config := compile(r, env, document)
	if err := r.err(); err != nil {
		return nil, err
	}
	return config, nil
}

// readDocument returns the one document's root, or nil when there is nothing in it.
func readDocument(r *report, data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		r.at(position{}, "", "the file is larger than 4 MiB")
		return nil
	}
	if !checkText(r, data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			syntaxProblem(r, data, err)
		}
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.at(position{second.Line, second.Column}, "", "a second YAML document starts here; the file must hold one")
	case !errors.Is(err, io.EOF):
		syntaxProblem(r, data, err)
	}
	if len(first.Content) == 0 {
		return nil
	}
	return first.Content[0]
}

// checkText refuses what no YAML document may hold; the YAML parser would not say where it stands.
func checkText(r *report, data []byte) bool {
	for line, text := range bytes.Split(data, []byte("\n")) {
		for column, rest := 1, text; len(rest) > 0; column++ {
			c, size := utf8.DecodeRune(rest)
			pos := position{line + 1, column}
			switch {
			case c == utf8.RuneError && size == 1:
				r.at(pos, "", "the file is not valid UTF-8 here")
				return false
			case isControl(c) && c != '\t' && c != '\r' && c != '\u0085':
				r.at(pos, "", "the control character %U is not allowed in the file", c)
				return false
			}
			rest = rest[size:]
		}
	}
	return true
}

// isControl covers C0, DEL and C1.
func isControl(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 }

// syntaxProblem takes the place out of the YAML parser's message, which has a line or, for the first line and unknown anchors, none.
func syntaxProblem(r *report, data []byte, err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	pos := position{1, 1}
	var line int
	if _, err := fmt.Sscanf(message, "line %d:", &line); err == nil {
		pos.line = line
		_, message, _ = strings.Cut(message, ": ")
	} else if _, after, ok := strings.Cut(message, "unknown anchor '"); ok {
		name, _, _ := strings.Cut(after, "'")
		pos = find(data, "*"+name)
	}
	r.at(pos, "", "this is not YAML: %s", message)
}

// find returns the place of the first occurrence.
func find(data []byte, what string) position {
	before, _, _ := strings.Cut(string(data), what)
	start := strings.LastIndexByte(before, '\n') + 1
	return position{1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[start:])}
}
