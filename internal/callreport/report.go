// Package callreport has what is told of a request once it has ended, whoever tells it, and the form in which the router inside of Envoy tells it to the
// process beside. It must not know who asks, nor what is made of it.
package callreport

import (
	"encoding/binary"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// Call is one request, once it has ended.
type Call struct {
	Start time.Time
	// Duration is all of it, Upstream the part from the first byte to the server to the last byte from it; zero where it got no answer of one.
	Duration, Upstream time.Duration
	// Broker tells that the broker has answered.
	Broker bool
	// Status is what the client got, 0 if it left before.
	Status int
	Kind
	Own
}

// Kind is what calls that are alike have in common, by the keys of the router's metadata.
type Kind struct{ Method, Server, Tool, Prompt, PublicName, Revision string }

// Own are the facts of which most calls have values of their own. They are good until whoever takes the call returns.
type Own struct{ Resource, ID, Trace, TraceParent []byte }

// The places of the facts are their numbers in a report.
const (
	kindCount = 6
	factCount = 10
)

// facts are the keys of what is wanted of a router's metadata: those of a Kind, then those of an Own.
func facts() [factCount]string {
	return [...]string{
		wire.KeyMethod, wire.KeyServer, wire.KeyTool, wire.KeyPrompt, wire.KeyPublicName, wire.KeyRevision,
		wire.KeyResource, wire.KeyID, wire.KeyTrace, wire.KeyTraceParent,
	}
}

// text is the place of a fact of a Kind.
func (k *Kind) text(n int) *string {
	return [...]*string{&k.Method, &k.Server, &k.Tool, &k.Prompt, &k.PublicName, &k.Revision}[n]
}

// bytes is the place of a fact of an Own, of which the number counts on.
func (o *Own) bytes(n int) *[]byte {
	return [...]*[]byte{&o.Resource, &o.ID, &o.Trace, &o.TraceParent}[n-kindCount]
}

// number is that of a fact, or -1 if nobody wants it. It is asked for each fact of each call.
func number(key string) int {
	switch key {
	case wire.KeyMethod:
		return 0
	case wire.KeyServer:
		return 1
	case wire.KeyTool:
		return 2
	case wire.KeyPrompt:
		return 3
	case wire.KeyPublicName:
		return 4
	case wire.KeyRevision:
		return 5
	case wire.KeyResource:
		return 6
	case wire.KeyID:
		return 7
	case wire.KeyTrace:
		return 8
	case wire.KeyTraceParent:
		return 9
	default:
		return -1
	}
}

// AppendFact writes a fact, if somebody wants it.
func AppendFact(b []byte, key, value string) []byte {
	n := number(key)
	if n < 0 {
		return b
	}
	b = append(b, byte(n))
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// Append writes a call whose facts have been written by AppendFact; those of the call itself are not looked at.
func Append(b []byte, c *Call, facts []byte) []byte {
	var head [4*binary.MaxVarintLen64 + 1]byte
	h := binary.AppendVarint(head[:0], c.Start.UnixNano())
	h = binary.AppendUvarint(h, uint64(max(0, c.Duration)))
	h = binary.AppendUvarint(h, uint64(max(0, c.Upstream)))
	h = binary.AppendUvarint(h, uint64(max(0, c.Status)))
	broker := byte(0)
	if c.Broker {
		broker = 1
	}
	h = append(h, broker)
	b = binary.AppendUvarint(b, uint64(len(h)+len(facts)))
	return append(append(b, h...), facts...)
}

// Reader reads what one writer has written. It is for one goroutine.
type Reader struct {
	call   Call
	before Kind              // of the call before, which most are like
	texts  map[string]string // each under itself
}

// Begin begins another call, which is good until the next one begins.
func (r *Reader) Begin() *Call {
	r.before = r.call.Kind
	r.call = Call{}
	return &r.call
}

// Fact takes a fact of the call that has begun, if somebody wants it.
func (r *Reader) Fact(key, value []byte) {
	if n := number(string(key)); n >= 0 {
		r.take(n, value)
	}
}

func (r *Reader) take(n int, value []byte) {
	if n >= kindCount {
		*r.call.bytes(n) = value
		return
	}
	text := *r.before.text(n)
	if text != string(value) {
		text = r.text(value)
	}
	*r.call.text(n) = text
}

// maxTexts is how many values of facts are remembered at most.
const maxTexts = 4096

// text is a value that other calls have as well, which is in memory once.
func (r *Reader) text(value []byte) string {
	if known, ok := r.texts[string(value)]; ok {
		return known
	}
	if r.texts == nil || len(r.texts) >= maxTexts {
		r.texts = map[string]string{}
	}
	text := string(value)
	r.texts[text] = text
	return text
}

// Each reads calls that Append has written one behind the other, and tells whether all of them are whole.
func (r *Reader) Each(b []byte, take func(*Call)) bool {
	for len(b) > 0 {
		call, rest, ok := chunk(b)
		if !ok {
			return false
		}
		c, ok := r.read(call)
		if !ok {
			return false
		}
		take(c)
		b = rest
	}
	return true
}

func (r *Reader) read(b []byte) (c *Call, ok bool) {
	c = r.Begin()
	start, n := binary.Varint(b)
	if n <= 0 {
		return c, false
	}
	b = b[n:]
	var numbers [3]uint64
	for i := range numbers {
		if numbers[i], n = binary.Uvarint(b); n <= 0 {
			return c, false
		}
		b = b[n:]
	}
	if len(b) == 0 {
		return c, false
	}
	c.Start = time.Unix(0, start).UTC()
	c.Duration, c.Upstream, c.Status = time.Duration(numbers[0]), time.Duration(numbers[1]), int(numbers[2]) //nolint:gosec // as they were written
	c.Broker = b[0] == 1
	for b = b[1:]; len(b) > 0; {
		key := int(b[0])
		value, rest, ok := chunk(b[1:])
		if !ok || key >= factCount {
			return c, false
		}
		r.take(key, value)
		b = rest
	}
	return c, true
}

// chunk takes off what has its length before it.
func chunk(b []byte) (value, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true //nolint:gosec // it is shorter than b
}
