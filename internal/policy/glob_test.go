package policy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGlob(t *testing.T) {
	tests := []struct {
		glob Glob
		text string
		want bool
	}{
		{"", "anything", true},
		{"", "", true},
		{"*", "anything", true},
		{"*", "", true},
		{"abc", "abc", true},
		{"abc", "ab", false},
		{"abc", "abcd", false},
		{"abc", "ABC", false},
		{"abc", "", false},
		{"ab*", "ab", true},
		{"ab*", "abc", true},
		{"ab*", "a", false},
		{"ab*", "xab", false},
		{"*bc", "bc", true},
		{"*bc", "abc", true},
		{"*bc", "abcd", false},
		{"*bc", "c", false},
		{"a.c", "abc", false},
		{"a\nb*", "a\nbc", true},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, tt.glob.Match(tt.text), "%q matches %q", tt.glob, tt.text)
	}
}

// A glob means the same as the regular expression that an engine would make of it.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"*", "x"}, {"a*", "abc"}, {"*c", "abc"}, {"abc", "abc"}, {"[a]*", "[a]b"}, {"*\n", "a\n"}, {"ä*", "äö"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, text string) {
		_, err := Parse("p.yaml", []byte("policies: {acl: [{everyone: true, allow: ["+quote(glob)+"]}]}"))
		stars := strings.Count(glob, "*")
		if err == nil {
			require.True(t, stars == 0 || stars == 1 && (glob[0] == '*' || glob[len(glob)-1] == '*'))
			require.NotEmpty(t, glob)
		}
		if stars > 1 || stars == 1 && glob[0] != '*' && glob[len(glob)-1] != '*' || glob == "" {
			require.Error(t, err)
			return
		}
		pattern, err := regexp.Compile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, `.*`) + `\z`)
		if err != nil {
			return // not valid UTF-8, which no name is
		}
		require.Equal(t, pattern.MatchString(text), Glob(glob).Match(text))
	})
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
