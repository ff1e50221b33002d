package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// The least of HTTP/1.1 that the two ends of a measurement need: whole messages over connections that stay open, read from one buffer
// and without an allocation each. What it does not understand is an error, since a benchmark must not guess.

// maxMessage bounds one message, in bytes.
const maxMessage = 64 << 20

// message is one request or response. Its fields point into the buffer it was read from.
type message struct {
	start       []byte // the start line
	session     []byte // Mcp-Session-Id
	mcpMethod   []byte
	mcpName     []byte
	contentType []byte
	body        []byte
}

// errMessage begins every complaint about a peer's HTTP.
var errMessage = errors.New("malformed HTTP message")

// parseMessage reads the message at the beginning of buf. A size of 0 means that there is not all of it yet. A chunked body is put together
// in place, so that buf[:size] must not be parsed again.
func parseMessage(buf []byte) (m message, size int, err error) {
	end := bytes.Index(buf, []byte("\r\n\r\n"))
	if end < 0 {
		return m, 0, nil
	}
	length, chunked, err := m.head(buf[:end])
	if err != nil {
		return m, 0, err
	}
	begin := end + 4
	if chunked {
		size, err := chunksEnd(buf, begin)
		if size > 0 {
			m.body = joinChunks(buf[begin:size])
		}
		return m, size, err
	}
	if size = begin + length; len(buf) < size {
		return m, 0, nil
	}
	m.body = buf[begin:size:size]
	return m, size, nil
}

func (m *message) head(head []byte) (length int, chunked bool, err error) {
	m.start, head, _ = bytes.Cut(head, []byte("\r\n"))
	told := false
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return 0, false, fmt.Errorf("%w: header line %.60q", errMessage, line)
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch {
		case is(name, "content-length"):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxMessage {
				return 0, false, fmt.Errorf("%w: content-length %.60q", errMessage, value)
			}
			told = true
		case is(name, "transfer-encoding"):
			if chunked = is(value, "chunked"); !chunked {
				return 0, false, fmt.Errorf("%w: transfer-encoding %.60q", errMessage, value)
			}
		case is(name, "mcp-session-id"):
			m.session = value
		case is(name, "mcp-method"):
			m.mcpMethod = value
		case is(name, "mcp-name"):
			m.mcpName = value
		case is(name, "content-type"):
			m.contentType = value
		}
	}
	if !told && !chunked && m.isResponse() && !m.bodiless() {
		return 0, false, fmt.Errorf("%w: %.60q has neither content-length nor chunks", errMessage, m.start)
	}
	return length, chunked, nil
}

// is compares without regard to case. The name is in lower case.
func is(field []byte, name string) bool {
	return len(field) == len(name) && bytes.EqualFold(field, []byte(name))
}

// isResponse is for a message that began with a status line.
func (m *message) isResponse() bool { return bytes.HasPrefix(m.start, []byte("HTTP/1.")) }

// status is that of a response, 0 if there is none.
func (m *message) status() int {
	if !m.isResponse() || len(m.start) < 12 {
		return 0
	}
	n, err := strconv.Atoi(string(m.start[9:12]))
	if err != nil {
		return 0
	}
	return n
}

// bodiless responses never have a body, whatever their headers say.
func (m *message) bodiless() bool {
	s := m.status()
	return s/100 == 1 || s == 204 || s == 304
}

// target is the method and path of a request.
func (m *message) target() (method, path []byte) {
	method, rest, _ := bytes.Cut(m.start, []byte(" "))
	path, _, _ = bytes.Cut(rest, []byte(" "))
	return method, path
}

// chunksEnd finds where a chunked body that begins at begin ends, trailers included; 0 if that has not arrived yet.
func chunksEnd(buf []byte, begin int) (int, error) {
	for at := begin; ; {
		size, next, err := chunkSize(buf, at)
		if err != nil || next == 0 {
			return 0, err
		}
		if size == 0 {
			return trailersEnd(buf, next), nil
		}
		if at = next + size + 2; at > len(buf) {
			return 0, nil
		}
		if buf[at-2] != '\r' || buf[at-1] != '\n' {
			return 0, fmt.Errorf("%w: a chunk is longer than its size", errMessage)
		}
	}
}

// chunkSize reads the line with a chunk's size. A next of 0 means that the line has not arrived yet.
func chunkSize(buf []byte, at int) (size, next int, err error) {
	eol := bytes.Index(buf[at:], []byte("\r\n"))
	if eol < 0 {
		return 0, 0, nil
	}
	text, _, _ := bytes.Cut(buf[at:at+eol], []byte(";"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 32)
	if err != nil || n > maxMessage {
		return 0, 0, fmt.Errorf("%w: chunk size %.60q", errMessage, text)
	}
	return int(n), at + eol + 2, nil
}

func trailersEnd(buf []byte, at int) int {
	for {
		eol := bytes.Index(buf[at:], []byte("\r\n"))
		if eol < 0 {
			return 0
		}
		if at += eol + 2; eol == 0 {
			return at
		}
	}
}

// joinChunks moves the data of a whole chunked body together and returns it.
func joinChunks(raw []byte) []byte {
	out := raw[:0]
	for at := 0; ; {
		size, next, err := chunkSize(raw, at)
		if err != nil || size == 0 {
			return out[:len(out):len(out)]
		}
		out = append(out, raw[next:next+size]...)
		at = next + size + 2
	}
}

// wireConn reads messages from a connection.
type wireConn struct {
	net.Conn
	buf      []byte
	from, to int // what was read and belongs to no message yet
}

func newWireConn(c net.Conn) *wireConn { return &wireConn{Conn: c, buf: make([]byte, 32<<10)} }

// next reads one message. It is valid until next is called again. The error is io.EOF if the peer closed between two messages.
func (c *wireConn) next() (message, error) {
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	for {
		if c.to > c.from {
			m, size, err := parseMessage(c.buf[c.from:c.to])
			if err != nil || size > 0 {
				c.from += size
				return m, err
			}
		}
		if err := c.makeRoom(); err != nil {
			return message{}, err
		}
		n, err := c.Read(c.buf[c.to:])
		c.to += n
		if n == 0 && err != nil {
			if c.to > c.from && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return message{}, err
		}
	}
}

func (c *wireConn) makeRoom() error {
	if c.to < len(c.buf) {
		return nil
	}
	if c.from > 0 {
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
		return nil
	}
	if len(c.buf) >= maxMessage {
		return fmt.Errorf("%w: longer than %d bytes", errMessage, maxMessage)
	}
	c.buf = append(c.buf, make([]byte, len(c.buf))...)
	return nil
}
