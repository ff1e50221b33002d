package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

func TestCallBody(t *testing.T) {
	for _, size := range []int{1024, 10 << 10, 100 << 10} {
		for _, modern := range []bool{false, true} {
			for _, tool := range []string{toolName, "prefix_" + toolName} {
				body := callBody(tool, size, modern)
				assert.Len(t, body, size)
				m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
				require.Nil(t, fault)
				assert.Equal(t, "tools/call", m.MethodName())
				assert.Equal(t, `"`+tool+`"`, string(m.Param("name").Of(body)))
				assert.Equal(t, modern, m.Param("_meta").Present())
			}
		}
	}
	id, tool := quickCall(callBody(toolName, 1024, true))
	assert.Equal(t, "1000000000", string(id), "the upstream must know the call at a glance")
	assert.Equal(t, toolName, string(tool))
}

func TestListBody(t *testing.T) {
	for _, modern := range []bool{false, true} {
		for _, cursor := range [][]byte{nil, []byte(`"7"`)} {
			body := listBody(cursor, modern)
			m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
			require.Nil(t, fault, "%s", body)
			assert.Equal(t, "tools/list", m.MethodName())
			assert.Equal(t, string(cursor), string(m.Param("cursor").Of(body)))
			assert.Equal(t, modern, m.Param("_meta").Present())
		}
	}
}

func startUpstream(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- newUpstream().serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, <-served)
	})
	return "http://" + l.Addr().String()
}

func quickJob(url string) job {
	return job{URL: url, Work: workCall, Tool: toolName, Body: 1024, Connections: 3, Warmup: 20 * time.Millisecond, Duration: 500 * time.Millisecond}
}

func TestJobAgainstTheUpstream(t *testing.T) {
	base := startUpstream(t)
	for _, c := range []struct {
		name, path string
		change     func(j *job)
	}{
		{"calls", pathSessionless, func(*job) {}},
		{"calls in sessions", pathSessionful, func(*job) {}},
		{"large calls", pathSessionless, func(j *job) { j.Body = 100 << 10 }},
		{"calls without a session", pathModern, func(j *job) { j.Modern = true }},
		{"streams", pathSessionful, func(j *job) { j.Work, j.Tool = workEvents, eventsTool }},
		{"streams without a session", pathModern, func(j *job) { j.Work, j.Tool, j.Modern = workEvents, eventsTool, true }},
		{"a list", "/both/10/mcp", func(j *job) { j.Work, j.Tools = workList, 10 }},
		{"a list of many pages", "/both/2500/x/mcp", func(j *job) { j.Work, j.Tools = workList, 2500 }},
		{"a list without a session", "/modern/1001/mcp", func(j *job) { j.Work, j.Tools, j.Modern = workList, 1001, true }},
		{"fresh sessions", pathSessionful, func(j *job) { j.Work = workFresh }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var began, ended time.Time
			j := quickJob(base + c.path)
			c.change(&j)
			out := j.run(t.Context(), func() { began = time.Now() }, func() { ended = time.Now() })
			assert.Empty(t, out.FirstError)
			assert.Zero(t, out.Errors)
			assert.Positive(t, out.Calls)
			assert.Positive(t, out.P50)
			assert.Greater(t, out.AnswerBytes, 100.0)
			assert.GreaterOrEqual(t, out.P99, out.P50)
			assert.GreaterOrEqual(t, ended.Sub(began), j.Duration/4)
		})
	}
}

func TestJobRefusesAListOfAnotherLength(t *testing.T) {
	j := quickJob(startUpstream(t) + "/both/10/mcp")
	j.Work, j.Tools = workList, 11
	out := j.run(t.Context(), func() {}, func() {})
	assert.Contains(t, out.FirstError, "want 11 tools, got 10")
}

func TestTheUpstreamCountsWhatItIsAsked(t *testing.T) {
	base := startUpstream(t)
	j := quickJob(base + pathSessionful)
	j.Work, j.Connections = workFresh, 1
	require.Zero(t, j.run(t.Context(), func() {}, func() {}).Errors)
	got, err := (&stage{upstreamProc: &process{}, upstreamBase: base}).counts(t.Context())
	require.NoError(t, err)
	assert.Positive(t, got.Calls)
	assert.Equal(t, 2*got.Calls, got.Openings, "initialize and notifications/initialized for each call")
}

func TestCheckEvents(t *testing.T) {
	s, err := newServer(pathSessionless)
	require.NoError(t, err)
	answer, cuts := s.appendEvents(nil, []byte("7"), nil)
	assert.Len(t, cuts, eventsPerAnswer/eventsPerWrite)
	assert.Equal(t, len(answer), cuts[len(cuts)-1])
	m, size, err := parseMessage(answer)
	require.NoError(t, err)
	require.Equal(t, len(answer), size)
	require.NoError(t, checkEvents(&m, []byte("7")))
	require.ErrorContains(t, checkEvents(&m, []byte("8")), "want a result with id 8")

	m.body = m.body[len(notification):]
	require.ErrorContains(t, checkEvents(&m, []byte("7")), "want 100 events, got 99")
	m.contentType = []byte("application/json")
	require.ErrorContains(t, checkEvents(&m, []byte("7")), "want a stream")
}

// Calls that are due at given times are made then, and a late answer counts from when its call was due.
func TestJobAtARate(t *testing.T) {
	j := quickJob(startUpstream(t) + pathSessionless)
	j.Rate = 300
	var began, ended time.Time
	out := j.run(t.Context(), func() { began = time.Now() }, func() { ended = time.Now() })
	assert.Zero(t, out.Errors, out.FirstError)
	// Calls of before that are answered late are among them: on a busy machine those of the warm-up.
	due := (ended.Sub(began) + j.Warmup).Seconds() * float64(j.Rate)
	assert.LessOrEqual(t, float64(out.Calls), due+float64(j.Connections), "no more than were due")
	assert.Positive(t, out.Calls)
}

// server answers as a test says, once the sessions are open.
func server(t *testing.T, call func(w http.ResponseWriter, id string)) string {
	t.Helper()
	var lock sync.Mutex
	seen := map[string]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mcp", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
		if fault != nil {
			http.Error(w, fault.Message, http.StatusBadRequest)
			return
		}
		id := string(m.ID.Of(body))
		switch m.MethodName() {
		case "initialize":
			_, _ = io.WriteString(w, resultBegin+id+resultMiddle+initializeResult+resultEnd)
		case "tools/call":
			lock.Lock()
			again := seen[id]
			seen[id] = true
			lock.Unlock()
			if again {
				http.Error(w, "the id "+id+" came twice", http.StatusConflict)
				return
			}
			call(w, id)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	s := &http.Server{Handler: mux}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return "http://" + l.Addr().String() + "/mcp"
}

func TestJobUsesEachIDOnceAndTakesOtherFormsOfTheRightAnswer(t *testing.T) {
	var calls atomic.Int64
	out := quickJob(server(t, func(w http.ResponseWriter, id string) {
		calls.Add(1)
		_, _ = io.WriteString(w, `{ "result": {}, "id": `+id+`, "jsonrpc": "2.0" }`)
	})).run(t.Context(), func() {}, func() {})
	assert.Zero(t, out.Errors, out.FirstError)
	assert.Positive(t, out.Calls)
	assert.Less(t, int64(out.Calls), calls.Load(), "first calls and those of the warm-up don't count")
}

func TestJobCountsWrongAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, id string)
		want   string
	}{
		"another's id": {func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, resultBegin+"7"+resultMiddle+"{}}") }, "want a result with id"},
		"a longer id": {func(w http.ResponseWriter, id string) {
			_, _ = io.WriteString(w, resultBegin+id+"0"+resultMiddle+"{}}")
		}, "want a result with id"},
		"an error": {func(w http.ResponseWriter, id string) {
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-32602,"message":"no"}}`)
		}, "want a result with id"},
		"status 503":     {func(w http.ResponseWriter, _ string) { http.Error(w, "too much", http.StatusServiceUnavailable) }, "503"},
		"no JSON at all": {func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, "hello") }, "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			out := quickJob(server(t, func(w http.ResponseWriter, id string) {
				if calls.Add(1) <= 3 { // the first of each session
					_, _ = io.WriteString(w, resultBegin+id+resultMiddle+"{}}")
					return
				}
				c.answer(w, id)
			})).run(t.Context(), func() {}, func() {})
			assert.Positive(t, out.Errors)
			assert.LessOrEqual(t, out.Errors, 3*maxErrors, "each connection gives up after some")
			assert.Contains(t, out.FirstError, c.want)
			assert.Zero(t, out.Calls)
		})
	}
}

func TestJobReportsAConnectionThatBreaks(t *testing.T) {
	var calls atomic.Int64
	out := quickJob(server(t, func(w http.ResponseWriter, id string) {
		if calls.Add(1) > 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, resultBegin+id+resultMiddle+"{}}")
	})).run(t.Context(), func() {}, func() {})
	assert.Equal(t, 3, out.Errors)
	assert.NotEmpty(t, out.FirstError)
}

func TestJobReportsASessionThatCannotBeOpened(t *testing.T) {
	measured := false
	out := quickJob(startUpstream(t)+"/elsewhere").run(t.Context(), func() { measured = true }, func() {})
	assert.Equal(t, 3, out.Errors)
	assert.Contains(t, out.FirstError, "initialize")
	assert.Contains(t, out.FirstError, "404")
	assert.False(t, measured)
}

func TestLoadProcessAnswersJobAfterJobAndEndsWithItsInput(t *testing.T) {
	in, jobs := io.Pipe()
	events, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- loadMain(context.Background(), in, out)
		_ = out.Close()
	}()
	lines := bufio.NewScanner(events)
	for range 2 {
		require.NoError(t, json.NewEncoder(jobs).Encode(quickJob(startUpstream(t)+pathSessionful)))
		var names []string
		var last event
		for last.Name != eventDone && lines.Scan() {
			last = event{}
			require.NoError(t, json.Unmarshal(lines.Bytes(), &last))
			names = append(names, last.Name)
		}
		require.Equal(t, []string{eventBegan, eventEnded, eventDone}, names)
		require.NotNil(t, last.Outcome)
		assert.Zero(t, last.Outcome.Errors, last.Outcome.FirstError)
	}
	require.NoError(t, jobs.Close())
	require.NoError(t, <-ended)
}

func TestCallDoesNotAllocate(t *testing.T) {
	c := &client{base: firstID}
	c.conn = newWireConn(&loopback{})
	whole := callBody(toolName, 1024, false)
	c.requests = []request{{whole: whole, id: whole[len(callBegin) : len(callBegin)+10]}}
	allocations := testing.AllocsPerRun(100, func() {
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
	})
	assert.Zero(t, allocations, "the load generator would measure its own garbage collector")
	assert.True(t, strings.HasPrefix(string(whole), callBegin+"1000000100,"))
}

// loopback answers each call that is written to it.
type loopback struct {
	net.Conn
	answer []byte
}

func (l *loopback) Write(p []byte) (int, error) {
	id, _ := quickCall(p)
	l.answer = appendResult(l.answer[:0], id, "{"+callResult+"}", "")
	return len(p), nil
}

func (l *loopback) Read(p []byte) (int, error) { return bytes.NewReader(l.answer).Read(p) }
