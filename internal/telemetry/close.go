package telemetry

import (
	"context"
	"sync"
)

// Lost is what a collector did not take before the end.
type Lost struct {
	// What is "spans" or "metrics".
	What string
	// Spans is how many were lost now, Before how many had been lost while calls went on.
	Spans, Before int
	Endpoint      string
	Err           error
}

// Close sends what is still there, for as long as the context lasts, and tells what was lost. A signal whose collector is away does not cost the other its time.
func (o *Observed) Close(ctx context.Context) []Lost {
	all := make([]*Lost, len(o.shutdown))
	var ending sync.WaitGroup
	for i, shutdown := range o.shutdown {
		ending.Go(func() { all[i] = shutdown(ctx) })
	}
	ending.Wait()
	var out []Lost
	for _, lost := range all {
		if lost != nil {
			out = append(out, *lost)
		}
	}
	return out
}
