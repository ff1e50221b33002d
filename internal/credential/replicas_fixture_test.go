package credential

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/store"
)

// records is a store that counts what it is asked, keeps what it is given, and can be made to fail.
type records struct {
	store.Store

	mu     sync.Mutex
	asked  []string
	kept   map[string]string // the fields, by key
	life   time.Duration     // of the last record
	broken func(ctx context.Context, operation string) error
}

func newRecords() *records { return &records{Store: store.NewMemory(), kept: map[string]string{}} }

func (r *records) ask(ctx context.Context, operation string) error {
	r.mu.Lock()
	r.asked = append(r.asked, operation)
	broken := r.broken
	r.mu.Unlock()
	if broken == nil {
		return nil
	}
	return broken(ctx, operation)
}

// Create implements Records.
func (r *records) Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error {
	if err := r.ask(ctx, "create"); err != nil {
		return err
	}
	r.mu.Lock()
	r.kept[key], r.life = fields[fieldToken], life
	r.mu.Unlock()
	return r.Store.Create(ctx, key, fields, life)
}

// Load implements Records.
func (r *records) Load(ctx context.Context, key string) (map[string]string, error) {
	if err := r.ask(ctx, "load"); err != nil {
		return nil, err
	}
	return r.Store.Load(ctx, key)
}

// Swap implements Records.
func (r *records) Swap(ctx context.Context, key, field, old, next string) (string, error) {
	if err := r.ask(ctx, "swap"); err != nil {
		return "", err
	}
	return r.Store.Swap(ctx, key, field, old, next)
}

func (r *records) breaks(how func(ctx context.Context, operation string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = how
}

// take is what was asked since it was last told.
func (r *records) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := strings.Join(r.asked, " ")
	r.asked = nil
	return out
}

func (r *records) all() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.kept)
}

// overwrite puts something in the place of what a record holds.
func (r *records) overwrite(t *testing.T, key, value string) {
	t.Helper()
	require.NoError(t, r.Store.Create(t.Context(), key, map[string]string{fieldToken: value}, time.Hour))
}

func sharedBy(r Records, key session.Key) *Replicas {
	return &Replicas{Records: r, Box: key.Box("tokens"), DigestKey: key.Derive("names")}
}

// gatewayOf are replicas with one store and one authorization server.
func gatewayOf(t *testing.T, n int, as http.RoundTripper) ([]*Manager, *records) {
	t.Helper()
	r, key := newRecords(), session.GenerateKey()
	out := make([]*Manager, n)
	for i := range out {
		out[i], _ = manage(t, as, Options{Replicas: sharedBy(r, key)})
	}
	return out, r
}

// tokenAt is a token that a replica has for a caller.
func tokenAt(t *testing.T, m *Manager, caller string) string {
	t.Helper()
	s := server("weather", config.TokenExchange, oauth())
	return mustToken(t, m.Caller(&s, config.NewSecret(caller)))
}

func noTokenAt(t *testing.T, m *Manager, caller string) error {
	t.Helper()
	s := server("weather", config.TokenExchange, oauth())
	_, err := m.Caller(&s, config.NewSecret(caller)).Token(t.Context())
	require.Error(t, err)
	return err
}

func rejectAt(m *Manager, caller, token string) {
	s := server("weather", config.TokenExchange, oauth())
	m.Caller(&s, config.NewSecret(caller)).Rejected(config.NewSecret(token))
}
