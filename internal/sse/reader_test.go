package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestReader(t *testing.T) {
	failed := errors.New("connection reset")
	for name, test := range map[string]struct {
		stream string
		after  error // of the underlying reader, io.EOF if nil
		want   []Event
		err    error
	}{
		"clean end":                     {stream: "data: a\n\ndata: b\n\n", want: []Event{data("a"), data("b")}, err: io.EOF},
		"empty":                         {err: io.EOF},
		"comments are passed over":      {stream: ": ping\n\n\n\ndata: a\n\n: bye\n", want: []Event{data("a")}, err: io.EOF},
		"a name alone is no event":      {stream: "event: x\n\ndata: a\n\n", want: []Event{data("a")}, err: io.EOF},
		"id and retry without data":     {stream: "id: 1\nretry: 5\n\n", want: []Event{{ID: "1", HasID: true, Retry: "5"}}, err: io.EOF},
		"unfinished":                    {stream: "data: a\n\ndata: b\n", want: []Event{data("a")}, err: io.ErrUnexpectedEOF},
		"unfinished line":               {stream: "dat", err: io.ErrUnexpectedEOF},
		"CR at the end":                 {stream: "data: a\r\r", want: []Event{data("a")}, err: io.EOF},
		"CRLF":                          {stream: "data: a\r\n\r\ndata: b\r\n\r\n", want: []Event{data("a"), data("b")}, err: io.EOF},
		"byte order mark":               {stream: bom + "data: a\n\n", want: []Event{data("a")}, err: io.EOF},
		"byte order mark only":          {stream: bom, err: io.EOF},
		"byte order mark in the middle": {stream: "data: a\n\n" + bom + "data: b\n\n", want: []Event{data("a")}, err: io.EOF},
		"failure":                       {stream: "data: a\n\ndata: b", after: failed, want: []Event{data("a")}, err: failed},
		"too large":                     {stream: "data: a\n\ndata: " + strings.Repeat("b", 100), want: []Event{data("a")}, err: ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			source := func() io.Reader {
				after := test.after
				if after == nil {
					after = io.EOF
				}
				return io.MultiReader(strings.NewReader(test.stream), iotest.ErrReader(after))
			}
			for how, reader := range map[string]io.Reader{
				"whole":             source(),
				"byte by byte":      iotest.OneByteReader(source()),
				"data with the end": iotest.DataErrReader(source()),
			} {
				r := NewReader(reader, 64)
				var got []Event
				ev, err := r.Next()
				for ; err == nil; ev, err = r.Next() {
					ev.Data = append([]byte(nil), ev.Data...)
					got = append(got, ev)
				}
				require.ErrorIs(t, err, test.err, how)
				for i := range test.want {
					test.want[i].Data = append([]byte(nil), test.want[i].Data...)
				}
				require.Empty(t, cmp.Diff(test.want, got), how)
				_, again := r.Next()
				require.Equal(t, err, again, "it stays")
			}
		})
	}
}

// Invariant 10: an event is there before the bytes behind it are.
func TestReaderDoesNotReadAhead(t *testing.T) {
	body, server := io.Pipe()
	r := NewReader(body, 0)
	go func() {
		_, _ = server.Write([]byte("data: a\n\n"))
		// The stream stays open.
	}()
	ev, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "a", string(ev.Data))
	server.CloseWithError(io.ErrClosedPipe)
	_, err = r.Next()
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestReaderWithoutProgress(t *testing.T) {
	_, err := NewReader(idle{}, 0).Next()
	require.ErrorIs(t, err, io.ErrNoProgress)
}
