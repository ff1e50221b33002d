package app

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestGCPercent: garbage is many times what is live where that is little, and half of it where it is much.
func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 4 << 20: 400, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		assert.Equal(t, want, gcPercent(live), "%d MiB", live>>20)
	}
}
