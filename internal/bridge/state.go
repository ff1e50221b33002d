package bridge

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// StateKind is what a requestState of the gateway's own stands for.
type StateKind byte

// The kinds of states.
const (
	// StateHeld is of a call that is held open at its server.
	StateHeld StateKind = 'h'
	// StateURL is of a call that failed because its user has to open a URL first.
	StateURL StateKind = 'u'
)

// State is what the gateway needs to know of a call again when its client comes back with input.
type State struct {
	Kind StateKind
	// Call is the held call's.
	Call [16]byte
	// Round counts how often the client was asked.
	Round   uint16
	Expires time.Time
	// Home is the name of the replica that holds the call.
	Home string
}

// Binding is what a state is good for, and nothing else.
type Binding struct {
	// Caller tells callers apart.
	Caller                []byte
	VirtualServer, Server string
	// Request is the digest of the call.
	Request [sha256.Size]byte
}

// A state is base64url of: format (1 byte), kind (1), call (16), round (2), expiry (Unix seconds, 8), home (the rest), MAC (16).
const (
	stateFormat = 1
	stateBody   = 1 + 1 + 16 + 2 + 8
	stateMAC    = 16
)

// ErrState is the error for a state that the gateway did not give for this call to this caller: which of these is nobody's business. ErrStateExpired is
// for one that it did give, too long ago.
var (
	ErrState        = errors.New("params.requestState is none that this gateway gave for this request")
	ErrStateExpired = errors.New("the time to answer has passed, and the call is over: make it again without requestState and inputResponses")
)

// Seal makes the state's text. It holds nothing of what it is bound to.
func (s State) Seal(key []byte, b Binding) string {
	out := make([]byte, 0, stateBody+len(s.Home)+stateMAC)
	out = append(out, stateFormat, byte(s.Kind))
	out = append(out, s.Call[:]...)
	out = binary.BigEndian.AppendUint16(out, s.Round)
	out = binary.BigEndian.AppendUint64(out, uint64(s.Expires.Unix()))
	out = append(out, s.Home...)
	out = append(out, b.mac(key, out)...)
	return base64.RawURLEncoding.EncodeToString(out)
}

// OpenState reads the text of a state.
func OpenState(key []byte, text string, b Binding, now time.Time) (State, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder passes over line ends, so that one state could have several texts.
	if err != nil || len(raw) < stateBody+stateMAC || len(text) != base64.RawURLEncoding.EncodedLen(len(raw)) || raw[0] != stateFormat {
		return State{}, ErrState
	}
	body, mac := raw[:len(raw)-stateMAC], raw[len(raw)-stateMAC:]
	if !hmac.Equal(mac, b.mac(key, body)) {
		return State{}, ErrState
	}
	s := State{Kind: StateKind(raw[1]), Round: binary.BigEndian.Uint16(raw[18:]), Home: string(body[stateBody:])}
	copy(s.Call[:], raw[2:])
	s.Expires = time.Unix(int64(binary.BigEndian.Uint64(raw[20:])), 0)
	if !now.Before(s.Expires) {
		return s, ErrStateExpired
	}
	return s, nil
}

func (b Binding) mac(key, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, part := range [][]byte{body, b.Caller, []byte(b.VirtualServer), []byte(b.Server), b.Request[:]} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part))) // lest bytes move from one part to the next
		m.Write(size[:])
		m.Write(part)
	}
	return m.Sum(nil)[:stateMAC]
}

// Digest stands for what a request asks: its method and its params without _meta, inputResponses and requestState. A client may write the same
// params in another order or with other spaces when it makes the request again.
func Digest(m *jsonrpc.Message) [sha256.Size]byte {
	params := map[string]json.RawMessage{}
	for member := range m.ParamMembers() {
		key, err := jsonrpc.Unquote(member.Key.Of(m.Body))
		if err != nil || key == "_meta" || isRetryMember(key) {
			continue
		}
		params[key] = canonical(member.Value.Of(m.Body))
	}
	sum := sha256.New()
	_, _ = io.WriteString(sum, m.MethodName()+"\x00")
	text, err := json.Marshal(params) // with sorted keys
	if err != nil {
		text = m.Params.Of(m.Body) // then it must be the same bytes
	}
	sum.Write(text)
	return [sha256.Size]byte(sum.Sum(nil))
}

// canonical is a value with sorted keys and without spaces, numbers as they are written.
func canonical(raw json.RawMessage) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return raw
	}
	text, err := json.Marshal(value)
	if err != nil {
		return raw
	}
	return text
}
