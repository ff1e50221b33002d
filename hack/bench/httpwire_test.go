package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	plainAnswer   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\nMCP-SESSION-ID:  abc \r\n\r\nhello"
	chunkedAnswer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n002;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
	plainRequest  = "POST /sessionful/mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
)

func TestParseMessage(t *testing.T) {
	for _, c := range []struct {
		name, in      string
		status        int
		body, session string
	}{
		{"length", plainAnswer, 200, "hello", "abc"},
		{"chunks, an extension and a trailer", chunkedAnswer, 200, "hello", ""},
		{"only the last chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", ""},
		{"no body", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, "", ""},
		{"204 needs no length", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", ""},
		{"no reason, no headers of ours", "HTTP/1.1 503\r\nserver: x\r\ncontent-length: 1\r\n\r\n!", 503, "!", ""},
		{"request", plainRequest, 0, "{}", ""},
		{"request without a body", "DELETE /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: s\r\n\r\n", 0, "", "s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, size, err := parseMessage([]byte(c.in + "HTTP/1.1 200 O"))
			require.NoError(t, err)
			assert.Equal(t, len(c.in), size, "the next message must be left alone")
			assert.Equal(t, c.status, m.status())
			assert.Equal(t, c.body, string(m.body))
			assert.Equal(t, c.session, string(m.session))
		})
	}
}

func TestParseMessageWaitsForAllOfIt(t *testing.T) {
	for _, whole := range []string{plainAnswer, chunkedAnswer, plainRequest} {
		for n := range len(whole) {
			_, size, err := parseMessage([]byte(whole[:n]))
			require.NoError(t, err, "%q", whole[:n])
			require.Zero(t, size, "%q", whole[:n])
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"a length that is no number": "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
		"a negative length":          "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"a length beyond all bounds": "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"another transfer-encoding":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"an answer until the close":  "HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello",
		"a header without a colon":   "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
		"a chunk size of letters":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"a chunk beyond all bounds":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
		"a chunk that is too long":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, size, err := parseMessage([]byte(in))
			require.ErrorIs(t, err, errMessage)
			assert.Zero(t, size)
		})
	}
}

func TestTarget(t *testing.T) {
	m, _, err := parseMessage([]byte(plainRequest))
	require.NoError(t, err)
	method, path := m.target()
	assert.Equal(t, "POST", string(method))
	assert.Equal(t, "/sessionful/mcp", string(path))
}

// trickle gives its bytes in pieces of a few, as a network may.
type trickle struct {
	net.Conn
	in   io.Reader
	most int
}

func (c *trickle) Read(p []byte) (int, error) { return c.in.Read(p[:min(len(p), c.most)]) }

func TestNextReadsMessageAfterMessage(t *testing.T) {
	large := "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)
	for _, most := range []int{1, 7, 1 << 20} {
		c := newWireConn(&trickle{in: strings.NewReader(plainAnswer + chunkedAnswer + large + plainAnswer), most: most})
		for _, want := range []int{5, 5, 100000, 5} {
			m, err := c.next()
			require.NoError(t, err)
			require.Len(t, m.body, want)
			require.Equal(t, 200, m.status())
		}
		_, err := c.next()
		require.ErrorIs(t, err, io.EOF)
	}
}

func TestNextTellsABrokenMessageFromAnEnd(t *testing.T) {
	c := newWireConn(&trickle{in: strings.NewReader(plainAnswer[:len(plainAnswer)-1]), most: 100})
	_, err := c.next()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestNextDoesNotAllocate(t *testing.T) {
	in := strings.NewReader("")
	c := newWireConn(&trickle{in: in, most: 1 << 20})
	allocations := testing.AllocsPerRun(100, func() {
		in.Reset(plainAnswer)
		if m, err := c.next(); err != nil || m.status() != 200 || len(m.body) != 5 {
			t.Fatal(err)
		}
	})
	assert.Zero(t, allocations, "the load generator would measure its own garbage collector")
}

func FuzzParseMessage(f *testing.F) {
	for _, seed := range []string{plainAnswer, chunkedAnswer, plainRequest, plainAnswer + chunkedAnswer, "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, size, err := parseMessage(bytes.Clone(in))
		if err != nil || size == 0 {
			return
		}
		if size > len(in) || len(m.body) > size {
			t.Fatalf("%d bytes and a body of %d out of %d", size, len(m.body), len(in))
		}
		// What follows a message must not change it, nor may it be whole before its last byte.
		again, sizeAgain, err := parseMessage(append(bytes.Clone(in[:size]), "\r\n\r\nGET"...))
		if err != nil || sizeAgain != size || !bytes.Equal(again.body, m.body) {
			t.Fatalf("with more behind it: size %d and %q, else %d and %q (%v)", sizeAgain, again.body, size, m.body, err)
		}
		if _, early, _ := parseMessage(bytes.Clone(in[:size-1])); early != 0 {
			t.Fatalf("taken for whole at %d of %d bytes", early, size)
		}
	})
}
