package sse

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// split pushes the chunks one by one and asks for all blocks after each, as a proxy does.
func split(t testing.TB, s *Splitter, chunks ...string) (blocks []string, err error) {
	t.Helper()
	for _, chunk := range chunks {
		buf := []byte(chunk)
		s.Push(buf)
		for {
			block, ok, err := s.Next()
			if err != nil {
				return blocks, err
			}
			if !ok {
				break
			}
			blocks = append(blocks, string(block))
		}
		clear(buf) // the caller may reuse its chunk now
	}
	return blocks, nil
}

// joinLF gives a LF that came late back to the block with its CR: what is left is what no chunking may change.
func joinLF(blocks []string) (joined []string) {
	for _, block := range blocks {
		if last := len(joined) - 1; block == "\n" && last >= 0 && strings.HasSuffix(joined[last], "\r") {
			joined[last] += block
			continue
		}
		joined = append(joined, block)
	}
	return joined
}

func TestSplitterBlocks(t *testing.T) {
	for name, test := range map[string]struct {
		stream string
		blocks []string
		rest   string
	}{
		"nothing":                     {},
		"LF":                          {"data: a\n\ndata: b\n\n", []string{"data: a\n\n", "data: b\n\n"}, ""},
		"CR":                          {"data: a\r\rdata: b\r\r", []string{"data: a\r\r", "data: b\r\r"}, ""},
		"CRLF":                        {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"data: a\r\n\r\n", "data: b\r\n\r\n"}, ""},
		"LF then CR":                  {"data: a\n\rdata: b\n\r", []string{"data: a\n\r", "data: b\n\r"}, ""},
		"LF then CRLF":                {"data: a\n\r\ndata: b\n\r\n", []string{"data: a\n\r\n", "data: b\n\r\n"}, ""},
		"CR then CRLF":                {"data: a\r\r\ndata: b\r\r\n", []string{"data: a\r\r\n", "data: b\r\r\n"}, ""},
		"CRLF then LF":                {"data: a\r\n\ndata: b\r\n\n", []string{"data: a\r\n\n", "data: b\r\n\n"}, ""},
		"CRLF then CR":                {"data: a\r\n\rdata: b\r\n\r", []string{"data: a\r\n\r", "data: b\r\n\r"}, ""},
		"CRLF alone is one line end":  {"data: a\r\nid: 1\r\n", nil, "data: a\r\nid: 1\r\n"},
		"CR LF LF is two":             {"a\r\n\nb", []string{"a\r\n\n"}, "b"},
		"blank lines between":         {"a\n\n\n\nb\n\n", []string{"a\n\n", "\n", "\n", "b\n\n"}, ""},
		"blank CRLF lines between":    {"a\r\n\r\n\r\nb\r\n\r\n", []string{"a\r\n\r\n", "\r\n", "b\r\n\r\n"}, ""},
		"comment":                     {": ping\n\ndata: a\n\n", []string{": ping\n\n", "data: a\n\n"}, ""},
		"unfinished":                  {"data: a\n\nid: 7\ndata: b\n", []string{"data: a\n\n"}, "id: 7\ndata: b\n"},
		"no line end at all":          {"data: a", nil, "data: a"},
		"byte order mark":             {bom + "data: a\n\n", []string{bom + "data: a\n\n"}, ""},
		"many fields, CR and LF ends": {"id: 1\revent: x\ndata: a\r\n: c\r\rz", []string{"id: 1\revent: x\ndata: a\r\n: c\r\r"}, "z"},
	} {
		t.Run(name, func(t *testing.T) {
			var whole Splitter
			blocks, err := split(t, &whole, test.stream)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(test.blocks, blocks))
			require.Equal(t, test.rest, string(whole.Rest()))

			for i := range test.stream { // in two chunks, cut at every byte, with an empty one in between
				var s Splitter
				blocks, err := split(t, &s, test.stream[:i], "", test.stream[i:])
				require.NoError(t, err)
				require.Empty(t, cmp.Diff(test.blocks, joinLF(blocks)), "cut at %d", i)
				require.Equal(t, test.rest, string(s.Rest()), "cut at %d", i)
			}
			var s Splitter
			blocks, err = split(t, &s, strings.Split(test.stream, "")...)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(test.blocks, joinLF(blocks)), "byte by byte")
			require.Equal(t, test.rest, string(s.Rest()), "byte by byte")
		})
	}
}

// Invariant 10: what is complete goes on with the first byte that completes it, whatever comes next or does not.
func TestSplitterDoesNotWait(t *testing.T) {
	for end, completing := range map[string]int{
		"\n\n": 2, "\r\r": 2, "\n\r": 2, "\n\r\n": 2, "\r\n\n": 3, "\r\n\r": 3, "\r\n\r\n": 3, "\r\r\n": 2,
	} {
		var s Splitter
		for i, c := range strings.Split("data: a"+end, "")[:len("data: a")+completing] {
			blocks, err := split(t, &s, c)
			require.NoError(t, err)
			if i == len("data: a")+completing-1 {
				require.Len(t, blocks, 1, "%q completes the event of %q", c, end)
			} else {
				require.Empty(t, blocks, "byte %d of the event with %q", i, end)
			}
		}
	}
}

func TestSplitterLateLF(t *testing.T) {
	var s Splitter
	blocks, err := split(t, &s, "data: a\r\n\r", "\n", "data: b\r", "\n\r", "\ndata: c\r", "\r")
	require.NoError(t, err)
	require.Equal(t, []string{"data: a\r\n\r", "\n", "data: b\r\n\r", "\n", "data: c\r\r"}, blocks)
	require.Equal(t, Event{}, Parse([]byte(blocks[1])), "the late LF is no event")
	require.Empty(t, s.Rest())
}

func TestSplitterKeepsBlocksApart(t *testing.T) {
	var s Splitter
	s.Push([]byte("data: a"))
	_, ok, err := s.Next()
	require.NoError(t, err)
	require.False(t, ok)
	s.Push([]byte("\n\ndata: b\n\ndata: c"))
	first, ok, err := s.Next()
	require.NoError(t, err)
	require.True(t, ok)
	second, ok, err := s.Next()
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = s.Next()
	require.NoError(t, err)
	require.False(t, ok)
	_ = append(first, "overwritten"...)
	require.Equal(t, "data: a\n\n", string(first))
	require.Equal(t, "data: b\n\n", string(second), "an append to a block must not reach the next one")
	_ = append(s.Rest(), "overwritten"...)
	require.Equal(t, "data: c", string(s.Rest()))
}

func TestSplitterPushedAhead(t *testing.T) {
	var s Splitter
	var want []string
	for i := range 100 { // one block is taken for every two that are pushed
		one := fmt.Sprintf("data: %d\n\n", i)
		s.Push([]byte(one[:4]))
		s.Push([]byte(one[4:] + one))
		want = append(want, one, one)
		block, ok, err := s.Next()
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want[i], string(block))
	}
	rest, err := split(t, &s, "data: end\n\n")
	require.NoError(t, err)
	require.Equal(t, append(want[100:], "data: end\n\n"), rest)
}

func TestSplitterTooLarge(t *testing.T) {
	const limit = 16
	fits := "data: 89012345\n\n" // 16 bytes
	for name, test := range map[string]struct {
		stream string
		blocks []string
		err    error
	}{
		"exactly the limit":                        {fits + fits, []string{fits, fits}, nil},
		"a CRLF's LF does not count":               {"data: 890123\r\n\r\n", []string{"data: 890123\r\n\r\n"}, nil},
		"complete and one byte more":               {fits + "data: 890123456\n\n", []string{fits}, ErrTooLarge},
		"unfinished and one byte more":             {fits + "data: 89012345678", []string{fits}, ErrTooLarge},
		"many small lines":                         {"a\nb\nc\nd\ne\nf\ng\nh\ni", nil, ErrTooLarge},
		"a comment counts":                         {": 3456789012345678\n\n", nil, ErrTooLarge},
		"unfinished at the limit is not too large": {"data: 8901234567", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range test.stream {
				s := Splitter{Max: limit}
				blocks, err := split(t, &s, test.stream[:i], test.stream[i:])
				require.ErrorIs(t, err, test.err, "cut at %d", i)
				require.Equal(t, test.blocks, joinLF(blocks), "cut at %d", i)
				if test.err == nil {
					continue
				}
				rest := string(s.Rest())
				require.True(t, strings.HasPrefix(strings.TrimPrefix(test.stream, strings.Join(blocks, "")), rest))
				s.Push([]byte("\n\ndata: more\n\n"))
				_, ok, err := s.Next()
				require.False(t, ok)
				require.ErrorIs(t, err, ErrTooLarge, "it stays")
				require.Equal(t, rest, string(s.Rest()))
			}
		})
	}
}

// A server must not be able to make us search the same bytes over and over.
func TestSplitterManyCRsTakeLinearTime(t *testing.T) {
	block := strings.Repeat("a\r", 1<<20) + "\n\n"
	s := Splitter{Max: len(block)}
	blocks, err := split(t, &s, block)
	require.NoError(t, err)
	require.Equal(t, []string{block}, blocks)
	require.Equal(t, Event{}, Parse([]byte(block)))
}

func TestSplitterGivesBigBuffersBack(t *testing.T) {
	var s Splitter
	_, err := split(t, &s, "data: "+strings.Repeat("x", 2*keepBuffer), "\n\n", "data: y\n\n")
	require.NoError(t, err)
	require.LessOrEqual(t, cap(s.own), keepBuffer)
}

func FuzzSplitter(f *testing.F) {
	for _, seed := range []string{
		"", "data: a\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "id: 1\r\rdata\r\r\n\n\r", bom + "data: a\n\n", ":\n\n\r\n\r\r\n",
	} {
		f.Add([]byte(seed), []byte{1, 3, 0, 2})
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		var whole Splitter
		want, err := split(t, &whole, string(stream))
		require.NoError(t, err)
		require.Equal(t, string(stream), strings.Join(want, "")+string(whole.Rest()))
		require.Equal(t, want, joinLF(want), "in one piece no LF is late")

		var chunks []string
		for rest := string(stream); rest != ""; {
			n := len(rest)
			if len(cuts) > 0 {
				n = min(n, int(cuts[0]))
				cuts = cuts[1:]
			}
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		var s Splitter
		got, err := split(t, &s, chunks...)
		require.NoError(t, err)
		require.Equal(t, want, joinLF(got))
		require.Equal(t, string(whole.Rest()), string(s.Rest()))

		for _, block := range want { // Rewrite with the same values changes nothing that a client sees
			ev := Parse([]byte(block))
			same := Rewrite(nil, []byte(block), nil, nil)
			require.Equal(t, block, string(same))
			again := Parse(Rewrite(nil, []byte(block), &ev.ID, ev.Data))
			require.Empty(t, cmp.Diff(ev, again))
		}
	})
}
