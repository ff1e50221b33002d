// Package tracecontext reads and writes traceparents of W3C's Trace Context, and decides which traces are kept, by the rules of OpenTelemetry's samplers.
// Whoever routes needs no more than that of a trace, in Envoy's process as well. It is a leaf: it must not know what spans are made of, nor of what.
package tracecontext

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// Parent is what a traceparent says.
type Parent struct {
	Trace [16]byte
	Span  [8]byte
	// Kept tells that the trace is sampled.
	Kept bool
}

// Length is that of a traceparent of the version that is written here.
const Length = 2 + 1 + 32 + 1 + 16 + 1 + 2

// String is the traceparent.
func (p Parent) String() string {
	text := append(make([]byte, 0, Length), "00-"...)
	text = append(hex.AppendEncode(text, p.Trace[:]), '-')
	text = append(hex.AppendEncode(text, p.Span[:]), "-00"...)
	if p.Kept {
		text[Length-1] = '1'
	}
	return string(text)
}

// Parse reads a traceparent. One of a later version may be longer.
func Parse[T string | []byte](text T) (p Parent, ok bool) {
	if len(text) < Length || text[2] != '-' || text[35] != '-' || text[52] != '-' || len(text) > Length && text[Length] != '-' {
		return Parent{}, false
	}
	var version, flags [1]byte
	if !read(version[:], text) || !read(p.Trace[:], text[3:]) || !read(p.Span[:], text[36:]) || !read(flags[:], text[53:]) {
		return Parent{}, false
	}
	if version[0] == 0xff || version[0] == 0 && len(text) > Length || p.Trace == [16]byte{} || p.Span == [8]byte{} {
		return Parent{}, false
	}
	p.Kept = flags[0]&1 != 0
	return p, true
}

// read reads as many bytes as there are to fill. The hex digits of a traceparent are small letters, so that package hex would take too much.
func read[T string | []byte](into []byte, text T) bool {
	for i := range into {
		high, low := digit(text[2*i]), digit(text[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		into[i] = high<<4 | low
	}
	return true
}

// digit is the value of a hex digit, and more than one has if it is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

// Sampling says whether the gateway takes part in traces, and in which. It is plain data, which other processes are told.
type Sampling struct {
	// On is false where nobody wants traces: then a client's headers pass by as they are.
	On bool
	// FollowParent leaves the decision to the client where it has made one.
	FollowParent bool
	// Ratio of the other traces are kept: none with 0, all with 1.
	Ratio float64
}

// Begin is the gateway's own span in the trace of a client's traceparent, and whether that is one: else it is in a new trace. It takes no lock.
func (s Sampling) Begin(traceparent string) (own Parent, ok bool) {
	own, ok = Parse(traceparent)
	if !ok {
		binary.NativeEndian.PutUint64(own.Trace[:], random())
		binary.NativeEndian.PutUint64(own.Trace[8:], random())
	}
	binary.NativeEndian.PutUint64(own.Span[:], random())
	if !ok || !s.FollowParent {
		own.Kept = s.keeps(own.Trace)
	}
	return own, ok
}

// keeps decides by the trace's id alone, as OpenTelemetry's TraceIDRatioBased does: whoever else decides so with the same ratio keeps the same traces.
func (s Sampling) keeps(trace [16]byte) bool {
	switch {
	case s.Ratio >= 1:
		return true
	case s.Ratio <= 0:
		return false
	default:
		return binary.BigEndian.Uint64(trace[8:])>>1 < uint64(s.Ratio*(1<<63))
	}
}

// random is never 0, which is no id. Ids have to differ, and nobody must be kept from guessing them.
func random() uint64 {
	for {
		if n := rand.Uint64(); n != 0 { //nolint:gosec // see above
			return n
		}
	}
}
