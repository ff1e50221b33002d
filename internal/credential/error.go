package credential

import (
	"errors"
	"fmt"
)

// Error says why there is no token.
type Error struct {
	// Server is the URL that was asked.
	Server string
	// Code is the authorization server's own, such as "invalid_grant", where it refused what it was asked for, and empty where it failed.
	Code string
	text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("no token from %q: %s", e.Server, e.text) }

// CallerRefused tells whether it is the caller's token that the authorization server does not take, or not for this server. RFC 8693 has it
// say invalid_request of a token that is expired, revoked or otherwise not accepted, where others say invalid_grant.
func (e *Error) CallerRefused() bool {
	switch e.Code {
	case "invalid_grant", "invalid_target", "invalid_request", "access_denied", "invalid_token":
		return true
	}
	return false
}

// refused tells whether an authorization server has said no, rather than nothing.
func refused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code != ""
}

// ErrNoSubject means that a call with a token of the caller's is to be made, and the caller came with none.
var ErrNoSubject = errors.New("the call has no bearer token that could be exchanged")

// ErrNotGiven means that a call with a credential of the caller's is to be made, and the caller has given none, or one that the server refused.
var ErrNotGiven = errors.New("the caller has given no credential that the server accepts")
