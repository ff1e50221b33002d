package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxFileSize = 1 << 20
	// maxValues bounds what aliases can unfold to.
	maxValues = 100_000
)

// document returns the root of the one document, or nil after a report.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > maxFileSize {
		r.at(0, 0, "", "the file is larger than 1 MiB")
		return nil
	}
	if !r.readable(data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil || len(first.Content) == 0 {
		if err == nil || errors.Is(err, io.EOF) {
			r.at(1, 1, "policies", `is required; "policies: {}" means that there are none`)
		} else {
			r.syntax(err)
		}
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.at(second.Line, second.Column, "", "a second YAML document starts here; the file must hold one")
	case !errors.Is(err, io.EOF):
		r.syntax(err)
	}
	return first.Content[0]
}

// readable refuses bytes that no YAML document may have: the YAML parser would not say where they are.
func (r *reader) readable(data []byte) bool {
	line, column := 1, 1
	for rest := data; len(rest) > 0; column++ {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			r.at(line, column, "", "the file is not valid UTF-8 here")
			return false
		case isControl(c) && !strings.ContainsRune("\t\r\n\u0085", c):
			r.at(line, column, "", "the control character %U is not allowed in the file", c)
			return false
		case c == '\n':
			line, column = line+1, 0
		}
		rest = rest[size:]
	}
	return true
}

// isControl covers C0, DEL and C1.
func isControl(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 }

// syntax takes the line out of the YAML parser's message, where it has one.
func (r *reader) syntax(err error) {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if _, err := fmt.Sscanf(message, "line %d:", &line); err == nil {
		_, message, _ = strings.Cut(message, ": ")
	}
	r.at(line, 1, "", "this is not YAML: %s", message)
}
