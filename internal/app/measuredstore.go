package app

import (
	"context"
	"errors"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/store"
	"github.com/guicassolato/mcp-gateway/internal/telemetry"
)

// measuredStore tells how long each operation of a store takes and whether it fails. The store itself stays free of who looks at it.
type measuredStore struct {
	store.Store

	metrics *telemetry.ReplicaMetrics
}

// measure runs an operation. That there is no such record is an answer like any other.
func (s measuredStore) measure(operation string, run func() error) {
	start := time.Now()
	err := run()
	took := time.Since(start)
	if errors.Is(err, store.ErrNoRecord) {
		err = nil
	}
	s.metrics.Operated(operation, took, err)
}

// Create implements store.Store.
func (s measuredStore) Create(ctx context.Context, key string, fields map[string]string, life time.Duration) (err error) {
	s.measure("create", func() error { err = s.Store.Create(ctx, key, fields, life); return err })
	return err
}

// Load implements store.Store.
func (s measuredStore) Load(ctx context.Context, key string) (fields map[string]string, err error) {
	s.measure("load", func() error { fields, err = s.Store.Load(ctx, key); return err })
	return fields, err
}

// Swap implements store.Store.
func (s measuredStore) Swap(ctx context.Context, key, field, old, next string) (now string, err error) {
	s.measure("swap", func() error { now, err = s.Store.Swap(ctx, key, field, old, next); return err })
	return now, err
}

// Extend implements store.Store.
func (s measuredStore) Extend(ctx context.Context, life time.Duration, keys ...string) (there []bool, err error) {
	s.measure("extend", func() error { there, err = s.Store.Extend(ctx, life, keys...); return err })
	return there, err
}

// Delete implements store.Store.
func (s measuredStore) Delete(ctx context.Context, key string) (there bool, err error) {
	s.measure("delete", func() error { there, err = s.Store.Delete(ctx, key); return err })
	return there, err
}

// Publish implements store.Store.
func (s measuredStore) Publish(ctx context.Context, message []byte) (err error) {
	s.measure("publish", func() error { err = s.Store.Publish(ctx, message); return err })
	return err
}

// Subscribe implements store.Store. It lasts as long as the process: what counts is how often it begins anew.
func (s measuredStore) Subscribe(ctx context.Context, connected func(), got func(message []byte)) {
	s.Store.Subscribe(ctx, func() {
		s.metrics.Listening()
		connected()
	}, got)
}
