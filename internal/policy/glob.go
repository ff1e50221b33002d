package policy

import "strings"

// Match tells whether the text matches.
func (g Glob) Match(text string) bool {
	pattern := string(g)
	switch {
	case pattern == "" || pattern == "*":
		return true
	case pattern[0] == '*':
		return strings.HasSuffix(text, pattern[1:])
	case pattern[len(pattern)-1] == '*':
		return strings.HasPrefix(text, pattern[:len(pattern)-1])
	}
	return text == pattern
}

// String is the word by which values name the kind.
func (k Kind) String() string {
	switch k {
	case Tool:
		return "tool"
	case Prompt:
		return "prompt"
	case Resource:
		return "resource"
	case None:
	}
	return "none"
}
