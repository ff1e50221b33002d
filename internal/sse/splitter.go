package sse

import "errors"

// ErrTooLarge means that one event has more bytes than allowed.
var ErrTooLarge = errors.New("event is larger than the limit")

// DefaultMax is how many bytes one event may have if nobody says.
const DefaultMax = 4 << 20

// keepBuffer is the largest buffer that an idle Splitter holds on to.
const keepBuffer = 64 << 10

// Splitter cuts a stream into raw blocks: one event, or comments alone, with the blank line that ends it. A blank line
// with nothing before it is a block too. The zero Splitter is ready for use, by one goroutine.
//
//	s.Push(chunk)
//	for {
//		block, ok, err := s.Next()
//		...
//	}
//
// The events do not depend on where the chunks are cut. The blocks do in one place: if a chunk ends between the CR and the
// LF of a blank line, then the event is complete and is not held back for a LF that may never come. The LF, if it does
// come, is a block of its own, in which there is nothing.
type Splitter struct {
	Max int // bytes that one event may have; 0 or less is DefaultMax

	b        []byte // all that is not yet handed out, and before start what is
	start    int    // of the current block
	lineFrom int    // start of the current line
	scanned  int    // no line end is in b[lineFrom:scanned]
	eols     eols
	afterCR  bool   // b[scanned] is part of the line end before it if it is a LF
	borrowed bool   // b is the caller's chunk
	own      []byte // the buffer for what must be kept
	err      error
}

// Push adds the stream's next bytes. They are read in place: chunk must not change until Next says that there is no
// further block, or Push is called again. After ErrTooLarge, Push does nothing.
func (s *Splitter) Push(chunk []byte) {
	if s.err != nil || len(chunk) == 0 {
		return
	}
	switch left := s.b[s.start:]; {
	case len(left) == 0:
		if cap(s.own) > keepBuffer {
			s.own = nil
		}
		s.forget()
		s.b, s.borrowed = chunk[:len(chunk):len(chunk)], true
		return
	case s.borrowed:
		s.keep()
	case len(left) <= s.start: // fewer bytes to move than were handed out since the last time
		s.own = append(s.own[:0], left...)
		s.forget()
	}
	s.own = append(s.own, chunk...)
	s.b, s.eols = s.own, eols{}
}

// Next returns the next complete block, or false if more bytes are needed. The block is valid until the next Push, and
// appending to it does not write into what follows. A block that is too large is ErrTooLarge, then and ever after.
func (s *Splitter) Next() (block []byte, ok bool, err error) {
	if s.err != nil {
		return nil, false, s.err
	}
	if s.afterCR && s.scanned < len(s.b) {
		s.afterCR = false
		if s.b[s.scanned] == '\n' {
			s.scanned++
			s.lineFrom = s.scanned
			if s.start == s.scanned-1 {
				return s.cut(s.scanned), true, nil // the block with the CR is gone already
			}
		}
	}
	for s.scanned < len(s.b) {
		end := s.eols.find(s.b, s.scanned)
		s.scanned = end
		if end == len(s.b) {
			break
		}
		blank := end == s.lineFrom
		if blank && end+1-s.start > s.limit() {
			return nil, false, s.tooLarge()
		}
		s.scanned++
		if s.b[end] == '\r' {
			if s.scanned == len(s.b) {
				s.afterCR = true
			} else if s.b[s.scanned] == '\n' {
				s.scanned++
			}
		}
		s.lineFrom = s.scanned
		if blank {
			return s.cut(s.scanned), true, nil
		}
	}
	if len(s.b)-s.start > s.limit() {
		return nil, false, s.tooLarge()
	}
	if s.borrowed {
		s.keep()
	}
	return nil, false, nil
}

// Rest returns the bytes that no block has had yet; once Next has said that there is no further block, those of an
// unfinished event. They are valid until the next Push.
func (s *Splitter) Rest() []byte { return s.b[s.start:len(s.b):len(s.b)] }

func (s *Splitter) limit() int {
	if s.Max <= 0 {
		return DefaultMax
	}
	return s.Max
}

func (s *Splitter) tooLarge() error {
	if s.borrowed {
		s.keep()
	}
	s.err = ErrTooLarge
	return s.err
}

// cut returns the block up to end, where the next one starts.
func (s *Splitter) cut(end int) []byte {
	block := s.b[s.start:end:end]
	s.start = end
	return block
}

// keep takes what is left of the caller's chunk into a buffer of our own.
func (s *Splitter) keep() {
	s.own = append(s.own[:0], s.b[s.start:]...)
	s.forget()
	s.b, s.borrowed = s.own, false
}

// forget adapts the positions to a buffer that begins with the current block.
func (s *Splitter) forget() {
	s.lineFrom -= s.start
	s.scanned -= s.start
	s.start = 0
	s.eols = eols{}
}
