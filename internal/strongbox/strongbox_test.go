package strongbox

import (
	"crypto/aes"
	"crypto/cipher"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func box(t *testing.T, key byte) Box {
	t.Helper()
	secret := [32]byte{key}
	block, err := aes.NewCipher(secret[:])
	require.NoError(t, err)
	aead, err := cipher.NewGCM(block)
	require.NoError(t, err)
	return NewBox(aead)
}

// TestBox: what is sealed opens with the same key, at the same place, and as it is.
func TestBox(t *testing.T) {
	b := box(t, 1)
	for _, plain := range []string{"", "x", "a secret"} {
		closed := b.Close("place", []byte(plain))
		got, err := b.Open("place", closed)
		require.NoError(t, err)
		assert.Equal(t, plain, string(got))
		assert.NotEqual(t, closed, b.Close("place", []byte(plain)), "nobody sees that it is the same again")

		_, err = b.Open("elsewhere", closed)
		require.Error(t, err)
		_, err = box(t, 2).Open("place", closed)
		require.Error(t, err)
		for i := range len(closed) {
			changed := []byte(closed)
			changed[i] ^= 1
			_, err = b.Open("place", string(changed))
			require.Error(t, err, "byte %d", i)
			_, err = b.Open("place", closed[:i])
			require.Error(t, err, "cut at %d", i)
		}
	}
}
