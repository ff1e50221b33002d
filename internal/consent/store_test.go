package consent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

func secret(text string) config.Secret { return config.NewSecret(text) }

var (
	alice = User{"https://idp.example.com", "alice"}
	bob   = User{"https://idp.example.com", "bob"}
)

func openFile(t testing.TB, path string, key []byte) *File {
	t.Helper()
	f, err := OpenFile(path, key)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestStores: each implementation keeps what it is given, for each user and server apart.
func TestStores(t *testing.T) {
	for name, open := range map[string]func() (Store, error){
		"memory": NewMemory,
		"file":   func() (Store, error) { return OpenFile(filepath.Join(t.TempDir(), "store"), randomKey()) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open()
			require.NoError(t, err)
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			require.NoError(t, s.Put(alice, "b", Kept{Value: secret("alices b"), Stored: at}))
			require.NoError(t, s.Put(alice, "a", Kept{Value: secret("alices a"), Stored: at}))
			require.NoError(t, s.Put(bob, "a", Kept{Value: secret("bobs a"), Stored: at}))
			// Characters that move from one part to the next make another user.
			require.NoError(t, s.Put(User{"https://idp.example.coma", "lice"}, "a", Kept{Value: secret("nobodys"), Stored: at}))
			get := func(u User, server string) string {
				k, err := s.Get(u, server)
				require.NoError(t, err)
				if k == nil {
					return ""
				}
				return k.Value.Reveal()
			}
			assert.Equal(t, []string{"alices a", "alices b", "bobs a", "", ""}, []string{get(alice, "a"), get(alice, "b"), get(bob, "a"), get(bob, "b"), get(User{}, "a")})

			marked, err := s.Refuse(alice, "a", secret("another"), at)
			require.NoError(t, err)
			assert.False(t, marked)
			for _, first := range []bool{true, false} {
				marked, err = s.Refuse(alice, "a", secret("alices a"), at.Add(time.Hour))
				require.NoError(t, err)
				assert.Equal(t, first, marked)
			}
			listed, err := s.List(alice)
			require.NoError(t, err)
			assert.Equal(t, []Listed{{"a", at, at.Add(time.Hour)}, {"b", at, time.Time{}}}, listed)

			require.NoError(t, s.Put(alice, "a", Kept{Value: secret("alices next"), Stored: at}))
			require.NoError(t, s.Delete(alice, "b"))
			require.NoError(t, s.Delete(alice, "b"), "what is gone need not be deleted")
			listed, err = s.List(alice)
			require.NoError(t, err)
			assert.Equal(t, []Listed{{"a", at, time.Time{}}}, listed)
			assert.Equal(t, "bobs a", get(bob, "a"))
			for _, bad := range []string{"", strings.Repeat("x", MaxValue+1), "\xff"} {
				require.Error(t, s.Put(alice, "a", Kept{Value: secret(bad)}))
			}
			assert.Equal(t, "alices next", get(alice, "a"))
		})
	}
}

func TestFileOutlivesTheProcess(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store"), randomKey()
	f := openFile(t, path, key)
	require.NoError(t, f.Put(alice, "acme", Kept{Value: secret(acmeKey), Stored: time.Now()}))
	require.NoError(t, f.Put(bob, "acme", Kept{Value: secret("bobs"), Stored: time.Now()}))
	_, err := f.Refuse(bob, "acme", secret("bobs"), time.Now())
	require.NoError(t, err)
	_, err = OpenFile(path, key)
	require.ErrorContains(t, err, "another process has it open")
	require.NoError(t, f.Close())

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, hidden := range []string{acmeKey, "bobs", "alice", "idp.example.com"} {
		assert.NotContains(t, string(text), hidden, "only the names of servers can be read")
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	f = openFile(t, path, key)
	k, err := f.Get(alice, "acme")
	require.NoError(t, err)
	assert.Equal(t, acmeKey, k.Value.Reveal())
	k, err = f.Get(bob, "acme")
	require.NoError(t, err)
	assert.False(t, k.Refused.IsZero())
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, files, 2, "the store, its lock, and nothing half-written")
}

// TestFileThatCannotBeRead: a file that is not understood is an error at the start, and stays what it is.
func TestFileThatCannotBeRead(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store"), randomKey()
	f := openFile(t, path, key)
	require.NoError(t, f.Put(alice, "acme", Kept{Value: secret(acmeKey)}))
	require.NoError(t, f.Close())
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		text string
		key  []byte
		want string
	}{
		"another key":      {string(good), randomKey(), "the credential store \"" + path + "\" was written with another session key: it was left as it is"},
		"a short key":      {string(good), key[:16], "has 16 bytes, want 32"},
		"cut off":          {string(good[:len(good)/2]), key, "is damaged"},
		"nothing":          {"", key, "is damaged"},
		"something else":   {`{"servers":[]}`, key, "is no credential store"},
		"something behind": {string(good) + "{}", key, "is damaged"},
		"another format":   {strings.Replace(string(good), "credentials/1", "credentials/2", 1), key, "is damaged"},
		"no check":         {`{"format":"mcp-gateway-credentials/1","users":{}}`, key, "another session key"},
	} {
		require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
		_, err := OpenFile(path, tt.key)
		require.ErrorContains(t, err, tt.want, name)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, tt.text, string(now), name)
	}
}

// TestSealedIsBound: what is sealed for one user and server is worth nothing in another's place.
func TestSealedIsBound(t *testing.T) {
	path, key := filepath.Join(t.TempDir(), "store"), randomKey()
	f := openFile(t, path, key)
	require.NoError(t, f.Put(alice, "acme", Kept{Value: secret(acmeKey)}))
	require.NoError(t, f.Put(bob, "other", Kept{Value: secret("bobs")}))
	mine, his := f.owner(alice), f.owner(bob)
	require.NoError(t, f.Close())
	var doc document
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &doc))
	doc.Users[his]["acme"] = doc.Users[mine]["acme"]
	doc.Users[mine]["other"] = doc.Users[mine]["acme"]
	text, err = json.Marshal(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))

	f = openFile(t, path, key)
	for _, moved := range []struct {
		u      User
		server string
	}{{bob, "acme"}, {alice, "other"}} {
		_, err = f.Get(moved.u, moved.server)
		require.ErrorContains(t, err, fmt.Sprintf("the stored credential for server %q cannot be read", moved.server))
		assert.NotContains(t, err.Error(), acmeKey)
	}
	k, err := f.Get(alice, "acme")
	require.NoError(t, err)
	assert.Equal(t, acmeKey, k.Value.Reveal())
}

// TestFileThatCannotBeWritten: what cannot be written is not there, except that a refusal is believed.
func TestFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	f := openFile(t, filepath.Join(dir, "store"), randomKey())
	require.NoError(t, f.Put(alice, "acme", Kept{Value: secret(acmeKey)}))
	require.NoError(t, os.Rename(dir, dir+"-away"))
	t.Cleanup(func() { _ = os.RemoveAll(dir + "-away") })
	err := f.Put(alice, "acme", Kept{Value: secret("another")})
	require.ErrorContains(t, err, "cannot be written")
	require.Error(t, f.Delete(alice, "acme"))
	k, err := f.Get(alice, "acme")
	require.NoError(t, err)
	assert.Equal(t, acmeKey, k.Value.Reveal())
	marked, err := f.Refuse(alice, "acme", secret(acmeKey), time.Now())
	require.Error(t, err)
	assert.True(t, marked)
	k, err = f.Get(alice, "acme")
	require.NoError(t, err)
	assert.False(t, k.Refused.IsZero())
	require.NoError(t, os.Rename(dir+"-away", dir))
	require.NoError(t, f.Delete(alice, "acme"), "the next one is written again")

	_, err = OpenFile(filepath.Join(dir, "missing", "store"), randomKey())
	require.ErrorContains(t, err, "cannot be locked")
}

func TestLimits(t *testing.T) {
	s, err := newVault(randomKey())
	require.NoError(t, err)
	for i := range maxPerUser {
		require.NoError(t, s.Put(alice, fmt.Sprint(i), Kept{Value: secret("x")}))
	}
	require.ErrorIs(t, s.Put(alice, "more", Kept{Value: secret("x")}), ErrFull)
	require.NoError(t, s.Put(alice, "0", Kept{Value: secret("another")}), "one may take another's place")
	require.NoError(t, s.Put(bob, "more", Kept{Value: secret("x")}))
	s.now.Store(&contents{count: maxStored})
	require.ErrorIs(t, s.Put(alice, "a", Kept{Value: secret("x")}), ErrFull)
	s.now.Store(&contents{size: maxSealed})
	require.ErrorIs(t, s.Put(alice, "a", Kept{Value: secret("x")}), ErrFull)
	require.NoError(t, s.Delete(alice, "a"))
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"format":"mcp-gateway-credentials/1","check":"AAAA","users":{"a":{"b":"AAAA"}}}`))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte("null"))
	key := make([]byte, keySize)
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := newVault(key)
		require.NoError(t, err)
		require.Error(t, (&File{vault: v, path: "p"}).load(text), "nobody without the key writes a file")
	})
}
