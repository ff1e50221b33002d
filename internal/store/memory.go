package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// minSwept is how many records may be there before those that have ended are looked for.
	minSwept = 1024
	// maxWaiting is how many bytes of messages wait for a subscriber, as with Redis by default, before it has lost them.
	maxWaiting = 32 << 20
)

// memory is a Store within one process. It runs nothing in the background: records that have ended are removed when they are met, or all of them
// when twice as many records are there as were left the last time, so that there are never more than that, and each Create costs little.
type memory struct {
	mu          sync.Mutex
	records     map[string]record
	sweepAt     int
	subscribers []*subscriber
}

type record struct {
	fields map[string]string
	end    time.Time
}

// subscriber is one Subscribe as long as it runs.
type subscriber struct {
	wake chan struct{} // holds one token while there is something new

	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	lost    bool // messages before those that wait; true at first
}

// NewMemory returns a Store within one process, for tests and for one replica. Several replicas in one test may share it: Close does nothing.
func NewMemory() Store { return &memory{records: map[string]record{}, sweepAt: minSwept} }

func (m *memory) Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error {
	if err := errors.Join(ctx.Err(), checkRecord(fields, life)); err != nil {
		return fmt.Errorf("create a record in memory: %w", err)
	}
	fields = maps.Clone(fields)
	if fields == nil {
		fields = map[string]string{}
	}
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if len(m.records) >= m.sweepAt {
		maps.DeleteFunc(m.records, func(_ string, r record) bool { return !now.Before(r.end) })
		m.sweepAt = max(minSwept, 2*len(m.records))
	}
	m.records[key] = record{fields: fields, end: now.Add(life)}
	return nil
}

func (m *memory) Load(ctx context.Context, key string) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load a record from memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, _ := m.get(key)
	return maps.Clone(r.fields), nil
}

// get is called with the lock held.
func (m *memory) get(key string) (record, bool) {
	r, ok := m.records[key]
	if ok && !time.Now().Before(r.end) {
		delete(m.records, key)
		return record{}, false
	}
	return r, ok
}

func (m *memory) Swap(ctx context.Context, key, field, old, next string) (string, error) {
	if err := errors.Join(ctx.Err(), checkField(field)); err != nil {
		return "", fmt.Errorf("swap a field of a record in memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.get(key)
	if !ok {
		return "", fmt.Errorf("swap a field of a record in memory: %w", ErrNoRecord)
	}
	switch now := r.fields[field]; {
	case now != old:
		return now, nil
	case next == "":
		delete(r.fields, field)
	default:
		r.fields[field] = next
	}
	return next, nil
}

func (m *memory) Extend(ctx context.Context, life time.Duration, keys ...string) ([]bool, error) {
	if err := errors.Join(ctx.Err(), checkLife(life)); err != nil {
		return nil, fmt.Errorf("extend records in memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	there := make([]bool, len(keys))
	for i, key := range keys {
		var r record
		if r, there[i] = m.get(key); there[i] {
			r.end = time.Now().Add(life)
			m.records[key] = r
		}
	}
	return there, nil
}

func (m *memory) Delete(ctx context.Context, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("delete a record in memory: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.get(key)
	delete(m.records, key)
	return ok, nil
}

func (m *memory) Publish(ctx context.Context, message []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish a message in memory: %w", err)
	}
	// Under the lock, so that all subscribers get messages in one order.
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.subscribers {
		s.put(slices.Clone(message))
	}
	return nil
}

func (m *memory) Subscribe(ctx context.Context, connected func(), got func(message []byte)) {
	s := &subscriber{wake: make(chan struct{}, 1), lost: true}
	m.mu.Lock()
	m.subscribers = append(m.subscribers, s)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.subscribers = slices.DeleteFunc(m.subscribers, func(other *subscriber) bool { return other == s })
	}()
	for ctx.Err() == nil {
		messages, lost := s.take()
		if lost {
			connected()
		}
		for _, message := range messages {
			if ctx.Err() != nil {
				return
			}
			got(message)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		}
	}
}

func (*memory) Close() error { return nil }

// put never waits, since got may publish. What it cannot keep is lost, all of it: half of the messages would be no order.
func (s *subscriber) put(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += len(message)
	s.waiting = append(s.waiting, message)
	if s.bytes > maxWaiting {
		s.waiting, s.bytes, s.lost = nil, 0, true
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take is what waits. Where messages were lost before, the subscriber must hear of that before it gets those.
func (s *subscriber) take() (messages [][]byte, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	messages, lost = s.waiting, s.lost
	s.waiting, s.bytes, s.lost = nil, 0, false
	return messages, lost
}
