package callreport

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func written(calls ...Call) []byte {
	var b []byte
	for i := range calls {
		b = Append(b, &calls[i], factsOf(&calls[i]))
	}
	return b
}

func factsOf(c *Call) (b []byte) {
	for n, key := range facts() {
		value := ""
		if n < kindCount {
			value = *c.text(n)
		} else {
			value = string(*c.bytes(n))
		}
		if value != "" {
			b = AppendFact(b, key, value)
		}
	}
	return b
}

func read(t testing.TB, b []byte) (out []Call) {
	var r Reader
	require.True(t, r.Each(b, func(c *Call) { out = append(out, *c) }))
	return out
}

// all is a call with every fact that there is.
func all() Call {
	c := Call{Start: time.Unix(1, 5).UTC(), Duration: 40 * time.Millisecond, Upstream: 25 * time.Millisecond, Status: 200}
	for n := range factCount {
		value := fmt.Sprintf("%d é\x00", n)
		if n < kindCount {
			*c.text(n) = value
		} else {
			*c.bytes(n) = []byte(value)
		}
	}
	return c
}

// TestCalls: what is written is what is read.
func TestCalls(t *testing.T) {
	left := Call{Start: time.Unix(-5, 0).UTC(), Broker: true, Kind: Kind{Method: "ping"}}
	calls := []Call{all(), left, {Start: time.Unix(0, 0).UTC(), Status: 503}}
	assert.Equal(t, calls, read(t, written(calls...)))
}

// TestFacts: each fact has the number of its place, and others are left out.
func TestFacts(t *testing.T) {
	for n, key := range facts() {
		assert.Equal(t, n, number(key), key)
	}
	assert.Empty(t, AppendFact(nil, wire.KeyWatched, "1"))
	var r Reader
	c := r.Begin()
	r.Fact([]byte(wire.KeyWatched), []byte("1"))
	r.Fact([]byte(wire.KeyServer), []byte("weather"))
	r.Fact([]byte(wire.KeyID), []byte("7"))
	assert.Equal(t, &Call{Kind: Kind{Server: "weather"}, Own: Own{ID: []byte("7")}}, c)
	assert.Equal(t, &Call{}, r.Begin(), "nothing is left of the call before")
}

// TestTexts: what clients make up does not stay in memory for ever.
func TestTexts(t *testing.T) {
	var r Reader
	for i := range 3 * maxTexts {
		c := Call{Kind: Kind{Method: fmt.Sprint("made/up/", i)}}
		require.True(t, r.Each(written(c), func(got *Call) { assert.Equal(t, c.Kind, got.Kind) }))
	}
	assert.LessOrEqual(t, len(r.texts), maxTexts)
}

// TestCut: what is not whole is refused.
func TestCut(t *testing.T) {
	whole := written(all())
	for i := 1; i < len(whole); i++ {
		assert.False(t, new(Reader).Each(whole[:i], func(*Call) { t.Error("half a call was taken") }), i)
	}
}

// FuzzEach: whatever comes, nothing panics, and what is read can be written and read again.
func FuzzEach(f *testing.F) {
	f.Add(written(all(), Call{Broker: true}))
	f.Add([]byte{6, 0, 0, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		new(Reader).Each(data, func(c *Call) {
			if c.Duration < 0 || c.Upstream < 0 || c.Status < 0 {
				return // numbers that nobody writes
			}
			again := read(t, written(*c))
			require.Len(t, again, 1)
			for n := range factCount {
				if n < kindCount {
					assert.Equal(t, *c.text(n), *again[0].text(n))
				} else {
					assert.Equal(t, string(*c.bytes(n)), string(*again[0].bytes(n)))
				}
			}
			again[0].Own = c.Own
			assert.Equal(t, *c, again[0])
		})
	})
}

func BenchmarkAppend(b *testing.B) {
	c := all()
	facts := factsOf(&c)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = Append(out[:0], &c, facts)
	}
}

func BenchmarkEach(b *testing.B) {
	data := written(all())
	var r Reader
	b.ReportAllocs()
	for b.Loop() {
		r.Each(data, func(*Call) {})
	}
}
