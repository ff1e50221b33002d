package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLargeEventsWait: what waits for a slow client is counted in bytes, too; but an event that waits for no other may be of any size.
func TestLargeEventsWait(t *testing.T) {
	st, large := newStream(), make([]byte, streamBytes/2+1)
	assert.True(t, st.take(large))
	assert.False(t, st.take(large))
	assert.True(t, st.take(large[:100]))
	assert.Len(t, st.events, 2)
	assert.Equal(t, int64(len(large)+100), st.bytes.Load())
	assert.True(t, newStream().take(make([]byte, 2*streamBytes)))
	full := newStream()
	for range streamBuffer {
		assert.True(t, full.take([]byte("x")))
	}
	assert.False(t, full.take([]byte("x")))
	assert.Equal(t, int64(streamBuffer), full.bytes.Load())
}
