package consent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// keySize is that of AES-256.
const keySize = 32

var errSealed = errors.New("it was sealed with another key, for something else, or was changed since")

// box seals with AES-256-GCM.
type box struct{ aead cipher.AEAD }

func newBox(key []byte) (box, error) {
	if len(key) != keySize {
		return box{}, fmt.Errorf("the key has %d bytes, want %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return box{}, fmt.Errorf("cannot encrypt: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return box{}, fmt.Errorf("cannot encrypt: %w", err)
	}
	return box{aead}, nil
}

// seal encrypts what can be opened with the same parts only, in the same order.
func (b box) seal(plain []byte, bound ...string) []byte {
	return b.aead.Seal(nil, nil, plain, join(bound...))
}

func (b box) open(sealed []byte, bound ...string) ([]byte, error) {
	plain, err := b.aead.Open(nil, nil, sealed, join(bound...))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// join is different for all different lists, wherever characters move from one part to the next.
func join(parts ...string) []byte {
	var out []byte
	for _, p := range parts {
		out = append(binary.BigEndian.AppendUint64(out, uint64(len(p))), p...)
	}
	return out
}

// mac is a digest of the parts that only who has the key can make.
func mac(key []byte, parts ...string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(join(parts...))
	return m.Sum(nil)
}

// randomKey is one for this run.
func randomKey() []byte {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // it never fails
	return key
}
