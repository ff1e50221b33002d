package dataplane_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The frames of HTTP/2 that tests write themselves, since no client lets them, and their flags (RFC 9113, section 6).
const (
	h2Data         = 0x0
	h2Headers      = 0x1
	h2Reset        = 0x3
	h2Settings     = 0x4
	h2GoAway       = 0x7
	h2Continuation = 0x9

	h2EndStream  = 0x1
	h2EndHeaders = 0x4
)

// h2Conn is a connection that says whatever it is told to say.
type h2Conn struct{ net.Conn }

// dialH2 opens a connection that has said the preface and the settings of a client.
func dialH2(t *testing.T, b *badBed) h2Conn {
	t.Helper()
	c := h2Conn{dial(t, b)}
	_, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, c.frame(h2Settings, 0, 0, nil))
	return c
}

func (c h2Conn) frame(kind, flags byte, stream uint32, payload []byte) error {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	f = binary.BigEndian.AppendUint32(append(f, flags), stream)
	_, err := c.Write(append(f, payload...))
	return err
}

// h2Fields is a block of headers that begins a request to /mcp; without a base it is of the given fields alone. No field is compressed (RFC 7541, section 6.2.2).
func h2Fields(base, session string, pairs ...string) []byte {
	if base != "" {
		pairs = append([]string{
			":method", "POST", ":scheme", "http", ":path", "/mcp", ":authority", strings.TrimPrefix(base, "http://"),
			"content-type", "application/json", "accept", "application/json, text/event-stream", "mcp-session-id", session,
		}, pairs...)
	}
	var out []byte
	text := func(s string) {
		if n := len(s); n < 0x7f {
			out = append(out, byte(n))
		} else {
			out = append(out, 0x7f)
			for n -= 0x7f; n >= 0x80; n >>= 7 {
				out = append(out, byte(n)|0x80)
			}
			out = append(out, byte(n))
		}
		out = append(out, s...)
	}
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, 0)
		text(pairs[i])
		text(pairs[i+1])
	}
	return out
}

// ends reads until stream 1 is answered or ended, or the connection is.
func (c h2Conn) ends(t *testing.T, what string) {
	t.Helper()
	defer func() { _ = c.Close() }()
	for {
		var head [9]byte
		_, err := io.ReadFull(c, head[:])
		if isTimeout(err) {
			t.Errorf("%s: neither an answer nor an end", what)
		}
		if err != nil || head[3] == h2Headers || head[3] == h2Reset || head[3] == h2GoAway {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:4])>>8)); err != nil {
			return
		}
	}
}
