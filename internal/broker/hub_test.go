package broker

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLargeEventsWait: what waits for a slow client is counted in bytes, too; but an event that waits for no other may be of any size.
func TestLargeEventsWait(t *testing.T) {
	st, large := newStream(), make([]byte, streamBytes/2+1)
	assert.True(t, st.push(large))
	assert.False(t, st.push(large))
	<-st.cut
	assert.False(t, st.push(large[:100]), "it is cut")
	assert.Len(t, st.next(), len(large))
	assert.Zero(t, st.bytes)
	assert.True(t, newStream().push(make([]byte, 2*streamBytes)))
	full := newStream()
	for range streamBuffer {
		assert.True(t, full.push([]byte("x")))
	}
	assert.False(t, full.push([]byte("x")))
	assert.Equal(t, streamBuffer, full.bytes)
}
