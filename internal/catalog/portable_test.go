package catalog

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// carry takes a snapshot to another process.
func carry(t testing.TB, snap *Snapshot) (*Snapshot, []byte) {
	t.Helper()
	var wire bytes.Buffer
	encoder := gob.NewEncoder(&wire)
	parts := 0
	for part, more := range snap.Portable().Parts(2 << 10) {
		parts++
		require.NoError(t, encoder.Encode(part))
		if !more {
			break
		}
	}
	text := bytes.Clone(wire.Bytes())
	decoder := gob.NewDecoder(&wire)
	var p Portable
	for range parts {
		var part Portable
		require.NoError(t, decoder.Decode(&part))
		p.Append(&part)
	}
	return p.Snapshot(Counting{}), text
}

// TestParts: a part is as large as it may be, or has one server, and all together are the whole.
func TestParts(t *testing.T) {
	whole := Portable{VirtualServers: []config.VirtualServer{{Name: "v"}}, Reserved: []string{"r"}}
	for _, size := range []int{0, 0, 5000, 0} {
		l := &Listing{}
		l.Items[Prompt] = []json.RawMessage{make(json.RawMessage, size)}
		whole.Servers = append(whole.Servers, PortableServer{Server: Server{State: State{Listing: l}}})
	}
	for size, want := range map[int][]int{1: {1, 1, 1, 1}, 2000: {2, 1, 1}, 3000: {3, 1}, 1 << 20: {4}} {
		var got []int
		var together Portable
		for part, more := range whole.Parts(size) {
			got = append(got, len(part.Servers))
			together.Append(part)
			assert.Equal(t, len(together.Servers) < 4, more)
		}
		assert.Equal(t, want, got, "%d bytes", size)
		assert.Equal(t, whole, together)
	}
	empty := 0
	for part, more := range (&Portable{Reserved: whole.Reserved}).Parts(1) {
		empty++
		assert.Equal(t, whole.Reserved, part.Reserved, "a catalog without servers is one, too")
		assert.False(t, more)
	}
	assert.Equal(t, 1, empty)
}

// TestPortable: what another process builds of a snapshot shows the same, but for how servers fare.
func TestPortable(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			snap := Build(readInput(t, path))
			got, _ := carry(t, snap)
			want, have := show(snap), show(got)
			for i := range want.Servers {
				want.Servers[i].Health = have.Servers[i].Health
			}
			assert.Equal(t, want, have)
			checkConsistent(t, got)
			for i, s := range snap.Servers() {
				theirs := *got.Servers()[i]
				theirs.State.Health, theirs.State.Since = s.State.Health, s.State.Since
				assert.Empty(t, cmp.Diff(*s, theirs, cmp.AllowUnexported(Server{}, capabilities{}), cmpopts.EquateEmpty()))
			}
		})
	}
}

// TestPortableSaysNothingOfHealth: a server that fails and comes back is no reason to push a catalog again.
func TestPortableSaysNothingOfHealth(t *testing.T) {
	in := readInput(t, "testdata/"+firstGolden(t))
	_, before := carry(t, Build(in))
	for name, st := range in.States {
		st.Health, st.LastError, st.Since = HealthFailing, "broken", time.Now()
		in.States[name] = st
	}
	_, after := carry(t, Build(in))
	assert.Equal(t, before, after)
}

func firstGolden(t testing.TB) string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.in.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	return filepath.Base(paths[0])
}

// TestPortableHasNoSecrets: credentials stay in the process that has them (Invariant 6).
func TestPortableHasNoSecrets(t *testing.T) {
	secret := "do-not-carry-me"
	snap := Build(Input{Servers: []config.Server{{
		Name: "s", Scheme: "http", Host: "h", Port: 1, Path: "/", Enabled: true, Headers: []config.Header{{Name: "x-key", Value: secret}},
		Credential: &config.Credential{Kind: config.StaticCredential, Header: "authorization", Value: config.NewSecret(secret)},
	}}})
	got, wire := carry(t, snap)
	assert.NotContains(t, string(wire), secret)
	assert.Equal(t, snap.Server("s").Fingerprint, got.Server("s").Fingerprint, "what backend sessions stand under is carried")
}
