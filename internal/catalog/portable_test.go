package catalog

import (
	"bytes"
	"encoding/gob"
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
	require.NoError(t, gob.NewEncoder(&wire).Encode(snap.Portable()))
	text := bytes.Clone(wire.Bytes())
	var p Portable
	require.NoError(t, gob.NewDecoder(&wire).Decode(&p))
	return p.Snapshot(), text
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
