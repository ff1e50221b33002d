package session

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func bearer(claims string) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return "Bearer " + part(`{"alg":"none"}`) + "." + part(claims) + ".sig"
}

func TestSubjectOf(t *testing.T) {
	alice := SubjectOf(bearer(`{"iss":"https://i","sub":"alice"}`))
	assert.NotEqual(t, Subject{}, alice)
	assert.Equal(t, SubjectFrom("https://i", "alice"), alice, "what is read before a token is verified is what it says afterwards")
	for name, same := range map[string]string{
		"other claims":           bearer(`{"exp":9007199254740993,"sub":"alice","iss":"https://i","aud":["x"]}`),
		"scheme in other case":   "bEARER" + bearer(`{"iss":"https://i","sub":"alice"}`)[len("Bearer"):],
		"spaces":                 bearer(`{"iss":"https://i","sub":"alice"}`) + " ",
		"written with an escape": bearer(`{"iss":"https:\/\/i","sub":"\u0061lice"}`),
	} {
		assert.Equal(t, alice, SubjectOf(same), name)
	}
	seen := map[Subject]string{{}: "nobody", alice: "alice"}
	for name, other := range map[string]string{
		"another subject":           bearer(`{"iss":"https://i","sub":"bob"}`),
		"another issuer":            bearer(`{"iss":"https://j","sub":"alice"}`),
		"a character moved":         bearer(`{"iss":"https://ia","sub":"lice"}`),
		"a NUL moved":               bearer(`{"iss":"https://i\u0000","sub":"alice"}`),
		"a NUL moved the other way": bearer(`{"iss":"https://i","sub":"\u0000alice"}`),
		"swapped":                   bearer(`{"iss":"alice","sub":"https://i"}`),
	} {
		s := SubjectOf(other)
		assert.NotContains(t, seen, s, name)
		seen[s] = name
	}
	for name, nobody := range map[string]string{
		"no header":        "",
		"no token":         "Bearer",
		"empty token":      "Bearer ",
		"another scheme":   "Basic" + bearer(`{"iss":"https://i","sub":"alice"}`)[len("Bearer"):],
		"opaque":           "Bearer abc",
		"two parts":        "Bearer a.b",
		"four parts":       bearer(`{"iss":"https://i","sub":"alice"}`) + ".x",
		"not base64":       "Bearer a.!.c",
		"not JSON":         bearer(`{`),
		"no object":        bearer(`[]`),
		"null":             bearer(`null`),
		"no issuer":        bearer(`{"sub":"alice"}`),
		"no subject":       bearer(`{"iss":"https://i"}`),
		"null members":     bearer(`{"iss":null,"sub":null}`),
		"empty members":    bearer(`{"iss":"","sub":""}`),
		"subject a number": bearer(`{"iss":"https://i","sub":1}`),
		"issuer a list":    bearer(`{"iss":["https://i"],"sub":"alice"}`),
		"other case":       bearer(`{"ISS":"https://i","SUB":"alice"}`),
	} {
		assert.Equal(t, Subject{}, SubjectOf(nobody), name)
	}
}

func TestBelongsTo(t *testing.T) {
	alice, renewed, bob := bearer(`{"iss":"https://i","sub":"alice"}`), bearer(`{"iss":"https://i","sub":"alice","exp":2}`), bearer(`{"iss":"https://i","sub":"bob"}`)
	s := &Session{start: Start{Subject: SubjectOf(alice)}}
	for range 2 { // it remembers
		assert.True(t, s.BelongsTo(alice))
		assert.False(t, s.BelongsTo(bob))
		assert.False(t, s.BelongsTo(""))
		assert.True(t, s.BelongsTo(renewed))
	}
	nobody := &Session{}
	for range 2 {
		assert.True(t, nobody.BelongsTo(""))
		assert.True(t, nobody.BelongsTo("Basic eDp5"))
		assert.False(t, nobody.BelongsTo(alice))
	}
}

func BenchmarkBelongsTo(b *testing.B) {
	token := bearer(`{"iss":"https://i","sub":"alice","groups":["a","b"],"scope":"` + strings.Repeat("scope ", 100) + `"}`)
	s := &Session{start: Start{Subject: SubjectOf(token)}}
	b.ReportAllocs()
	for b.Loop() {
		if !s.BelongsTo(token) {
			b.Fatal("it is hers")
		}
	}
}

// FuzzSubjectOf proves that foreign headers do no harm, and that two callers are one only if issuer and subject are.
func FuzzSubjectOf(f *testing.F) {
	f.Add("Bearer a.b.c", "https://i", "alice", "https://i", "alice")
	f.Add("Bearer", "https://i\x00", "alice", "https://i", "\x00alice")
	f.Add(bearer(`[`), "a1:", "b", "a", "1:b")
	f.Fuzz(func(t *testing.T, header, iss1, sub1, iss2, sub2 string) {
		SubjectOf(header)
		for _, s := range []string{iss1, sub1, iss2, sub2} {
			if s == "" || !utf8.ValidString(s) {
				return // it names nobody, or JSON cannot say it
			}
		}
		token := func(iss, sub string) string {
			claims, err := json.Marshal(map[string]string{"iss": iss, "sub": sub})
			if err != nil {
				t.Fatal(err)
			}
			return bearer(string(claims))
		}
		a, b := SubjectOf(token(iss1, sub1)), SubjectOf(token(iss2, sub2))
		if a == (Subject{}) || (a == b) != (iss1 == iss2 && sub1 == sub2) {
			t.Fatalf("%q %q and %q %q: %x and %x", iss1, sub1, iss2, sub2, a, b)
		}
	})
}
