package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"time"
)

// client is one connection of the load generator, with a session of its own where the server gives one.
type client struct {
	job     job
	conn    *wireConn
	url     *url.URL
	session string
	// requests are what is sent in turn.
	requests []request
	// every is the time from one call to the next where they are due at given times, phase when the first one is.
	every, phase time.Duration
	clock        *alarm
	base, made   uint64
	latencies    []uint32 // nanoseconds
	bytes        int      // of the bodies of all answers to calls
	answers      int
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
	c.job = j
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.url.Host)
	if err != nil {
		return err
	}
	c.conn = newWireConn(conn)
	_ = conn.SetDeadline(time.Now().Add(setupTime)) // fails only on a closed connection, as the next write then does
	c.base = firstID + uint64(number)*idsPerClient
	c.latencies = make([]uint32, 0, min(int(j.Duration/time.Second+1)*50_000, idsPerClient))
	if j.Rate > 0 {
		c.every = time.Duration(j.Connections) * time.Second / time.Duration(j.Rate)
		c.phase = time.Duration(number) * time.Second / time.Duration(j.Rate)
		c.clock = newAlarm()
	}
	if j.Work == workFresh {
		return nil
	}
	if err := c.initialize(); err != nil {
		return err
	}
	if j.Work == workList {
		return c.walk(number)
	}
	c.prepare(callBody(j.Tool, j.Body, j.Modern))
	if err := c.call(); err != nil {
		return fmt.Errorf("first call: %w", err)
	}
	return nil
}

// initialize opens a session, where the protocol has them.
func (c *client) initialize() error {
	if c.job.Modern {
		return nil
	}
	id := []byte("1")
	m, err := c.exchange(c.post([]byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+revision+
		`","capabilities":{},"clientInfo":{"name":"bench","version":"1.0.0"}}}`), "initialize"))
	if err == nil {
		err = checkAnswer(&m, id)
	}
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	c.session = string(m.session)
	m, err = c.exchange(c.post([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), "notifications/initialized"))
	if err == nil && m.status() != 202 {
		err = fmt.Errorf("%w: %q, want status 202", errAnswer, m.start)
	}
	if err != nil {
		return fmt.Errorf("notifications/initialized: %w", err)
	}
	return nil
}

// walk reads all pages of the list, to ask for them again in turn. Clients begin at different ones.
func (c *client) walk(number int) error {
	var cursor []byte
	tools := 0
	for cursor != nil || len(c.requests) == 0 {
		c.requests = append(c.requests, c.newRequest(listBody(cursor, c.job.Modern), "tools/list"))
		r := &c.requests[len(c.requests)-1]
		m, err := c.exchange(r.whole)
		if err != nil {
			return err
		}
		var n int
		if n, cursor, err = readPage(&m, r.id); err != nil {
			return fmt.Errorf("tools/list: %w", err)
		}
		r.length = len(m.body)
		tools += n
	}
	if tools != c.job.Tools {
		return fmt.Errorf("%w: want %d tools, got %d", errAnswer, c.job.Tools, tools)
	}
	c.made = uint64(number)
	return nil
}

// head is a request up to its Content-Length.
func (c *client) head(method string) []byte {
	version := revision
	if c.job.Modern {
		version = modernRevision
	}
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: mcp-gateway-bench\r\nMCP-Protocol-Version: %s\r\n", method, c.url.RequestURI(), c.url.Host, version)
	if c.job.Authorization != "" {
		head = fmt.Appendf(head, "Authorization: %s\r\n", c.job.Authorization)
	}
	if c.session != "" {
		head = fmt.Appendf(head, "Mcp-Session-Id: %s\r\n", c.session)
	}
	return head
}

// post is a whole request with a message of the method.
func (c *client) post(body []byte, method string) []byte {
	request := c.head("POST")
	if c.job.Modern {
		request = fmt.Appendf(request, "Mcp-Method: %s\r\n", method)
		if method == "tools/call" {
			request = fmt.Appendf(request, "Mcp-Name: %s\r\n", c.job.Tool)
		}
	}
	request = fmt.Appendf(request, "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	return append(request, body...)
}

// newRequest lays out a request whose id changes.
func (c *client) newRequest(body []byte, method string) request {
	r := request{whole: c.post(body, method)}
	at := len(r.whole) - len(body) + len(callBegin)
	r.id = r.whole[at : at+len(strconv.Itoa(firstID))]
	return r
}

// prepare lays out the call that is made again and again.
func (c *client) prepare(body []byte) {
	c.requests = append(c.requests[:0], c.newRequest(body, "tools/call"))
}

func (c *client) exchange(request []byte) (message, error) {
	if _, err := c.conn.Write(request); err != nil {
		return message{}, err
	}
	return c.conn.next()
}

// call makes the next of the prepared requests with an id that this job has not used.
func (c *client) call() error {
	r := &c.requests[c.made%uint64(len(c.requests))]
	r.setID(c.base + c.made%idsPerClient)
	c.made++
	m, err := c.exchange(r.whole)
	if err != nil {
		return err
	}
	c.answers++
	c.bytes += len(m.body)
	if c.job.Work == workEvents {
		return checkEvents(&m, r.id)
	}
	if err := checkAnswer(&m, r.id); err != nil {
		return err
	}
	if r.length > 0 && len(m.body) != r.length {
		return fmt.Errorf("%w: %d bytes, and %d when it was first asked", errAnswer, len(m.body), r.length)
	}
	return nil
}

// turn is one time of what is measured. It tells when that began, if not at its own beginning.
func (c *client) turn() (began time.Time, err error) {
	if c.job.Work != workFresh {
		return began, c.call()
	}
	c.end()
	if err := c.initialize(); err != nil {
		return began, err
	}
	c.prepare(callBody(c.job.Tool, c.job.Body, c.job.Modern))
	began = time.Now()
	return began, c.call()
}

// calls makes one call after the other until the end, or each when it is due, and keeps the latencies of those that were answered in the measured
// time. That of a call that was due counts from then on: what waits for the one before has waited too.
func (c *client) calls(start, end time.Time) {
	_ = c.conn.SetDeadline(end.Add(patience)) // as in open
	for sent := time.Now().Add(c.phase); sent.Before(end); {
		if c.every > 0 {
			c.clock.sleepUntil(sent)
		}
		began, err := c.turn()
		done := time.Now()
		if began.IsZero() {
			began = sent
		}
		switch {
		case err != nil:
			c.fail(err)
			if !errors.Is(err, errAnswer) || c.errors >= maxErrors {
				return
			}
		case !done.Before(start) && !done.After(end):
			c.latencies = append(c.latencies, uint32(min(done.Sub(began), math.MaxUint32)))
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

// end ends the session, so that measurements don't pile them up.
func (c *client) end() {
	if c.session != "" && c.errors == 0 {
		_, _ = c.exchange(append(c.head("DELETE"), "\r\n"...)) // a server may refuse to end sessions
	}
	c.session = ""
}

// close ends the session and the connection.
func (c *client) close() {
	c.clock.stop()
	if c.conn == nil {
		return
	}
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	c.end()
	_ = c.conn.Close()
}

func unmarshal(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	return nil
}
