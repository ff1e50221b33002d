package sse

import "bytes"

// lines goes over the lines of a block. A line ends with LF, CR or CRLF, or with the block.
type lines struct {
	b    []byte
	next int // where the next line starts
	eols eols
}

// line returns the next line without its end, and its end.
func (l *lines) line() (text, end []byte, ok bool) {
	if l.next >= len(l.b) {
		return nil, nil, false
	}
	start, stop := l.next, l.eols.find(l.b, l.next)
	l.next = stop
	if stop < len(l.b) {
		l.next++
		if l.b[stop] == '\r' && l.next < len(l.b) && l.b[l.next] == '\n' {
			l.next++
		}
	}
	return l.b[start:stop:stop], l.b[stop:l.next:l.next], true
}

// eols finds line ends. It remembers the next LF, lest each of many CRs makes it search the rest of the bytes again.
type eols struct {
	lf int // index of the first LF at or after the last place searched from; the length if there was none
}

// find returns the index of the first CR or LF at or after i, or the length of b if there is none.
func (e *eols) find(b []byte, i int) int {
	if e.lf <= i {
		e.lf = len(b)
		if k := bytes.IndexByte(b[i:], '\n'); k >= 0 {
			e.lf = i + k
		}
	}
	if k := bytes.IndexByte(b[i:e.lf], '\r'); k >= 0 {
		return i + k
	}
	return e.lf
}

// field takes a line apart. A line without a colon is a name with an empty value. prefix is all that stands before the
// value; a comment has an empty name.
func field(line []byte) (name, prefix, value []byte) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return line, line, line[len(line):]
	}
	start := colon + 1
	if start < len(line) && line[start] == ' ' {
		start++
	}
	return line[:colon], line[:start], line[start:]
}

const bom = "\xef\xbb\xbf"

// skipBOM returns the length of a byte order mark that b opens with, or 0.
func skipBOM(b []byte) int {
	if len(b) >= len(bom) && string(b[:len(bom)]) == bom {
		return len(bom)
	}
	return 0
}
