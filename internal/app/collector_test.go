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

// TestLull: memory is given back once little has been allocated for a while, and only if much had been before.
func TestLull(t *testing.T) {
	var l lull
	all := uint64(0)
	looks := func(n int, each, live uint64) (due []int) {
		for i := range n {
			all += each
			if l.due(all, live) {
				due = append(due, i)
			}
		}
		return due
	}
	assert.Empty(t, looks(20, 10<<20, 30<<20), "it works")
	assert.Equal(t, []int{3}, looks(20, 0, 30<<20), "it rests: once")
	assert.Empty(t, looks(20, 100<<10, 30<<20), "a trickle is not worth a collection")
	assert.Equal(t, []int{61}, looks(70, 100<<10, 30<<20), "it is once it has come together")
	assert.Empty(t, looks(100, 100<<10, 400<<20), "of a large heap later")
	assert.Empty(t, looks(1, 2<<20, 30<<20), "it works again")
	assert.Equal(t, []int{3}, looks(5, 0, 30<<20))
}
