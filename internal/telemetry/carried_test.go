package telemetry

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestCarriedRates: a rate is of the last two seconds.
func TestCarriedRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Carried{}
		ctx, stop := context.WithCancel(t.Context())
		go c.Run(ctx)
		call := func(times, status int) {
			for range times {
				c.Called("a")(status)
			}
		}
		call(6, http.StatusOK)
		call(2, http.StatusBadGateway)
		call(1, 0)
		open := c.Called("a")
		time.Sleep(rateInterval + time.Millisecond)
		synctest.Wait()
		assert.Equal(t, CarriedCalls{Calls: Calls{Active: 1, Succeeded: 6, Failed: 2}, Rate: 4, Errors: 1}, c.Calls()["a"])
		open(http.StatusOK)
		time.Sleep(rateInterval)
		synctest.Wait()
		assert.Equal(t, CarriedCalls{Calls: Calls{Succeeded: 7, Failed: 2}, Rate: 0.5}, c.Calls()["a"])
		stop()
	})
}

// TestCarriedTogether: calls of many goroutines at once are all counted.
func TestCarriedTogether(t *testing.T) {
	c := &Carried{}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 1000 {
				c.Called("a")(http.StatusOK)
			}
		})
	}
	callers.Wait()
	assert.Equal(t, CarriedCalls{Calls: Calls{Succeeded: 8000}}, c.Calls()["a"])
}

func BenchmarkCalled(b *testing.B) {
	c := &Carried{}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Called("a")(http.StatusOK)
		}
	})
}
