package catalog

import (
	"net/url"
	"strings"
)

// maxEncodings is how often a URI is decoded in search of what a server might find in it.
const maxEncodings = 3

// Climbs tells whether a URI has a segment "." or "..", be it encoded. A pattern of a policy that ends in "*" judges the URI as it is written; a
// server that resolves such segments would serve something else.
func Climbs(uri string) bool {
	for range maxEncodings + 1 {
		for segment := range strings.FieldsFuncSeq(uri, func(r rune) bool { return r == '/' || r == '\\' }) {
			if segment == "." || segment == ".." {
				return true
			}
		}
		decoded, err := url.PathUnescape(uri)
		if err != nil {
			return strings.Contains(uri, "..") // what cannot be decoded is not understood
		}
		if decoded == uri {
			return false
		}
		uri = decoded
	}
	return true // encoded more often than any honest URI
}
