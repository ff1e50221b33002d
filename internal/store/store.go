// Package store is what replicas of the broker share: records that end by themselves, and messages. It must not know what is in them, nor who
// asks; it makes nothing of this module known to a server but its keys.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoRecord is the error of Swap for a record that is not there (any more).
var ErrNoRecord = errors.New("no such record")

// Store keeps records of a few fields that end by themselves, and carries messages between replicas. It is safe for concurrent use.
//
// A field has a name, and a value that is not empty: an empty value is the same as no field. A record may be without fields. An operation that
// failed may have been done nevertheless, since it may be the answer that was lost. Errors tell neither keys nor fields.
type Store interface {
	// Create makes a record, in place of one with that key. It is never there without an end, whatever fails.
	Create(ctx context.Context, key string, fields map[string]string, life time.Duration) error
	// Load returns the fields of a record, as a map of the caller's own; nil if there is no record.
	Load(ctx context.Context, key string) (map[string]string, error)
	// Swap sets one field of a record to next if it is old now (empty: the field is not there), or removes it where next is empty, and returns
	// what the field is afterwards: next, or what somebody else has put there. Of several that put values of their own, exactly one sees its own;
	// so it may be repeated when its answer was lost. The record's lifetime stays as it is. It returns ErrNoRecord if there is no record; it
	// never makes one.
	Swap(ctx context.Context, key, field, old, next string) (now string, err error)
	// Extend gives records a new lifetime, from now on, and tells which of them are there.
	Extend(ctx context.Context, life time.Duration, keys ...string) ([]bool, error)
	// Delete removes a record, and tells whether it was there.
	Delete(ctx context.Context, key string) (bool, error)
	// Publish sends a message to all replicas that are subscribed, this one included. It does not tell whether there was one, nor whether it
	// came.
	Publish(ctx context.Context, message []byte) error
	// Subscribe hands every message to got, in order, until ctx ends; connected is called each time that messages from then on will come: at
	// first, and after each loss, when messages may have been missed. A got that is slower than the messages for too long is such a loss. It
	// comes back from losses by itself with a backoff. It calls both functions one after the other, and returns when ctx has ended.
	Subscribe(ctx context.Context, connected func(), got func(message []byte))
	// Close ends what the store holds open. Operations fail from then on, except those of a store in memory, which others may share.
	Close() error
}

// checkRecord refuses what no store can keep, the same in all of them: a mistake in the program.
func checkRecord(fields map[string]string, life time.Duration) error {
	for name := range fields {
		if err := checkField(name); err != nil {
			return err
		}
	}
	return checkLife(life)
}

func checkField(name string) error {
	if name == "" {
		return errors.New("a field needs a name")
	}
	return nil
}

func checkLife(life time.Duration) error {
	if life <= 0 {
		return fmt.Errorf("a record's lifetime must be positive, not %v", life)
	}
	return nil
}
