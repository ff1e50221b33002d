package session

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sealKinds() []SealKind {
	return []SealKind{SealRequest, SealToken, SealCallEvent, SealStreamEvent}
}

func TestSeal(t *testing.T) {
	r := newRegistry(t, Options{})
	s, other := create(t, r), create(t, r)
	seen := map[string]bool{}
	for _, kind := range sealKinds() {
		for _, server := range []string{"a", "b", "ns/name", "with.dots.in.it", "ns/with.dots", ""} {
			for _, raw := range []string{"", "1", `"1"`, "9007199254740993", `"ünïcode \" \n"`, "\x00\xff\n.gw.", strings.Repeat("x", 10_000)} {
				sealed := s.Seal(kind, server, []byte(raw))
				require.False(t, seen[sealed], "two values look alike")
				seen[sealed] = true
				require.False(t, strings.ContainsFunc(sealed, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }),
					"%q has to be escaped", sealed)
				gotKind, gotServer, gotRaw, ok := s.Unseal(sealed)
				require.True(t, ok)
				require.Equal(t, kind, gotKind)
				require.Equal(t, server, gotServer)
				require.Equal(t, raw, string(gotRaw))
				_, _, _, ok = other.Unseal(sealed)
				require.False(t, ok, "a value of another session")
			}
		}
	}
}

// TestSealIsBoundToTheKey proves that a value is of no use elsewhere, and is on a replica that shares the key.
func TestSealIsBoundToTheKey(t *testing.T) {
	a, b := create(t, newRegistry(t, Options{})), create(t, newRegistry(t, Options{}))
	b.id = a.id
	_, _, _, ok := b.Unseal(a.Seal(SealRequest, "a", []byte("1")))
	assert.False(t, ok)
	b.sealKey = a.sealKey
	_, _, _, ok = b.Unseal(a.Seal(SealRequest, "a", []byte("1")))
	assert.True(t, ok)
}

func TestUnsealRefusesAnyChange(t *testing.T) {
	s := create(t, newRegistry(t, Options{}))
	sealed := s.Seal(SealRequest, "ns/name", []byte(`"an id"`))
	refused := func(changed string) {
		t.Helper()
		_, _, _, ok := s.Unseal(changed)
		assert.False(t, ok, "%q", changed)
	}
	for i := range sealed {
		for bit := range 8 {
			changed := []byte(sealed)
			changed[i] ^= 1 << bit
			refused(string(changed))
		}
		refused(sealed[:i])
		refused(sealed[i+1:])
		refused(sealed[:i] + sealed[i+1:])
		refused(sealed[:i] + "\n" + sealed[i:])
		refused(sealed[:i] + "." + sealed[i:])
	}
	refused(sealed + "\n")
	refused(sealed + "=")
	refused(sealed + "A")
	for _, foreign := range []string{"", "gw", "gw.", "gw.r", "gw.r.", "gw.r..", "gw.r...", "gw.r.a.b.c", "1", `"gw.r.a"`} {
		refused(foreign)
	}
}

// FuzzUnseal proves that the session unseals what it sealed, and of all else only what sealing would give again.
func FuzzUnseal(f *testing.F) {
	r := newRegistry(f, Options{})
	s := create(f, r)
	f.Add("gw.r.a.MQ.AAAAAAAAAAAA", "a", []byte("1"))
	f.Add("gw.r.", "ns/name", []byte(`"x"`))
	f.Add(s.Seal(SealRequest, "a", []byte("1")), "", []byte{})
	f.Fuzz(func(t *testing.T, foreign, server string, raw []byte) {
		if kind, server, raw, ok := s.Unseal(foreign); ok && s.Seal(kind, server, raw) != foreign {
			t.Fatalf("%q was unsealed, but is not what Seal gives", foreign)
		}
		for _, kind := range sealKinds() {
			k, sv, rw, ok := s.Unseal(s.Seal(kind, server, raw))
			if !ok || k != kind || sv != server || !bytes.Equal(rw, raw) {
				t.Fatalf("%c %q %q became %c %q %q %t", kind, server, raw, k, sv, rw, ok)
			}
		}
	})
}
