package store_test

import (
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/store"
)

func TestMemory(t *testing.T) {
	s := store.NewMemory()
	testRecords(t, func(*testing.T) store.Store { return s })
}
