package tally

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// look is what a set shows, by tool.
func look(s *Set) map[string]uint64 {
	out := map[string]uint64{}
	s.Look(func(c *Counter, calls uint64) { out[c.Tool] += calls })
	return out
}

func TestLook(t *testing.T) {
	var s Set
	a, b := s.New("x", "a"), s.New("x", "b")
	assert.Empty(t, look(&s))
	a.Called(2)
	a.Called(1)
	assert.Equal(t, map[string]uint64{"a": 3}, look(&s))
	assert.Empty(t, look(&s), "only what has changed")
	a.Called(1)
	s.Look(func(c *Counter, _ uint64) { c.Called(4) })
	assert.Equal(t, map[string]uint64{"a": 4}, look(&s), "what comes while it is looked at is seen the next time")
	a.Called(1)
	b.Opened(1)
	assert.Equal(t, map[string]uint64{"a": 1, "b": 0}, look(&s))
	b.Opened(-1)
	a.Touch()
	assert.Equal(t, map[string]uint64{"a": 0, "b": 0}, look(&s))
	a.Failed()
	a.SetRate(0.5)
	assert.Equal(t, Counts{Calls: 9, Failed: 1, Rate: 0.5}, a.Counts())
	assert.Empty(t, look(&s))
	b.Opened(-1)
	assert.Equal(t, Counts{}, b.Counts(), "an end that is told of too early is none")
	assert.Equal(t, int64(-1), b.Open())
}

// TestNoCounter: what is no tool has none.
func TestNoCounter(t *testing.T) {
	var none *Counter
	none.Called(1)
	none.Opened(1)
	none.Failed()
	none.Touch()
	assert.Equal(t, Counts{}, none.Counts())
}

// TestTogether: nothing is lost, and nothing seen twice, while many count and one looks. What would be lost is the last change of all, so that it is tried often.
func TestTogether(t *testing.T) {
	for range 300 {
		together(t)
	}
}

func together(t *testing.T) {
	t.Helper()
	var s Set
	counters := []*Counter{s.New("x", "a"), s.New("x", "b"), s.New("x", "c")}
	const callers, each = 2, 3000
	var counting sync.WaitGroup
	for range callers {
		counting.Go(func() {
			for i := range each {
				c := counters[i%len(counters)]
				c.Opened(1)
				c.Called(1)
				c.Opened(-1)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		counting.Wait()
		close(done)
	}()
	seen, open := map[string]uint64{}, map[string]int64{}
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		s.Look(func(c *Counter, calls uint64) {
			seen[c.Tool] += calls
			open[c.Tool] = c.Open()
		})
	}
	for _, c := range counters {
		require.Equal(t, uint64(callers*each/len(counters)), seen[c.Tool])
		require.Zero(t, open[c.Tool], "the last look sees the last change")
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var s Set
	c := s.New("x", "a")
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		c.Called(1)
		c.Opened(1)
		c.Opened(-1)
		s.Look(func(*Counter, uint64) {})
	}))
}

// BenchmarkCalled is what a decision pays: alone, and where all processors count the calls of one tool.
func BenchmarkCalled(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		c := new(Set).New("x", "a")
		for b.Loop() {
			c.Called(1)
		}
	})
	b.Run("together", func(b *testing.B) {
		c := new(Set).New("x", "a")
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Called(1)
			}
		})
	})
}
