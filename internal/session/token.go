package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/strongbox"
)

// Key is the secret of which everything that the gateway signs is derived. Replicas must share it.
type Key struct {
	// The pointer keeps the value from printers that look into unexported fields, where no method of Key is asked. It is
	// one to a string, since package fmt follows those to slices in some cases.
	secret *string
}

// MinKeySize is the least length of a key in bytes.
const MinKeySize = 32

// NewKey makes a key of given bytes, as an operator configured them.
func NewKey(secret []byte) (Key, error) {
	if len(secret) < MinKeySize {
		return Key{}, fmt.Errorf("session key has %d bytes, it needs at least %d", len(secret), MinKeySize)
	}
	own := string(secret)
	return Key{secret: &own}, nil
}

// GenerateKey makes a random key for this run.
func GenerateKey() Key {
	b := make([]byte, MinKeySize)
	_, _ = rand.Read(b) // never fails since Go 1.24
	own := string(b)
	return Key{secret: &own}
}

// Format keeps the key out of logs, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// String keeps the key out of logs.
func (Key) String() string { return "[redacted]" }

// GoString keeps the key out of logs.
func (Key) GoString() string { return "[redacted]" }

// Derive makes the key for one purpose, so that no two uses share one.
func (k Key) Derive(purpose string) []byte {
	if k.secret == nil {
		k = GenerateKey() // no key was given: what is derived of nothing could be guessed
	}
	m := hmac.New(sha256.New, []byte(*k.secret))
	m.Write([]byte("mcp-gateway/v1/" + purpose))
	return m.Sum(nil)
}

// Box seals what replicas alone may read, by AES-256-GCM, for one purpose.
func (k Key) Box(purpose string) strongbox.Box {
	block, err := aes.NewCipher(k.Derive(purpose))
	if err != nil {
		panic(err) //nolint:forbidigo // it cannot be: a derived key has 32 bytes
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) //nolint:forbidigo // likewise: AES has blocks of the right size
	}
	return strongbox.NewBox(seal)
}

// A token is base64url of: format (1 byte), expiry (Unix seconds, 8 bytes), id (16 bytes), caller (16 bytes), MAC (16 bytes).
const (
	tokenFormat = 1
	tokenBody   = 1 + 8 + idSize + subjectSize
	tokenMAC    = 16
	tokenSize   = tokenBody + tokenMAC
	idSize      = 16
	subjectSize = 16
)

// ErrUnknown is the error for a token that is forged, expired, deleted or of another gateway. A client answers it by
// initializing anew, so which it was is not told apart.
var ErrUnknown = errors.New("unknown or expired session")

// ErrGone is the ErrUnknown for a token that was truly ours: its session was deleted, or was held by another process.
var ErrGone = fmt.Errorf("%w: it has ended", ErrUnknown)

type claims struct {
	id      [idSize]byte
	subject Subject
	expires time.Time
}

func (r *Registry) sign(c claims) string {
	b := make([]byte, 0, tokenSize)
	b = append(b, tokenFormat)
	b = binary.BigEndian.AppendUint64(b, uint64(c.expires.Unix()))
	b = append(b, c.id[:]...)
	b = append(b, c.subject[:]...)
	b = append(b, tokenMACOf(r.tokenKey, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func tokenMACOf(key, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(body)
	return m.Sum(nil)[:tokenMAC]
}

// verify tells what a token says if this gateway, or a replica with the same key, signed it and it has not expired.
func (r *Registry) verify(token string) (claims, error) { return verify(r.tokenKey, token, r.now()) }

func verify(key []byte, token string, now time.Time) (claims, error) {
	var c claims
	if base64.RawURLEncoding.DecodedLen(len(token)) != tokenSize {
		return c, ErrUnknown
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	// The decoder skips line ends, so that the length must be looked at again.
	if err != nil || len(b) != tokenSize || b[0] != tokenFormat || !hmac.Equal(b[tokenBody:], tokenMACOf(key, b[:tokenBody])) {
		return c, ErrUnknown
	}
	c.expires = time.Unix(int64(binary.BigEndian.Uint64(b[1:9])), 0)
	copy(c.id[:], b[9:])
	copy(c.subject[:], b[9+idSize:])
	if !now.Before(c.expires) {
		return c, ErrUnknown
	}
	return c, nil
}
