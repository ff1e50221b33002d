package jsonrpc

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

var errNotString = errors.New("not a JSON string")

// Unquote decodes a raw JSON string, which must be all of raw. It refuses what encoding/json replaces: invalid UTF-8 and
// an escape that is half a surrogate pair. Two strings that differ stay different.
func Unquote(raw []byte) (string, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", errNotString
	}
	end, flags := skipString(raw, 1)
	if end != len(raw) {
		return "", errNotString
	}
	body := raw[1 : end-1]
	if flags&hasEscape == 0 {
		return string(body), nil
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); {
		c := body[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		i += 2
		switch c = body[i-1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, size := unicodeEscape(body[i:])
			if r < 0 {
				return "", fmt.Errorf("escape %q is half a surrogate pair", body[i-2:i+4])
			}
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		out = append(out, c)
	}
	return string(out), nil
}

// unicodeEscape reads the digits behind \u, and the second escape of a surrogate pair. It returns -1 for half a pair.
func unicodeEscape(b []byte) (r rune, size int) {
	r = hex4(b)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(b) >= 10 && b[4] == '\\' && b[5] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(b[6:])); pair != utf8.RuneError {
			return pair, 10
		}
	}
	return -1, 0
}

func hex4(b []byte) rune {
	return hexDigit(b[0])<<12 | hexDigit(b[1])<<8 | hexDigit(b[2])<<4 | hexDigit(b[3])
}

// AppendQuote appends s as a JSON string. It escapes what JSON demands and nothing else; bytes that are not UTF-8 become
// U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // all before it is appended
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if i += size; r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[done:i-1]...), "\ufffd"...)
				done = i
			}
			continue
		}
		i++
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[done:i-1]...)
		done = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, s[done:]...), '"')
}
