package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// job is what the load generator is told to do.
type job struct {
	URL           string        `json:"url"`
	Work          work          `json:"work"`
	Modern        bool          `json:"modern,omitempty"` // speak the revision without sessions
	Tool          string        `json:"tool"`
	Authorization string        `json:"authorization,omitempty"`
	Body          int           `json:"body"`            // bytes of each call's body
	Tools         int           `json:"tools,omitempty"` // in the list that is read
	Connections   int           `json:"connections"`
	Rate          int           `json:"rate,omitempty"` // calls per second of all connections together; 0: each makes one after the other
	Warmup        time.Duration `json:"warmup"`
	Duration      time.Duration `json:"duration"`
}

// outcome is what came of it.
type outcome struct {
	Calls      int           `json:"calls"`
	Errors     int           `json:"errors"`
	FirstError string        `json:"firstError,omitempty"`
	P50        time.Duration `json:"p50"`
	P99        time.Duration `json:"p99"`
	// AnswerBytes is how large the body of an answer is on average.
	AnswerBytes float64 `json:"answerBytes"`
}

// setupTime is how long connecting and opening a session may take, patience how long the last call of a measurement may.
const (
	setupTime = 15 * time.Second
	patience  = 10 * time.Second
)

// run opens the sessions, calls for the warm-up, and then measures. It tells at which moments the measured time begins and ends.
func (j job) run(ctx context.Context, began, ended func()) outcome {
	clients := make([]*client, j.Connections)
	each(clients, func(i int) {
		clients[i] = &client{}
		if err := clients[i].open(ctx, j, i); err != nil {
			clients[i].fail(fmt.Errorf("opening session %d: %w", i, err))
		}
	})
	defer each(clients, func(i int) { clients[i].close() })
	if out := gather(clients); out.Errors > 0 {
		return out
	}

	start := time.Now().Add(j.Warmup)
	end := start.Add(j.Duration)
	var watch sync.WaitGroup
	watch.Go(func() {
		if sleep(ctx, time.Until(start)) {
			began()
		}
		if sleep(ctx, time.Until(end)) {
			ended()
		}
	})
	each(clients, func(i int) { clients[i].calls(start, end) })
	watch.Wait()
	return gather(clients)
}

// each does the same for all clients at once.
func each(clients []*client, do func(i int)) {
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { do(i) })
	}
	group.Wait()
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func gather(clients []*client) outcome {
	var out outcome
	var all []uint32
	var bytes, answers int
	for _, c := range clients {
		out.Errors += c.errors
		if out.FirstError == "" && c.first != nil {
			out.FirstError = c.first.Error()
		}
		all = append(all, c.latencies...)
		bytes += c.bytes
		answers += c.answers
	}
	if answers > 0 {
		out.AnswerBytes = float64(bytes) / float64(answers)
	}
	slices.Sort(all)
	out.Calls = len(all)
	out.P50, out.P99 = time.Duration(percentile(all, 0.50)), time.Duration(percentile(all, 0.99))
	return out
}

// event is what the load generator's process says: that the measured time begins, that it ends, and what came of it.
type event struct {
	Name    string   `json:"event"`
	Outcome *outcome `json:"outcome,omitempty"`
}

const (
	eventBegan = "began"
	eventEnded = "ended"
	eventDone  = "done"
)

// loadMain is the load generator's process: jobs on standard input, events on standard output, one a line.
func loadMain(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jobs := make(chan job)
	failed := make(chan error, 1)
	go func() {
		defer stop() // nobody waits for an outcome once standard input has ended
		failed <- readJobs(stdin, jobs)
	}()
	var mu sync.Mutex
	say := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(stdout).Encode(e) // without a reader, standard input ends as well
	}
	for {
		select {
		case j := <-jobs:
			out := j.run(ctx, func() { say(event{Name: eventBegan}) }, func() { say(event{Name: eventEnded}) })
			say(event{Name: eventDone, Outcome: &out})
		case err := <-failed:
			return err
		}
	}
}

func readJobs(stdin io.Reader, jobs chan<- job) error {
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		var j job
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			return fmt.Errorf("job: %w", err)
		}
		jobs <- j
	}
	return lines.Err()
}
