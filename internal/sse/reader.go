package sse

import (
	"errors"
	"fmt"
	"io"
)

// readSize is how many bytes a Reader asks for at once.
const readSize = 16 << 10

// maxEmptyReads is how often in a row a reader may give nothing.
const maxEmptyReads = 100

// Reader reads events as a client does.
type Reader struct {
	r        io.Reader
	splitter Splitter
	buf      []byte
	began    bool // the stream's first block was read
	err      error
}

// NewReader returns a Reader of a stream whose events have at most limit bytes each; 0 is DefaultMax.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: r, splitter: Splitter{Max: limit}, buf: make([]byte, readSize)}
}

// Next waits for the next event that has data, an id or a retry. Its Data is valid until the next call. The error is
// io.EOF at a clean end of the stream, io.ErrUnexpectedEOF if an event was not finished (whatever it was, it must not be
// used), ErrTooLarge, or what reading failed with; the same one again ever after.
func (r *Reader) Next() (Event, error) {
	for {
		block, ok, err := r.splitter.Next()
		switch {
		case err != nil:
			return Event{}, err
		case ok:
			if ev := r.parse(block); ev.HasData || ev.HasID || ev.Retry != "" {
				return ev, nil
			}
		case errors.Is(r.err, io.EOF) && r.unfinished():
			return Event{}, io.ErrUnexpectedEOF
		case r.err != nil:
			return Event{}, r.err
		default:
			r.fill()
		}
	}
}

// parse heeds a byte order mark at the start of the stream only.
func (r *Reader) parse(block []byte) Event {
	if r.began {
		return parse(block)
	}
	r.began = true
	return Parse(block)
}

// fill reads once; a failure is kept until the blocks before it are used up.
func (r *Reader) fill() {
	for range maxEmptyReads {
		n, err := r.r.Read(r.buf)
		r.splitter.Push(r.buf[:n])
		switch {
		case errors.Is(err, io.EOF):
			r.err = io.EOF
		case err != nil:
			r.err = fmt.Errorf("read event stream: %w", err)
		}
		if n > 0 || err != nil {
			return
		}
	}
	r.err = fmt.Errorf("read event stream: %w", io.ErrNoProgress)
}

// unfinished tells whether the stream ended within an event. Comments are not part of one.
func (r *Reader) unfinished() bool {
	rest := r.splitter.Rest()
	if !r.began {
		rest = rest[skipBOM(rest):]
	}
	lines := lines{b: rest}
	for {
		line, _, ok := lines.line()
		if !ok {
			return false
		}
		if len(line) > 0 && line[0] != ':' {
			return true
		}
	}
}
