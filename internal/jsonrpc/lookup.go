package jsonrpc

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Lookup follows decoded keys from an object of a document that Parse accepted, for example
//
//	Lookup(m.Body, m.Params, "_meta", "progressToken")
//
// The span is absent if a key is not there or if what should hold it is not an object. Each object on the way is read to
// its end: a wanted key that is there twice, or beside one that equals it but for case, is an *Error (CodeInvalidRequest,
// without an id), for two readers could read two values. Keys that are not asked for are not compared with each other.
func Lookup(body []byte, object Span, path ...string) (Span, error) {
	for _, key := range path {
		if !object.Present() || body[object.Start] != '{' {
			return Span{}, nil
		}
		value, fault := member(body, object, key)
		if fault != "" {
			return Span{}, &Error{Code: CodeInvalidRequest, Status: http.StatusBadRequest, Message: "invalid request: " + fault}
		}
		object = value
	}
	return object, nil
}

// member returns the value of one key of an object, or what is wrong with the object.
func member(body []byte, object Span, want string) (found Span, fault string) {
	s := scanner{b: body[:object.End], maxDepth: len(body)}
	for i := space(body, object.Start+1); i < object.End && body[i] == '"'; i = space(body, i+1) {
		key := Span{Start: i}
		var flags int
		if key.End, flags = skipString(s.b, i+1); key.End < 0 {
			return Span{}, notAnObject(object)
		}
		value := Span{Start: space(body, space(body, key.End)+1)}
		if value.End = s.skip(value.Start, 0); value.End < 0 {
			return Span{}, notAnObject(object)
		}
		switch same, alike := matchKey(body, key, want, flags); {
		case same && found.Present():
			return Span{}, fmt.Sprintf("%q at byte %d is in its object twice", brief([]byte(want)), key.Start)
		case same:
			found = value
		case alike:
			return Span{}, fmt.Sprintf("%q at byte %d differs from %q in case alone, and a reader that ignores case would take it for that",
				brief(body[key.Start+1:key.End-1]), key.Start, brief([]byte(want)))
		}
		i = space(body, value.End)
	}
	return found, ""
}

func notAnObject(object Span) string {
	return fmt.Sprintf("bytes %d to %d are not an object", object.Start, object.End)
}

// matchKey tells whether a key decodes to the wanted one, or else equals it under Unicode case folding.
func matchKey(body []byte, key Span, want string, flags int) (same, alike bool) {
	raw := body[key.Start+1 : key.End-1]
	if flags == 0 && len(raw) != len(want) {
		// Equal under folding, two strings of different lengths have a byte that is not ASCII.
		return false, !ascii(want) && strings.EqualFold(string(raw), want)
	}
	if flags&hasEscape == 0 {
		same = string(raw) == want
		return same, !same && strings.EqualFold(string(raw), want)
	}
	decoded, err := Unquote(key.Of(body))
	if err != nil {
		return false, false
	}
	return decoded == want, decoded != want && strings.EqualFold(decoded, want)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
