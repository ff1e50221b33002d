package policy

import "errors"

type program interface {
	eval(claims map[string]any) bool
}

// Parse reads policy values: a YAML document with the one key "policies". It is strict, and reports everything that is wrong at once. The name is
// the file's, for messages.
func Parse(name string, data []byte) (*Set, error) { return nil, errors.New("not yet") }

// Identify reads the caller from the claims of a verified token.
func (s *Set) Identify(claims map[string]any) *Identity { return &Identity{} }

// Decide tells whether the caller may have what is asked for. The identity is nil for a caller without a token.
func (s *Set) Decide(id *Identity, r Request) Decision { return Decision{} }

// Match tells whether the text matches.
func (g Glob) Match(text string) bool { return false }
