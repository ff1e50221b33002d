package jsonrpc

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// maxMembers bounds how many members the message itself and its params may have, and so what a hostile body can make us
// remember. MCP defines fewer than twenty; a tool's arguments are one level deeper and not counted.
const maxMembers = 1024

// members are the members of one object in their order. The first ones need no allocation.
type members struct {
	n       int
	first   [8]Member
	more    []Member
	escaped bool                // a key is written with an escape
	index   map[string]struct{} // the decoded keys, once there are too many to compare each with each
}

// indexFrom is the number of members from which on keys are looked up in a map.
const indexFrom = 16

func (s *members) at(i int) *Member {
	if i < len(s.first) {
		return &s.first[i]
	}
	return &s.more[i-len(s.first)]
}

// add appends a key, to which setLast gives the value.
func (s *members) add(key Span, escaped bool) {
	s.escaped = s.escaped || escaped
	if s.n < len(s.first) {
		s.first[s.n].Key = key
	} else {
		s.more = append(s.more, Member{Key: key})
	}
	s.n++
}

func (s *members) setLast(value Span) { s.at(s.n - 1).Value = value }

// has tells whether a key that decodes to the same was added before. decoded is needed only if the key has an escape.
func (s *members) has(b []byte, key Span, decoded string, escaped bool) bool {
	if s.n >= indexFrom {
		return s.indexed(b, key, decoded, escaped)
	}
	raw := b[key.Start+1 : key.End-1]
	for i := range s.n {
		earlier := s.at(i).Key
		if escaped || s.escaped {
			if !escaped {
				decoded = string(raw)
			}
			if keyIs(b, earlier, decoded, true) {
				return true
			}
		} else if earlier.End-earlier.Start == len(raw)+2 && bytes.Equal(b[earlier.Start+1:earlier.End-1], raw) {
			return true
		}
	}
	return false
}

// indexed is has by a map, which it makes when first asked and adds the key to.
func (s *members) indexed(b []byte, key Span, decoded string, escaped bool) bool {
	if s.index == nil {
		s.index = make(map[string]struct{}, 2*indexFrom)
		for i := range s.n {
			earlier, _ := decodeKey(b, s.at(i).Key, s.escaped)
			s.index[earlier] = struct{}{}
		}
	}
	if !escaped {
		decoded = string(b[key.Start+1 : key.End-1])
	}
	_, found := s.index[decoded]
	s.index[decoded] = struct{}{}
	return found
}

// keyIs tells whether a raw key decodes to the wanted one; escaped says that it may have an escape.
func keyIs(b []byte, key Span, want string, escaped bool) bool {
	if raw := b[key.Start+1 : key.End-1]; !escaped || bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == want
	}
	got, err := Unquote(key.Of(b))
	return err == nil && got == want
}

func decodeKey(b []byte, key Span, escaped bool) (string, error) {
	if !escaped {
		return string(b[key.Start+1 : key.End-1]), nil
	}
	return Unquote(key.Of(b))
}

// The envelope's known members. other is any else.
type known uint8

const (
	other known = iota
	keyJSONRPC
	keyID
	keyMethod
	keyParams
	keyResult
	keyError
)

// envelopeKey tells which member of the envelope a decoded key is.
func envelopeKey(key []byte) known {
	switch string(key) {
	case "jsonrpc":
		return keyJSONRPC
	case "id":
		return keyID
	case "method":
		return keyMethod
	case "params":
		return keyParams
	case "result":
		return keyResult
	case "error":
		return keyError
	}
	return other
}

// isParam tells whether a decoded key is one that MCP defines in params.
func isParam(key []byte) bool {
	switch string(key) {
	case "name", "uri", "cursor", "arguments", "_meta", "requestId", "progressToken", "ref", "argument", "level",
		"protocolVersion", "capabilities", "clientInfo":
		return true
	}
	return false
}

// envelopeLookAlike returns the known member of the envelope that an unknown key equals but for case, or "".
func envelopeLookAlike(key []byte) string {
	for _, name := range [...]string{"jsonrpc", "id", "method", "params", "result", "error"} {
		if looksLike(key, name) {
			return name
		}
	}
	return ""
}

// paramLookAlike is envelopeLookAlike for the members of params.
func paramLookAlike(key []byte) string {
	for _, name := range [...]string{
		"name", "uri", "cursor", "arguments", "_meta", "requestId", "progressToken", "ref", "argument", "level",
		"protocolVersion", "capabilities", "clientInfo",
	} {
		if looksLike(key, name) {
			return name
		}
	}
	return ""
}

// looksLike tells whether a key equals an ASCII name under Unicode case folding, as encoding/json compares: "ſ" is an
// "s" there and the Kelvin sign a "k".
func looksLike(key []byte, name string) bool {
	if len(key) < len(name) || len(key) > len(name)*utf8.UTFMax {
		return false
	}
	// Most keys differ in length and are ASCII, or in their first letter.
	if key[0] < utf8.RuneSelf && key[0]|0x20 != name[0]|0x20 {
		return false
	}
	return strings.EqualFold(string(key), name)
}
