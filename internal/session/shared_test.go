package session

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

// replica is one process of a gateway of several.
type replica struct {
	*Registry

	mu          sync.Mutex
	ended, left []*Session
	renewed     int
	adopted     int
	told        []string
	stop        context.CancelFunc
	runs        sync.WaitGroup
	own         store.Store
}

// replicas are some with one store, for the time of a test in a bubble.
func replicas(t *testing.T, n int, o Options, stores ...store.Store) []*replica {
	t.Helper()
	key, shared := GenerateKey(), store.NewMemory()
	out := make([]*replica, n)
	for i := range out {
		r := &replica{own: shared}
		if i < len(stores) && stores[i] != nil {
			r.own = stores[i]
		}
		o.Key, o.Store = key, r.own
		note := func(list *[]*Session) func(*Session) {
			return func(s *Session) {
				r.mu.Lock()
				defer r.mu.Unlock()
				*list = append(*list, s)
			}
		}
		o.OnEnd, o.OnLeave = note(&r.ended), note(&r.left)
		o.OnRenewed = func(*Session) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.renewed++
		}
		o.OnAdopted = func(*Session) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.adopted++
		}
		o.OnMessage = func(kind string, s *Session, body []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.told = append(r.told, kind+" "+s.VirtualServer()+" "+string(body))
		}
		r.Registry = NewRegistry(o)
		var ctx context.Context
		ctx, r.stop = context.WithCancel(context.Background())
		r.runs.Go(func() { r.Run(ctx) })
		t.Cleanup(func() {
			r.stop()
			r.runs.Wait()
		})
		out[i] = r
	}
	synctest.Wait()
	return out
}

// ends is how many sessions have ended here, and how many this replica has left to others.
func (r *replica) ends() (ended, left int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ended), len(r.left)
}

func (r *replica) begin(t *testing.T) *Session {
	t.Helper()
	s, err := r.Create(t.Context(), Start{Subject: Subject{7}, VirtualServer: "team/v", Revision: "2025-06-18", InitParams: json.RawMessage(`{"n":9007199254740993}`)})
	require.NoError(t, err)
	return s
}

func (r *replica) find(t *testing.T, token string) *Session {
	t.Helper()
	s, err := r.Find(t.Context(), token)
	require.NoError(t, err)
	return s
}

func (r *replica) agree(t *testing.T, s *Session, server string, b Backend) Backend {
	t.Helper()
	got, _, err := s.Agree(t.Context(), server, b)
	require.NoError(t, err)
	return got
}

// TestReplicasShareSessions: whatever one replica learns of a session, all that have met it know, and each can meet it.
func TestReplicasShareSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 3, Options{})
		a, b, c := all[0], all[1], all[2]
		s := a.begin(t)
		_, err := b.Lookup(s.Token())
		require.ErrorIs(t, err, ErrElsewhere)
		other := b.find(t, s.Token())
		assert.Equal(t, s.start, other.start, "Invariant 1")
		assert.Equal(t, s.expires.Unix(), other.expires.Unix())
		assert.Equal(t, s.Seal(SealRequest, "x", []byte("1")), other.Seal(SealRequest, "x", []byte("1")), "what one seals the other opens")
		_, err = b.Lookup(s.Token())
		require.NoError(t, err, "from then on it is known")

		be := Backend{ID: "secret-id", Revision: "2025-06-18", Fingerprint: "f"}
		a.agree(t, s, "weather", be)
		synctest.Wait()
		got, ok := other.Backend("weather", "f")
		assert.True(t, ok)
		assert.Equal(t, be, got)
		assert.Equal(t, 1, b.renewed)
		assert.Equal(t, 1, b.adopted)
		assert.Zero(t, a.adopted, "it began the session")
		require.NoError(t, other.SetLogLevel(t.Context(), json.RawMessage(`{"level":"info"}`)))
		synctest.Wait()
		assert.JSONEq(t, `{"level":"info"}`, string(s.LogLevel()))
		other.DropBackend("weather", "secret-id")
		synctest.Wait()
		assert.Empty(t, s.Backends(), "its server forgot it")

		require.NoError(t, s.Tell(t.Context(), "hello", []byte("you")))
		synctest.Wait()
		assert.Equal(t, []string{"hello team/v you"}, b.told)
		assert.Empty(t, a.told, "nobody is told what it says itself")
		assert.Empty(t, c.told, "it does not know the session")

		require.NoError(t, b.Delete(t.Context(), other))
		synctest.Wait()
		for _, r := range all {
			_, err := r.Find(t.Context(), s.Token())
			require.ErrorIs(t, err, ErrUnknown)
			assert.Zero(t, r.Count())
		}
		assert.Len(t, b.ended, 1)
		assert.Empty(t, a.ended, "one of them closes what is open at servers")
		assert.Equal(t, []*Session{s}, a.left)
		<-s.Done()
	})
}

// TestReplicasShareWatches: what a client wants to be told of outlives the replica that it told.
func TestReplicasShareWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: store.NewMemory()}
		all := replicas(t, 2, Options{}, f, f)
		a, b := all[0], all[1]
		s := a.begin(t)
		one, other := Watch{Server: "weather", URI: "secret:///a"}, Watch{Server: "weather", URI: "secret:///b"}
		require.NoError(t, s.SetWatch(t.Context(), one, true))
		found := b.find(t, s.Token())
		assert.Equal(t, []Watch{one}, found.Watches())
		require.NoError(t, found.SetWatch(t.Context(), other, true))
		require.NoError(t, found.SetWatch(t.Context(), one, false))
		require.NoError(t, found.SetWatch(t.Context(), one, false), "once more does no harm")
		synctest.Wait()
		assert.Equal(t, []Watch{other}, s.Watches())
		fields, err := f.Load(t.Context(), recordKey(s.ID()))
		require.NoError(t, err)
		for name, value := range fields {
			assert.NotContains(t, name+value, "secret")
		}
		f.away.Store(true)
		require.ErrorIs(t, s.SetWatch(t.Context(), one, true), ErrStore)
		assert.Equal(t, []Watch{other}, s.Watches())
		alone := create(t, newRegistry(t, Options{}))
		require.NoError(t, alone.SetWatch(t.Context(), one, true))
		assert.Empty(t, alone.Watches(), "there is nobody to tell")
	})
}

// TestOneBackendSession: however many replicas open one at a time, the session has one, and the others close theirs.
func TestOneBackendSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 4, Options{})
		token := all[0].begin(t).Token()
		var wins atomic.Int32
		got := make([]Backend, len(all))
		for i, r := range all {
			s := r.find(t, token)
			go func() {
				mine := Backend{ID: string(rune('a' + i)), Fingerprint: "f"}
				var err error
				if got[i], _, err = s.Agree(t.Context(), "weather", mine); err == nil && got[i] == mine {
					wins.Add(1)
				}
			}()
		}
		synctest.Wait()
		assert.EqualValues(t, 1, wins.Load())
		for i, r := range all {
			have, ok := r.find(t, token).Backend("weather", "f")
			assert.True(t, ok)
			assert.Equal(t, got[0], have)
			assert.Equal(t, got[0], got[i])
		}
		s := all[1].find(t, token)
		next := Backend{ID: "next", Fingerprint: "g"}
		assert.Equal(t, next, all[1].agree(t, s, "weather", next), "a server that is reached in another way has another")
	})
}

// faulty is a store that can be away.
type faulty struct {
	store.Store

	away   atomic.Bool
	before func() // Load returns
}

var errAway = errors.New("away")

func (f *faulty) Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error {
	if f.away.Load() {
		return errAway
	}
	return f.Store.Create(ctx, key, fields, life)
}

func (f *faulty) Load(ctx context.Context, key string) (map[string]string, error) {
	if f.away.Load() {
		return nil, errAway
	}
	fields, err := f.Store.Load(ctx, key)
	if f.before != nil {
		f.before()
	}
	return fields, err
}

func (f *faulty) Swap(ctx context.Context, key, field, old, next string) (string, error) {
	if f.away.Load() {
		return "", errAway
	}
	return f.Store.Swap(ctx, key, field, old, next)
}

func (f *faulty) Delete(ctx context.Context, key string) (bool, error) {
	if f.away.Load() {
		return false, errAway
	}
	return f.Store.Delete(ctx, key)
}

// Subscribe loses what is said while the store is away.
func (f *faulty) Subscribe(ctx context.Context, connected func(), got func([]byte)) {
	f.Store.Subscribe(ctx, func() {}, func(m []byte) {
		if !f.away.Load() {
			got(m)
		}
	})
}

// back has the store be there again.
func (f *faulty) back(ctx context.Context, r *Registry) {
	f.away.Store(false)
	r.connected(ctx)
}

// TestStoreIsAway: what is known here goes on, what needs the store fails clearly, and nothing is half done.
func TestStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory()
		f := &faulty{Store: shared}
		all := replicas(t, 2, Options{}, f, shared)
		a, b := all[0], all[1]
		s, elsewhere := a.begin(t), b.begin(t)
		a.connected(t.Context())
		f.away.Store(true)
		_, err := a.Create(t.Context(), Start{})
		require.ErrorIs(t, err, ErrStore)
		require.NotErrorIs(t, err, ErrUnknown)
		assert.Equal(t, 1, a.Count())
		_, err = a.Find(t.Context(), elsewhere.Token())
		require.ErrorIs(t, err, ErrStore)
		require.NotErrorIs(t, err, ErrUnknown, "a client must not take it for ended")
		_, err = a.Find(t.Context(), s.Token())
		require.NoError(t, err)
		_, _, err = s.Agree(t.Context(), "weather", Backend{ID: "1"})
		require.ErrorIs(t, err, ErrStore)
		assert.Empty(t, s.Backends())
		require.ErrorIs(t, s.SetLogLevel(t.Context(), json.RawMessage(`{}`)), ErrStore)
		require.ErrorIs(t, a.Delete(t.Context(), s), ErrStore)
		_, err = a.Lookup(s.Token())
		require.NoError(t, err, "nothing has ended")

		require.NoError(t, b.Delete(t.Context(), b.find(t, s.Token())), "which the other cannot hear")
		synctest.Wait()
		assert.Equal(t, 1, a.Count())
		f.back(t.Context(), a.Registry)
		synctest.Wait()
		_, err = a.Lookup(s.Token())
		require.ErrorIs(t, err, ErrUnknown, "what was missed is asked for")
		assert.Len(t, a.left, 1)
	})
}

// TestEmptiedStore: a store that has lost all gets what the replicas know.
func TestEmptiedStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{Store: store.NewMemory()}
		all := replicas(t, 2, Options{}, f, f)
		a, b := all[0], all[1]
		a.connected(t.Context())
		b.connected(t.Context())
		s := a.begin(t)
		a.agree(t, s, "weather", Backend{ID: "1", Fingerprint: "f"})
		_, err := f.Store.Delete(t.Context(), recordKey(s.ID()))
		require.NoError(t, err)
		_, err = f.Store.Delete(t.Context(), generationKey)
		require.NoError(t, err)
		a.connected(t.Context())
		b.connected(t.Context())
		found := b.find(t, s.Token())
		assert.Equal(t, s.Backends(), found.Backends())
		assert.Empty(t, a.left)
	})
}

// TestEndedWhileItIsRead: what a replica hears of a session while it reads the record counts.
func TestEndedWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory()
		f := &faulty{Store: shared}
		all := replicas(t, 2, Options{}, shared, f)
		a, b := all[0], all[1]
		s := a.begin(t)
		var once sync.Once
		f.before = func() {
			once.Do(func() {
				require.NoError(t, a.Delete(t.Context(), s))
				time.Sleep(time.Millisecond) // of the bubble: until it is heard
			})
		}
		_, err := b.Find(t.Context(), s.Token())
		require.ErrorIs(t, err, ErrUnknown)
		assert.Zero(t, b.Count())
	})
}

// TestSharedSessionsRest: a session that rests at one replica lives on while another one uses it, and ends once when nobody does.
func TestSharedSessionsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := replicas(t, 2, Options{MaxIdle: time.Hour})
		a, b := all[0], all[1]
		s := a.begin(t)
		b.find(t, s.Token())
		for range 20 {
			time.Sleep(10 * time.Minute)
			b.find(t, s.Token())
		}
		assert.Zero(t, a.Count(), "it has no use for the copy")
		ended, left := a.ends()
		assert.Zero(t, ended)
		assert.Equal(t, 1, left)
		assert.Equal(t, 1, b.Count())
		time.Sleep(2 * time.Hour)
		assert.Zero(t, b.Count())
		ended, _ = b.ends()
		assert.Equal(t, 1, ended)
		_, err := a.Find(t.Context(), s.Token())
		require.ErrorIs(t, err, ErrUnknown)

		s = a.begin(t)
		release := s.Hold()
		time.Sleep(5 * time.Hour)
		assert.Equal(t, s.Token(), b.find(t, s.Token()).Token(), "a stream is open")
		release()
		time.Sleep(3 * time.Hour)
		assert.Zero(t, a.Count()+b.Count())
	})
}

// TestStoreHoldsNoSecrets: who reads the store learns no id of a server's session, and who writes it changes none.
func TestStoreHoldsNoSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory()
		all := replicas(t, 2, Options{}, shared, shared)
		a, b := all[0], all[1]
		s := a.begin(t)
		a.agree(t, s, "weather", Backend{ID: "secret-id", Fingerprint: "f"})
		fields, err := shared.Load(t.Context(), recordKey(s.ID()))
		require.NoError(t, err)
		for name, value := range fields {
			assert.NotContains(t, name+value, "secret-id")
			assert.NotContains(t, name+value, "9007199254740993")
		}
		assert.NotContains(t, recordKey(s.ID()), s.Token())
		assert.NotContains(t, s.Token(), s.ID())
		other := a.begin(t)
		theirs, err := shared.Load(t.Context(), recordKey(other.ID()))
		require.NoError(t, err)
		_, err = shared.Swap(t.Context(), recordKey(s.ID()), fieldStart, fields[fieldStart], theirs[fieldStart])
		require.NoError(t, err)
		_, err = b.Find(t.Context(), s.Token())
		require.ErrorIs(t, err, ErrStore, "a field of another session's")
	})
}
