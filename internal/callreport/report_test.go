package callreport

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

func written(calls ...Call) []byte {
	var b []byte
	for i := range calls {
		var facts []byte
		for key, value := range calls[i].Facts {
			facts = AppendFact(facts, key, value)
		}
		b = Append(b, &calls[i], facts)
	}
	return b
}

func read(t testing.TB, b []byte) (out []Call) {
	var r Reader
	require.True(t, r.Each(b, func(c Call) {
		c.Facts = maps.Clone(c.Facts)
		out = append(out, c)
	}))
	return out
}

// all is a call with every fact that there is.
func all() Call {
	c := Call{Start: time.Unix(1, 5).UTC(), Duration: 40 * time.Millisecond, Upstream: 25 * time.Millisecond, Status: 200, Facts: map[string]string{}}
	for n, key := range facts() {
		c.Facts[key] = fmt.Sprintf("%d é\x00", n)
	}
	return c
}

// TestCalls: what is written is what is read.
func TestCalls(t *testing.T) {
	left := Call{Start: time.Unix(-5, 0).UTC(), Broker: true, Facts: map[string]string{wire.KeyMethod: "ping"}}
	calls := []Call{all(), left, {Start: time.Unix(0, 0).UTC(), Status: 503, Facts: map[string]string{}}}
	assert.Equal(t, calls, read(t, written(calls...)))
}

// TestFacts: each fact has the number of its place, and others are left out.
func TestFacts(t *testing.T) {
	for n, key := range facts() {
		assert.Equal(t, n, number(key), key)
	}
	assert.Empty(t, AppendFact(nil, wire.KeyWatched, "1"))
	var r Reader
	facts := r.Begin()
	r.Fact([]byte(wire.KeyWatched), []byte("1"))
	r.Fact([]byte(wire.KeyServer), []byte("weather"))
	assert.Equal(t, map[string]string{wire.KeyServer: "weather"}, facts)
}

// TestTexts: what clients make up does not stay in memory for ever.
func TestTexts(t *testing.T) {
	var r Reader
	for i := range 3 * maxTexts {
		c := Call{Facts: map[string]string{wire.KeyMethod: fmt.Sprint("made/up/", i)}}
		require.True(t, r.Each(written(c), func(got Call) { assert.Equal(t, c.Facts, got.Facts) }))
	}
	assert.LessOrEqual(t, len(r.texts), maxTexts)
}

// TestCut: what is not whole is refused.
func TestCut(t *testing.T) {
	whole := written(all())
	for i := 1; i < len(whole); i++ {
		assert.False(t, new(Reader).Each(whole[:i], func(Call) { t.Error("half a call was taken") }), i)
	}
}

// FuzzEach: whatever comes, nothing panics, and what is read can be written and read again.
func FuzzEach(f *testing.F) {
	f.Add(written(all(), Call{Broker: true}))
	f.Add([]byte{6, 0, 0, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		new(Reader).Each(data, func(c Call) {
			if c.Duration < 0 || c.Upstream < 0 || c.Status < 0 {
				return // numbers that nobody writes
			}
			again := read(t, written(c))
			assert.Equal(t, []Call{c}, again)
		})
	})
}

func BenchmarkAppend(b *testing.B) {
	c := all()
	var facts, out []byte
	b.ReportAllocs()
	for b.Loop() {
		facts = facts[:0]
		for key, value := range c.Facts {
			facts = AppendFact(facts, key, value)
		}
		out = Append(out[:0], &c, facts)
	}
}

func BenchmarkEach(b *testing.B) {
	data := written(all())
	var r Reader
	b.ReportAllocs()
	for b.Loop() {
		r.Each(data, func(Call) {})
	}
}
