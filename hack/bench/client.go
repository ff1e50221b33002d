package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// client is one connection of the load generator, with a session of its own where the server gives one.
type client struct {
	conn    *wireConn
	url     *url.URL
	session string
	// authorization is the header of that name, empty for none.
	authorization string
	// request is a whole call, id the part of it that changes from call to call.
	request, id []byte
	// every is the time from one call to the next where they are due at given times, phase when the first one is.
	every, phase time.Duration
	base, made   uint64
	latencies    []uint32 // nanoseconds
	errors       int
	first        error
}

const (
	// Ids all have as many digits, so that a call is changed in place, and no two clients of a job share one.
	firstID      = 1_000_000_000
	idsPerClient = 10_000_000

	// maxErrors is how many wrong answers a client takes before it gives up.
	maxErrors = 20
)

// errAnswer begins every complaint about an answer that came, but is not the right one.
var errAnswer = errors.New("wrong answer")

// open connects, initializes, and makes one call: the first one of a session is special to a gateway.
func (c *client) open(ctx context.Context, j job, number int) error {
	var err error
	if c.url, err = url.Parse(j.URL); err != nil {
		return err
	}
	c.authorization = j.Authorization
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.url.Host)
	if err != nil {
		return err
	}
	c.conn = newWireConn(conn)
	_ = conn.SetDeadline(time.Now().Add(setupTime)) // fails only on a closed connection, as the next write then does
	if err := c.initialize(); err != nil {
		return err
	}
	c.base = firstID + uint64(number)*idsPerClient
	if j.Rate > 0 {
		c.every = time.Duration(j.Connections) * time.Second / time.Duration(j.Rate)
		c.phase = time.Duration(number) * time.Second / time.Duration(j.Rate)
	}
	c.prepare(callBody(j.Tool, j.Body))
	if err := c.call(); err != nil {
		return fmt.Errorf("first call: %w", err)
	}
	c.latencies = make([]uint32, 0, min(int(j.Duration/time.Second+1)*50_000, idsPerClient))
	return nil
}

func (c *client) initialize() error {
	id := []byte("1")
	m, err := c.exchange(c.post([]byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + revision +
		`","capabilities":{},"clientInfo":{"name":"bench","version":"1.0.0"}}}`)))
	if err == nil {
		err = checkAnswer(&m, id)
	}
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	c.session = string(m.session)
	m, err = c.exchange(c.post([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)))
	if err == nil && m.status() != 202 {
		err = fmt.Errorf("%w: %q, want status 202", errAnswer, m.start)
	}
	if err != nil {
		return fmt.Errorf("notifications/initialized: %w", err)
	}
	return nil
}

// head is a request up to its Content-Length.
func (c *client) head(method string) []byte {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mcp-gateway-bench\r\nMCP-Protocol-Version: %s\r\n", method, c.url.RequestURI(), c.url.Host, revision)
	if c.authorization != "" {
		head = fmt.Appendf(head, "Authorization: %s\r\n", c.authorization)
	}
	if c.session != "" {
		head = fmt.Appendf(head, "Mcp-Session-Id: %s\r\n", c.session)
	}
	return head
}

func (c *client) post(body []byte) []byte {
	request := fmt.Appendf(c.head("POST"), "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	return append(request, body...)
}

// prepare lays out the call that is made again and again.
func (c *client) prepare(body []byte) {
	c.request = c.post(body)
	at := len(c.request) - len(body) + len(callBegin)
	c.id = c.request[at : at+len(strconv.Itoa(firstID))]
}

func (c *client) exchange(request []byte) (message, error) {
	if _, err := c.conn.Write(request); err != nil {
		return message{}, err
	}
	return c.conn.next()
}

// call makes the prepared call with an id that this job has not used.
func (c *client) call() error {
	n := c.base + c.made%idsPerClient
	c.made++
	for i := len(c.id) - 1; i >= 0; i-- {
		c.id[i] = byte('0' + n%10)
		n /= 10
	}
	m, err := c.exchange(c.request)
	if err != nil {
		return err
	}
	return checkAnswer(&m, c.id)
}

// checkAnswer tells whether this is the successful answer to the request with the id.
func checkAnswer(m *message, id []byte) error {
	if m.status() != 200 {
		return fmt.Errorf("%w: %q %.300q", errAnswer, m.start, m.body)
	}
	if rest, ok := bytes.CutPrefix(m.body, []byte(resultBegin)); ok {
		if rest, ok = bytes.CutPrefix(rest, id); ok && bytes.HasPrefix(rest, []byte(resultMiddle)) {
			return nil
		}
	}
	answer, fault := jsonrpc.Parse(m.body, jsonrpc.Limits{})
	if fault != nil || !bytes.Equal(answer.ID.Of(m.body), id) || !answer.Result.Present() {
		return fmt.Errorf("%w: want a result with id %s, got %.300q", errAnswer, id, m.body)
	}
	return nil
}

// calls makes one call after the other until the end, or each when it is due, and keeps the latencies of those that were answered in the measured
// time. That of a call that was due counts from then on: what waits for the one before has waited too.
func (c *client) calls(start, end time.Time) {
	_ = c.conn.SetDeadline(end.Add(patience)) // as in open
	for sent := time.Now().Add(c.phase); sent.Before(end); {
		if c.every > 0 {
			time.Sleep(time.Until(sent))
		}
		err := c.call()
		done := time.Now()
		switch {
		case err != nil:
			c.fail(err)
			if !errors.Is(err, errAnswer) || c.errors >= maxErrors {
				return
			}
		case !done.Before(start) && !done.After(end):
			c.latencies = append(c.latencies, uint32(min(done.Sub(sent), math.MaxUint32)))
		}
		if sent = sent.Add(c.every); c.every == 0 {
			sent = done
		}
	}
}

func (c *client) fail(err error) {
	c.errors++
	if c.first == nil {
		c.first = err
	}
}

// close ends the session, so that measurements don't pile them up, and the connection.
func (c *client) close() {
	if c.conn == nil {
		return
	}
	if c.session != "" && c.errors == 0 {
		_ = c.conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.exchange(append(c.head("DELETE"), "\r\n"...)) // a server may refuse to end sessions
	}
	_ = c.conn.Close()
}

// callBody is a tools/call of exactly so many bytes, or a few hundred if they were fewer: nested arguments, numbers that no float64 holds, and
// a text that fills it up.
func callBody(tool string, size int) []byte {
	body := fmt.Appendf(nil, `%s%d,"method":"tools/call","params":{"name":%q,"arguments":{"location":{"city":"Sao Paulo","country":"BR","latitude":-23.5505,"longitude":-46.6333},`+
		`"days":5,"units":"metric","hourly":false,"fields":["temperature","humidity","wind_speed"],"account":9007199254740993,"thresholds":[1.10,1e+40,2.5E+3],"history":[`, callBegin, firstID, tool)
	const day, end = `{"date":"2026-07-01","temperature":17.25,"rain_mm":0}`, `}}}`
	body = append(body, day...)
	// Half of what is left goes into many small values, the rest into one text.
	for half := len(body) + (size-len(body))/2; len(body)+len(day) < half; {
		body = append(append(body, ','), day...)
	}
	const note = `],"note":"`
	padding := max(size-len(body)-len(note)-1-len(end), 0)
	body = append(body, note...)
	body = append(body, bytes.Repeat([]byte("Mention rain, gusts and cold. "), padding/30+1)[:padding]...)
	return append(append(body, '"'), end...)
}
