package authn

import "errors"

// ErrNoToken is what a request without a bearer token gets.
var ErrNoToken = errors.New("no bearer token")

// ErrNoGrants is what a request without a list of grants gets.
var ErrNoGrants = errors.New("no list of grants")

// Reason says what is wrong with a token. It never holds a part of the token and may be logged, or label a metric.
type Reason string

// The reasons for which a token is refused.
const (
	Malformed       Reason = "it is malformed"
	WrongAlgorithm  Reason = "its algorithm is not allowed"
	WrongIssuer     Reason = "it is of another issuer"
	WrongAudience   Reason = "it is for another audience"
	NoExpiry        Reason = "it never expires"
	Expired         Reason = "it is expired"
	NotYetValid     Reason = "it is not valid yet"
	UnknownKey      Reason = "its key is unknown"
	BadSignature    Reason = "its signature is wrong"
	NoKeys          Reason = "the keys of its issuer are not known"
	UnreadableGrant Reason = "its grants are unreadable"
)

// InvalidToken is the error of a token that is not believed.
type InvalidToken struct {
	Reason Reason
}

// Error implements error.
func (e *InvalidToken) Error() string { return "invalid token: " + string(e.Reason) }

func invalid(r Reason) error { return &InvalidToken{Reason: r} }
