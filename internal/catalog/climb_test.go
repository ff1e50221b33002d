package catalog

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestClimbs(t *testing.T) {
	for uri, want := range map[string]bool{
		"https://wiki.example.com/public/page":                false,
		"https://wiki.example.com/public/a..b/c.":             false,
		"https://wiki.example.com/public/100%25":              false,
		"file:///a/...":                                       false,
		"https://wiki.example.com/public/../private/salaries": true,
		"https://wiki.example.com/public/./x":                 true,
		"https://wiki.example.com/public/..":                  true,
		`file:///public\..\private`:                           true,
		"https://wiki.example.com/public/%2e%2e/private":      true,
		"https://wiki.example.com/public/.%2E/private":        true,
		"https://wiki.example.com/public/..%2fprivate":        true,
		"https://wiki.example.com/public/..%5Cprivate":        true,
		"https://wiki.example.com/public/%252e%252e/private":  true,
		"https://wiki.example.com/public/%25252e%25252e/x":    true,
		"https://wiki.example.com/public/%2525252525252e/x":   true,
		"https://wiki.example.com/public/%zz/..x":             true,
	} {
		assert.Equal(t, want, Climbs(uri), uri)
	}
}
