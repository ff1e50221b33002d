package session

import (
	"crypto/sha256"
	"encoding/hex"
)

// BackendKey is what the session's backend session with a server stands under: the server's fingerprint and, where the server gets a token of
// the caller's, whatever else tells callers apart. A session that is bound to a subject has one caller, whose token may change; any other has
// as many as there are tokens, and none of them may use what was opened with another's.
func (s *Session) BackendKey(fingerprint string, perCaller bool, authorization string) string {
	if !perCaller || s.start.Subject != (Subject{}) {
		return fingerprint
	}
	sum := sha256.Sum256([]byte(authorization))
	return fingerprint + "/" + hex.EncodeToString(sum[:16])
}
