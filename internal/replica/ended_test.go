package replica

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestShelf: it is told of once that it is full, what nobody takes is bounded, and once it has been taken there is room again.
func TestShelf(t *testing.T) {
	var s shelf
	call := bytes.Repeat([]byte("c"), 1000)
	full := 0
	for range 2 * shelfEnd / len(call) {
		if s.add(call) {
			full++
		}
	}
	assert.Equal(t, 1, full)
	got := s.take(nil)
	assert.LessOrEqual(t, len(got), shelfEnd)
	assert.Greater(t, len(got), shelfEnd-len(call))
	assert.Zero(t, len(got)%len(call), "calls are whole")
	assert.Empty(t, s.take(nil))
	for range shelfFull/len(call) + 1 {
		if s.add(call) {
			full++
		}
	}
	assert.Equal(t, 2, full)
}
