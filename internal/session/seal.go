package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// SealKind tells what a sealed value was on the server's side.
type SealKind byte

// The kinds of sealed values.
const (
	// SealRequest is the id of a server's own request.
	SealRequest SealKind = 'r'
	// SealToken is the progress token of a server's own request.
	SealToken SealKind = 't'
	// SealCallEvent is the SSE event id of a call's stream, SealStreamEvent that of a server's GET stream.
	SealCallEvent   SealKind = 'c'
	SealStreamEvent SealKind = 's'
	// SealInput is the id of a request that the gateway makes for a server without sessions, SealBridgeEvent that of an event of the call's stream.
	SealInput       SealKind = 'i'
	SealBridgeEvent SealKind = 'b'
)

const (
	sealPrefix = "gw."
	sealMAC    = 9 // bytes; enough, since guessing one only reaches the guesser's own session
)

// Seal turns a value that a server chose into one that names the server and is bound to this session, so that what the
// client later sends back under it finds its owner, however many servers choose the same values. The result needs no
// escaping in JSON, in a header or in an event stream.
func (s *Session) Seal(kind SealKind, server string, raw []byte) string {
	var b strings.Builder
	b.Grow(len(sealPrefix) + len(server) + base64.RawURLEncoding.EncodedLen(len(raw)) + 16)
	b.WriteString(sealPrefix)
	b.WriteByte(byte(kind))
	b.WriteByte('.')
	b.WriteString(server)
	b.WriteByte('.')
	b.WriteString(base64.RawURLEncoding.EncodeToString(raw))
	body := b.String()
	return body + "." + s.sealMAC(body)
}

// Unseal is the reverse of Seal. It refuses what this session did not seal.
func (s *Session) Unseal(sealed string) (kind SealKind, server string, raw []byte, ok bool) {
	rest, found := strings.CutPrefix(sealed, sealPrefix)
	if !found || len(rest) < 2 || rest[1] != '.' {
		return 0, "", nil, false
	}
	// The texts are compared, not what they decode to: a decoder takes more than one text for the same bytes.
	dot := strings.LastIndexByte(sealed, '.')
	if !hmac.Equal([]byte(sealed[dot+1:]), []byte(s.sealMAC(sealed[:dot]))) {
		return 0, "", nil, false
	}
	body := strings.TrimSuffix(rest[2:], sealed[dot:])
	dot = strings.LastIndexByte(body, '.')
	if dot < 0 {
		return 0, "", nil, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(body[dot+1:])
	if err != nil {
		return 0, "", nil, false
	}
	return SealKind(rest[0]), body[:dot], raw, true
}

func (s *Session) sealMAC(body string) string {
	m := hmac.New(sha256.New, s.sealKey)
	m.Write(s.id[:])
	m.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:sealMAC])
}
