package session

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// put carries what the registry knows of a session, as another process gets it.
func put(t testing.TB, from *Registry, to *Replica, token string) {
	t.Helper()
	rec, ok := from.Record(token)
	require.True(t, ok)
	var wire bytes.Buffer
	require.NoError(t, gob.NewEncoder(&wire).Encode(rec))
	var got Record
	require.NoError(t, gob.NewDecoder(&wire).Decode(&got))
	to.Put(got)
}

// otherAt is a text with another character at one place.
func otherAt(text string, at int) string {
	other := byte('A')
	if text[at] == other {
		other = 'B'
	}
	return text[:at] + string(other) + text[at+1:]
}

func TestReplicaKnowsWhatItIsSureOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, Options{MaxAge: time.Hour, MaxIdle: time.Minute})
		s := create(t, r)
		copied := NewReplica(r.Keys(), time.Minute)
		_, err := copied.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnsure, "it is well signed")
		_, err = copied.Lookup(otherAt(s.Token(), 20))
		require.ErrorIs(t, err, ErrUnknown, "a forged one is sure to be none")

		put(t, r, copied, s.Token())
		got, err := copied.Lookup(s.Token())
		require.NoError(t, err)
		assert.Equal(t, s.Subject(), got.Subject())
		sealed := got.Seal(SealRequest, "srv", []byte("7"))
		kind, server, raw, ok := s.Unseal(sealed)
		assert.True(t, ok && kind == SealRequest && server == "srv" && string(raw) == "7", "both know what either sealed")

		time.Sleep(2 * time.Minute)
		_, err = copied.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnsure, "the registry may have an open stream of it")
		copied.Touch(s.Token())
		_, err = copied.Lookup(s.Token())
		require.NoError(t, err)
		time.Sleep(time.Hour)
		_, err = copied.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnknown, "its token has expired")
	})
}

func TestReplicaOfBackendsAndCalls(t *testing.T) {
	var changed []string
	r := newRegistry(t, Options{OnChange: func(token string) { changed = append(changed, token) }})
	s := create(t, r)
	copied := NewReplica(r.Keys(), 0)
	require.True(t, s.SetBackend("srv", Backend{ID: "b1", Fingerprint: "f"}))
	end := s.BeginCall([]byte("1"), "srv")
	put(t, r, copied, s.Token())
	got, err := copied.Lookup(s.Token())
	require.NoError(t, err)
	be, ok := got.Backend("srv", "f")
	assert.True(t, ok && be.ID == "b1")
	owner, _ := got.CallOwner([]byte("1"))
	assert.Equal(t, "srv", owner, "a call that the broker carries can be cancelled from here")
	endOwn := got.BeginCall([]byte("2"), "other")

	end()
	put(t, r, copied, s.Token())
	_, ok = got.CallOwner([]byte("1"))
	assert.False(t, ok)
	owner, _ = got.CallOwner([]byte("2"))
	assert.Equal(t, "other", owner, "calls of its own stay")
	endOwn()

	// What was forgotten here does not come back by an older push, and a new one is taken.
	copied.Drop(got, "srv", "b1")
	put(t, r, copied, s.Token())
	_, ok = got.Backend("srv", "f")
	assert.False(t, ok)
	require.True(t, s.SetBackend("srv", Backend{ID: "b2", Fingerprint: "f"}))
	put(t, r, copied, s.Token())
	be, ok = got.Backend("srv", "f")
	assert.True(t, ok && be.ID == "b2")

	require.NoError(t, r.Delete(t.Context(), s))
	assert.Len(t, changed, 6, "created, opened, called, ended, opened, deleted")
	_, ok = r.Record(s.Token())
	assert.False(t, ok)
}

func TestReplicaBuries(t *testing.T) {
	r := newRegistry(t, Options{})
	s := create(t, r)
	copied := NewReplica(r.Keys(), 0)
	put(t, r, copied, s.Token())
	copied.Bury(s.Token())
	put(t, r, copied, s.Token()) // it was under way
	_, err := copied.Lookup(s.Token())
	require.ErrorIs(t, err, ErrUnsure)
	copied.End(s.Token())
	_, err = copied.Lookup(s.Token())
	require.ErrorIs(t, err, ErrUnsure)
}

func TestReplicaBeginsAnew(t *testing.T) {
	r := newRegistry(t, Options{})
	stays, goes := create(t, r), create(t, r)
	copied := NewReplica(r.Keys(), 0)
	copied.Begin()
	put(t, r, copied, stays.Token())
	put(t, r, copied, goes.Token())
	copied.Complete()
	before, err := copied.Lookup(stays.Token())
	require.NoError(t, err)
	assert.Len(t, copied.Used(), 2)
	assert.Empty(t, copied.Used())

	copied.Begin()
	put(t, r, copied, stays.Token())
	copied.Complete()
	after, err := copied.Lookup(stays.Token())
	require.NoError(t, err)
	assert.Same(t, before, after, "with the calls that go through here")
	_, err = copied.Lookup(goes.Token())
	require.ErrorIs(t, err, ErrUnsure)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", copied, r.Keys(), r.Keys()), string(r.Keys().Token))
}
