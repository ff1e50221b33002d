package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// Subject stands for the caller that a session is bound to. The zero Subject is a caller without a token.
type Subject [subjectSize]byte

// SubjectOf reads the caller from the value of an Authorization header. It does not verify the token: a session is
// bound to its issuer and subject only because the policy behind the router verifies that same token. A token that is
// not a JWT names nobody.
func SubjectOf(authorization string) Subject {
	scheme, token, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return Subject{}
	}
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 3 {
		return Subject{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Subject{}
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil {
		return Subject{}
	}
	var iss, sub string
	if json.Unmarshal(members["iss"], &iss) != nil || json.Unmarshal(members["sub"], &sub) != nil || iss == "" || sub == "" {
		return Subject{}
	}
	return SubjectFrom(iss, sub)
}

// SubjectFrom is the caller with a verified token of this issuer and subject.
func SubjectFrom(issuer, subject string) Subject {
	// The length keeps two pairs from looking alike when characters move from one to the other.
	sum := sha256.Sum256([]byte(strconv.Itoa(len(issuer)) + ":" + issuer + subject))
	return Subject(sum[:subjectSize])
}
