// Package strongbox encrypts what replicas leave for each other where others may look and write, and binds it to its place: what is taken from one
// place to another cannot be opened there. It must not know whose key it is, nor what is sealed.
package strongbox

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
)

var errShort = errors.New("it is too short to be sealed")

// Box seals and opens with one key. It is safe for concurrent use.
type Box struct{ aead cipher.AEAD }

// NewBox makes a box of a cipher whose nonces may be chosen at random.
func NewBox(aead cipher.AEAD) Box { return Box{aead} }

// Close encrypts what Open gets back for the same place alone. Sealing the same twice gives two different texts.
func (b Box) Close(place string, plain []byte) string {
	nonce := make([]byte, b.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return string(b.aead.Seal(nonce, nonce, plain, []byte(place)))
}

// Open is the reverse of Close. It refuses what was sealed with another key, for another place, or was changed since.
func (b Box) Open(place, sealed string) ([]byte, error) {
	size := b.aead.NonceSize()
	if len(sealed) < size {
		return nil, errShort
	}
	return b.aead.Open(nil, []byte(sealed[:size]), []byte(sealed[size:]), []byte(place))
}
