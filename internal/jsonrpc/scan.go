package jsonrpc

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// scanner checks JSON's grammar. Its methods take the index to read at and return the index behind what they read, or
// -1 after they noted a fault. It never recurses: open containers are bits, not stack frames.
type scanner struct {
	b        []byte
	maxDepth int
	deepAt   int      // where the nesting first went beyond maxDepth; 0 is never
	outer    []uint64 // the kinds of the containers around the innermost 64
	faultAt  int
	fault    string
}

// Flags of a scanned string.
const (
	hasEscape = 1 << iota
	hasNonASCII
)

// Masks for reading eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

const endOfInput = "the document ends too early"

func (s *scanner) fail(at int, fault string) int {
	s.faultAt, s.fault = at, fault
	if at >= len(s.b) {
		s.fault = endOfInput
	}
	return -1
}

// space returns the index of the first byte at or after i that is not white space.
func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip reads one value and all that is in it; depth is the number of containers around it.
func (s *scanner) skip(i, depth int) int {
	b := s.b
	var kinds uint64 // one bit for each open container, the innermost lowest; 1 is an object
	open := 0        // containers opened here and not yet closed
	for {
		if i = space(b, i); i >= len(b) {
			return s.fail(i, endOfInput)
		}
		switch c := b[i]; {
		case c|0x20 == '{':
			if open&63 == 0 && open > 0 {
				s.outer = append(s.outer, kinds)
			}
			kinds = kinds<<1 | uint64(c>>5&1) // bit 5 is all that tells { from [
			if open++; depth+open > s.maxDepth && s.deepAt == 0 {
				s.deepAt = i
			}
			i = space(b, i+1)
			if i >= len(b) || b[i] != c+2 { // c+2 is the bracket that closes it; its turn is below
				if kinds&1 == 0 {
					continue
				}
				if i = s.key(i); i < 0 {
					return -1
				}
				continue
			}
		case c == '"':
			if i, _ = skipString(b, i+1); i < 0 {
				return s.failString(^i)
			}
		case c == '-' || c-'0' <= 9:
			if i = skipNumber(b, i); i < 0 {
				return s.fail(^i, "a number needs a digit here")
			}
		default:
			if i = s.literal(i); i < 0 {
				return -1
			}
		}
		// A value is complete, or the container that opened last is empty: close what closes here.
		for {
			if open == 0 {
				return i
			}
			if i = space(b, i); i >= len(b) {
				return s.fail(i, endOfInput)
			}
			if b[i] == ',' {
				break
			}
			if b[i] != ']'+byte(kinds&1)<<5 {
				return s.fail(i, `expected "," or the end of the object or array`)
			}
			i++
			kinds >>= 1
			if open--; open&63 == 0 && open > 0 {
				kinds = s.outer[len(s.outer)-1]
				s.outer = s.outer[:len(s.outer)-1]
			}
		}
		i++
		if kinds&1 == 1 {
			if i = s.key(space(b, i)); i < 0 {
				return -1
			}
		}
	}
}

// key reads a member's key and the colon behind it.
func (s *scanner) key(i int) int {
	b := s.b
	if i >= len(b) || b[i] != '"' {
		return s.fail(i, "expected a member's key in double quotes")
	}
	if i, _ = skipString(b, i+1); i < 0 {
		return s.failString(^i)
	}
	if i = space(b, i); i >= len(b) || b[i] != ':' {
		return s.fail(i, `expected ":"`)
	}
	return i + 1
}

// literal reads true, false or null.
func (s *scanner) literal(i int) int {
	word := ""
	switch s.b[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return s.fail(i, "expected a value")
	}
	for k := range len(word) {
		if i+k >= len(s.b) || s.b[i+k] != word[k] {
			return s.fail(i+k, "expected true, false or null")
		}
	}
	return i + len(word)
}

// skipNumber returns the index behind the number at i, or the complement of the index that should hold a digit. A digit
// behind a leading zero is left for the caller to find out of place.
func skipNumber(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = skipDigits(b, i); i < 0 {
		return i
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return i
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		i = skipDigits(b, i)
	}
	return i
}

func skipDigits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return ^i
	}
	return i
}

// skipString reads a string from behind its opening quote to behind its closing one. It returns the complement of the
// index of a byte that may not be there. Plain ASCII is all that it knows itself.
func skipString(b []byte, i int) (end, flags int) {
	k := i
	for k+8 <= len(b) {
		// Eight bytes at once. A byte's high bit in hit is set for a control character, a quote, a backslash and all
		// that is not ASCII. Borrows may set bits above the first hit, never below it, so the lowest one is right.
		x := binary.LittleEndian.Uint64(b[k : k+8 : k+8])
		hit := ((x - ones*0x20) | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones) | x) & highs
		if hit == 0 {
			k += 8
			continue
		}
		at := bits.TrailingZeros64(hit) &^ 7
		k += at >> 3
		if byte(x>>at) == '"' {
			return k + 1, 0
		}
		break
	}
	return skipAnyString(b, i, k)
}

// skipAnyString is skipString for a string that opens before start and is plain ASCII up to i.
func skipAnyString(b []byte, start, i int) (end, flags int) {
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i : i+8 : i+8])
			hit := ((x - ones*0x20) | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones)) &^ x & highs
			if hit != 0 {
				x &= hit&-hit - 1
				i += bits.TrailingZeros64(hit) >> 3
			}
			if x&highs != 0 {
				flags |= hasNonASCII
			}
			if hit != 0 {
				break
			}
			i += 8
		}
		for i < len(b) && b[i] >= 0x20 && b[i] != '"' && b[i] != '\\' {
			if b[i] >= utf8.RuneSelf {
				flags |= hasNonASCII
			}
			i++
		}
		if i >= len(b) || b[i] < 0x20 {
			return ^i, 0
		}
		if b[i] == '"' {
			break
		}
		flags |= hasEscape
		if i = skipEscape(b, i); i < 0 {
			return i, 0
		}
	}
	if flags&hasNonASCII != 0 && !utf8.Valid(b[start:i]) {
		return ^invalidUTF8(b, start), 0
	}
	return i + 1, flags
}

// skipEscape reads the escape at i, or returns the complement of the index of the byte that spoils it.
func skipEscape(b []byte, i int) int {
	if i++; i >= len(b) {
		return ^i
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for range 4 {
			if i++; i >= len(b) || hexDigit(b[i]) < 0 {
				return ^i
			}
		}
		return i + 1
	}
	return ^i
}

func hexDigit(c byte) rune {
	switch {
	case c-'0' <= 9:
		return rune(c - '0')
	case c|0x20-'a' <= 5:
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// invalidUTF8 returns the index of the first byte at or after i that is not part of valid UTF-8.
func invalidUTF8(b []byte, i int) int {
	for i < len(b) {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		i += size
	}
	return i
}

func (s *scanner) failString(at int) int {
	switch {
	case at >= len(s.b):
		return s.fail(at, endOfInput)
	case s.b[at] < 0x20:
		return s.fail(at, "a control character in a string must be escaped")
	case s.b[at] >= utf8.RuneSelf && invalidUTF8(s.b[at:], 0) == 0:
		return s.fail(at, "invalid UTF-8")
	}
	return s.fail(at, "invalid escape in a string")
}
