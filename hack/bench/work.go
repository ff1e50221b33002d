package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// work is what the load generator does again and again.
type work string

const (
	workCall   work = "call"   // a call with a JSON answer
	workEvents work = "events" // a call that is answered with a stream
	workList   work = "list"   // the pages of tools/list, one after the other
	workFresh  work = "fresh"  // a session is opened, and its first call is what counts
)

// request is one that is sent again and again with other ids.
type request struct {
	whole []byte
	id    []byte // the part of it that changes
	// length is that of every right answer's body, 0 if nobody knows.
	length int
}

// setID writes a number of as many digits as the id has.
func (r *request) setID(n uint64) {
	for i := len(r.id) - 1; i >= 0; i-- {
		r.id[i] = byte('0' + n%10)
		n /= 10
	}
}

// modernMeta is what a request without a session tells of its client.
const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modernRevision + `","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}`

// callBody is a tools/call of exactly so many bytes, or a few hundred if they were fewer: nested arguments, numbers that no float64 holds, and
// a text that fills it up.
func callBody(tool string, size int, modern bool) []byte {
	body := fmt.Appendf(nil, `%s%d%s%s","arguments":{"location":{"city":"Sao Paulo","country":"BR","latitude":-23.5505,"longitude":-46.6333},`+
		`"days":5,"units":"metric","hourly":false,"fields":["temperature","humidity","wind_speed"],"account":9007199254740993,"thresholds":[1.10,1e+40,2.5E+3],"history":[`, callBegin, firstID, callMiddle, tool)
	const day = `{"date":"2026-07-01","temperature":17.25,"rain_mm":0}`
	end := `}}}`
	if modern {
		end = `},` + modernMeta + `}}`
	}
	body = append(body, day...)
	const note = `],"note":"`
	left := size - len(body) - len(note) - 1 - len(end)
	// Half of what is left goes into many small values, the rest into one text.
	for half := left / 2; half >= len(day)+1; half -= len(day) + 1 {
		body = append(append(body, ','), day...)
		left -= len(day) + 1
	}
	padding := max(left, 0)
	body = append(body, note...)
	body = append(body, bytes.Repeat([]byte("Mention rain, gusts and cold. "), padding/30+1)[:padding]...)
	return append(append(body, '"'), end...)
}

// listBody is a tools/list of the page with the raw cursor, of the first one without.
func listBody(cursor []byte, modern bool) []byte {
	body := fmt.Appendf(nil, `%s%d,"method":"tools/list","params":{`, callBegin, firstID)
	if cursor != nil {
		body = append(append(body, `"cursor":`...), cursor...)
	}
	if modern {
		if cursor != nil {
			body = append(body, ',')
		}
		body = append(body, modernMeta...)
	}
	return append(body, "}}"...)
}

// checkAnswer tells whether this is the successful answer to the request with the id.
func checkAnswer(m *message, id []byte) error {
	if m.status() != 200 {
		return fmt.Errorf("%w: %q %.300q", errAnswer, m.start, m.body)
	}
	return checkResult(m.body, id)
}

func checkResult(body, id []byte) error {
	if rest, ok := bytes.CutPrefix(body, []byte(resultBegin)); ok {
		if rest, ok = bytes.CutPrefix(rest, id); ok && bytes.HasPrefix(rest, []byte(resultMiddle)) {
			return nil
		}
	}
	answer, fault := jsonrpc.Parse(body, jsonrpc.Limits{})
	if fault != nil || !bytes.Equal(answer.ID.Of(body), id) || !answer.Result.Present() {
		return fmt.Errorf("%w: want a result with id %s, got %.300q", errAnswer, id, body)
	}
	return nil
}

// checkEvents tells whether this is a stream of all the events, the last of which is the answer to the request with the id.
func checkEvents(m *message, id []byte) error {
	if m.status() != 200 || !bytes.HasPrefix(m.contentType, []byte("text/event-stream")) {
		return fmt.Errorf("%w: want a stream, got %q, content-type %q, %.300q", errAnswer, m.start, m.contentType, m.body)
	}
	events, last := 0, []byte(nil)
	for rest := m.body; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && len(data) > 1 {
			events++
			last = bytes.TrimSpace(data)
		}
	}
	if events != eventsPerAnswer {
		return fmt.Errorf("%w: want %d events, got %d", errAnswer, eventsPerAnswer, events)
	}
	return checkResult(last, id)
}

// readPage is what a page of tools/list has: the number of its tools, and the raw cursor of the next page, nil for the last one.
func readPage(m *message, id []byte) (tools int, cursor []byte, err error) {
	if err := checkAnswer(m, id); err != nil {
		return 0, nil, err
	}
	var answer struct {
		Result struct {
			Tools []struct {
				Name string `json:"name"`
			} `json:"tools"`
			NextCursor string `json:"nextCursor"`
		} `json:"result"`
	}
	if err := unmarshal(m.body, &answer); err != nil {
		return 0, nil, err
	}
	if answer.Result.NextCursor != "" {
		cursor = []byte(strconv.Quote(answer.Result.NextCursor))
	}
	return len(answer.Result.Tools), cursor, nil
}
