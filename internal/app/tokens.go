package app

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/guicassolato/mcp-gateway/internal/authn"
)

const (
	// maxTokenHeader is more than a token's first part has, maxTokenHeaders more than an issuer makes of different ones.
	maxTokenHeader  = 1 << 10
	maxTokenHeaders = 256
)

// tokensSeen looks at tokens on their way to Envoy's verification, for one thing only: whether they were signed with a key that Envoy does not have.
// It believes nothing of them.
type tokensSeen struct {
	keys  *authn.Keys
	known atomic.Pointer[knownKeys]
}

// knownKeys are the key ids of one key set, and the first parts of tokens that were found to have one of them. It is never modified.
type knownKeys struct {
	set     *authn.KeySet
	ids     map[string]bool
	headers map[string]bool
}

// see takes the value of an Authorization header. All tokens of one key begin alike, so that nearly every one costs a look into a map.
func (s *tokensSeen) see(authorization string) {
	_, token, _ := strings.Cut(authorization, " ")
	header, _, ok := strings.Cut(strings.TrimLeft(token, " "), ".")
	if !ok || header == "" || len(header) > maxTokenHeader {
		return
	}
	known := s.current()
	if known == nil || known.headers[header] {
		return
	}
	id := keyID(header)
	switch {
	case id == "":
	case !known.ids[id]:
		s.keys.Missed(id)
	case len(known.headers) < maxTokenHeaders:
		next := &knownKeys{set: known.set, ids: known.ids, headers: maps.Clone(known.headers)}
		next.headers[header] = true
		s.known.CompareAndSwap(known, next) // else it is found out once more
	}
}

// current is nil where tokens do not matter.
func (s *tokensSeen) current() *knownKeys {
	set, known := s.keys.Current(), s.known.Load()
	if known != nil && known.set == set {
		return known
	}
	if set.Issuer == "" {
		return nil
	}
	var keys struct{ Keys []struct{ Kid string } }
	if json.Unmarshal(set.JWKS, &keys) != nil {
		return nil
	}
	next := &knownKeys{set: set, ids: map[string]bool{}, headers: map[string]bool{}}
	for _, k := range keys.Keys {
		next.ids[k.Kid] = true
	}
	s.known.Store(next)
	return next
}

// keyID reads the "kid" of a token's first part, empty if there is none.
func keyID(header string) string {
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return ""
	}
	var h struct {
		Kid string `json:"kid"`
	}
	if json.Unmarshal(text, &h) != nil {
		return ""
	}
	return h.Kid
}
