package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewKey(t *testing.T) {
	_, err := NewKey(make([]byte, MinKeySize-1))
	require.EqualError(t, err, "session key has 31 bytes, it needs at least 32")
	secret := bytes.Repeat([]byte("s"), MinKeySize)
	key, err := NewKey(secret)
	require.NoError(t, err)
	want := key.Derive("a")
	secret[0] = 'x'
	assert.Equal(t, want, key.Derive("a"), "the key has bytes of its own")
	assert.NotEqual(t, want, key.Derive("b"))
	one, two := GenerateKey(), GenerateKey()
	assert.NotEqual(t, one.Derive("a"), two.Derive("a"))
	var none, noneEither Key
	assert.NotEqual(t, none.Derive("a"), noneEither.Derive("a"), "Invariant 4: no key is never one that could be guessed")
}

func TestReplicasShareTokens(t *testing.T) {
	key := GenerateKey()
	a, b := newRegistry(t, Options{Key: key}), newRegistry(t, Options{Key: key})
	s, err := a.Create(t.Context(), Start{Subject: Subject{7}})
	require.NoError(t, err)
	c, err := b.verify(s.Token())
	require.NoError(t, err)
	assert.Equal(t, Subject{7}, c.subject)
	assert.Equal(t, s.id, c.id)
	_, err = b.Lookup(s.Token())
	require.ErrorIs(t, err, ErrGone, "genuine, but not held here")
}

func TestForgedTokens(t *testing.T) {
	r := newRegistry(t, Options{})
	token := create(t, r).Token()
	other := create(t, newRegistry(t, Options{})).Token()
	for name, forged := range map[string]string{
		"empty":              "",
		"another key's":      other,
		"cut off":            token[:len(token)-1],
		"longer":             token + "A",
		"padded":             token + "=",
		"with a line end":    token[:10] + "\n" + token[11:],
		"line ends alone":    strings.Repeat("\n", len(token)),
		"not base64":         strings.Repeat("!", len(token)),
		"spaces around":      " " + token[:len(token)-2] + " ",
		"zeros":              base64.RawURLEncoding.EncodeToString(make([]byte, tokenSize)),
		"of standard base64": strings.Repeat("+/", len(token)/2),
		"halves swapped":     token[len(token)/2:] + token[:len(token)/2],
	} {
		_, err := r.Lookup(forged)
		require.ErrorIs(t, err, ErrUnknown, name)
		require.NotErrorIs(t, err, ErrGone, name)
	}
	for i := range token {
		changed := []byte(token)
		if changed[i] = 'A'; token[i] == 'A' {
			changed[i] = 'B'
		}
		_, err := r.Lookup(string(changed))
		require.ErrorIs(t, err, ErrUnknown, "byte %d", i)
		require.NotErrorIs(t, err, ErrGone, "byte %d", i)
	}
}

func TestExpiredTokenOfAnotherProcess(t *testing.T) {
	key := GenerateKey()
	s := create(t, newRegistry(t, Options{Key: key, MaxAge: time.Nanosecond}))
	_, err := newRegistry(t, Options{Key: key}).Lookup(s.Token())
	require.ErrorIs(t, err, ErrUnknown)
	require.NotErrorIs(t, err, ErrGone)
}

func TestTokensDiffer(t *testing.T) {
	r := newRegistry(t, Options{})
	seen := map[string]bool{}
	for range 1000 {
		token := create(t, r).Token()
		require.False(t, seen[token])
		seen[token] = true
	}
}

// TestSecretsAreNotPrinted holds whichever way a log, an error or a debugger's line shows them.
func TestSecretsAreNotPrinted(t *testing.T) {
	secret := []byte("hunter2-hunter2-hunter2-hunter2-hunter2")
	key, err := NewKey(secret)
	require.NoError(t, err)
	r := NewRegistry(Options{Key: key})
	s := create(t, r)
	hidden := map[string][]byte{"key": secret, "token": []byte(s.Token()), "token key": r.tokenKey, "seal key": r.sealKey}
	type nested struct {
		Key     Key
		key     Key
		options Options
	}
	type holder struct{ session *Session }
	var out bytes.Buffer
	for _, v := range []any{
		key, &key,
		[]Key{key},
		map[string]Key{"a": key},
		Options{Key: key},
		s,
		[]*Session{s},
		r,
		nested{Key: key, key: key, options: Options{Key: key}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		encoded, err := json.Marshal(v)
		if err == nil {
			out.Write(encoded)
		}
	}
	fmt.Fprintf(&out, "%v %+v %#v\n", holder{s}, holder{s}, holder{s})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", key, "session", s, "registry", r)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", key, "session", s)
	for name, h := range hidden {
		for _, form := range []string{
			string(h), fmt.Sprintf("%x", h), fmt.Sprintf("%X", h), strings.Trim(fmt.Sprintf("%d", h), "[]"),
			strings.Trim(fmt.Sprintf("%#v", h), "[]byte{}"), base64.StdEncoding.EncodeToString(h),
		} {
			assert.NotContains(t, out.String(), form, "the %s", name)
		}
	}
	assert.Contains(t, out.String(), "[redacted]")
	assert.Equal(t, "[redacted]", key.String())
	assert.Equal(t, "[redacted]", key.GoString())
}

func FuzzLookup(f *testing.F) {
	r := newRegistry(f, Options{})
	token := create(f, r).Token()
	for _, seed := range []string{"", "x", token, token[1:], strings.Repeat("\r", len(token)), strings.Repeat("A", len(token))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, got string) {
		if _, err := r.Lookup(got); (err == nil) != (got == token) {
			t.Fatalf("%q: %v", got, err)
		}
	})
}
