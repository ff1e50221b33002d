package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The revisions of the protocol that are measured: one with sessions and one without.
const (
	revision       = "2025-11-25"
	modernRevision = "2026-07-28"
)

// The servers that the upstream is, by path: /KIND/mcp, or /KIND/TOOLS/mcp for one with so many tools, or /KIND/TOOLS/ANY/mcp where many are alike.
const (
	pathSessionless = "/sessionless/mcp"
	pathSessionful  = "/sessionful/mcp"
	pathModern      = "/modern/mcp"
)

const (
	toolName   = "echo"
	eventsTool = "events" // answers with a stream

	eventsPerAnswer = 100
	pageSize        = 1000
	maxTools        = 100_000
)

// kind is what a server does beside answering calls.
type kind struct {
	sessions bool // it demands them
	legacy   bool // it speaks a revision with sessions
	modern   bool // it speaks the one without
}

// compares tells whether the server holds bodies to the headers that repeat them. One that speaks both kinds of revisions may be asked in either.
func (k kind) compares() bool { return k.modern && !k.legacy }

func kindNamed(name string) (kind, bool) {
	switch name {
	case "sessionless":
		return kind{legacy: true}, true
	case "sessionful":
		return kind{legacy: true, sessions: true}, true
	case "modern":
		return kind{modern: true}, true
	case "both":
		return kind{legacy: true, modern: true}, true
	}
	return kind{}, false
}

// mcpServer is one of the servers. All of what it answers with is made when it is first asked.
type mcpServer struct {
	kind
	discovered string
	called     string   // the result of a call
	pages      []string // results of tools/list
}

var errNoServer = errors.New("no such server")

// newServer makes the server of a path.
func newServer(path string) (*mcpServer, error) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	k, ok := kindNamed(parts[0])
	if !ok || len(parts) < 2 || len(parts) > 4 || parts[len(parts)-1] != "mcp" {
		return nil, fmt.Errorf("%w: %q", errNoServer, path)
	}
	tools := 2
	if len(parts) > 2 {
		var err error
		if tools, err = strconv.Atoi(parts[1]); err != nil || tools < 2 || tools > maxTools {
			return nil, fmt.Errorf("%w: %q tools", errNoServer, parts[1])
		}
	}
	s := &mcpServer{kind: k, called: "{" + callResult + "}"}
	if k.modern {
		const about = `"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1.0.0"}},`
		versions := `"` + modernRevision + `"`
		if k.legacy {
			versions += `,"` + revision + `"`
		}
		s.discovered = `{"supportedVersions":[` + versions + `],` + about + cacheable + `}`
		s.called = `{"resultType":"complete",` + callResult + `}`
	}
	s.pages = pages(tools, k.modern)
	return s, nil
}

// cacheable says that lists stay as they are, so that nobody reads them while something is measured.
const cacheable = `"resultType":"complete","ttlMs":86400000,"cacheScope":"public"`

// pages are the results of tools/list of a server with so many tools.
func pages(tools int, modern bool) []string {
	var out []string
	for first := 0; first < tools; first += pageSize {
		var b strings.Builder
		b.WriteString(`{"tools":[`)
		for i := first; i < min(first+pageSize, tools); i++ {
			if i > first {
				b.WriteByte(',')
			}
			b.WriteString(definition(i))
		}
		b.WriteByte(']')
		if first+pageSize < tools {
			fmt.Fprintf(&b, `,"nextCursor":"%d"`, first/pageSize+1)
		}
		if modern {
			b.WriteString("," + cacheable)
		}
		b.WriteByte('}')
		out = append(out, b.String())
	}
	return out
}

// definition is that of a tool by its number. The first two are those that are called.
func definition(i int) string {
	switch i {
	case 0:
		return `{"name":"` + toolName + `","description":"Answers always the same.","inputSchema":{"type":"object"}}`
	case 1:
		return `{"name":"` + eventsTool + `","description":"Answers with a stream.","inputSchema":{"type":"object"}}`
	}
	return fmt.Sprintf(`{"name":"tool_%05d","description":"Looks number %d up in the register of all numbers, and tells what is known of it.","inputSchema":{"type":"object",`+
		`"properties":{"number":{"type":"integer","description":"The number."},"unit":{"type":"string","enum":["one","ten","hundred"]}},"required":["number"]}}`, i, i)
}

// page is the result of tools/list for a raw cursor.
func (s *mcpServer) page(cursor []byte) (string, bool) {
	if len(cursor) == 0 {
		return s.pages[0], true
	}
	n, err := strconv.Atoi(string(bytes.Trim(cursor, `"`)))
	if err != nil || n < 1 || n >= len(s.pages) {
		return "", false
	}
	return s.pages[n], true
}

const callResult = `"content":[{"type":"text","text":"The forecast for Sao Paulo: 18 degrees, light rain from noon."}]`

// The answers of eventsTool: messages to the client, and the result as the last event.
const (
	notification = "event: message\ndata: " + `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"bench","data":"Some of the work is done."}}` + "\n\n"
	eventBegin   = "event: message\ndata: "
	eventEnd     = "\n\n"

	// eventsPerWrite is how many events the upstream sends at once: a stream comes in pieces.
	eventsPerWrite = 10
)

// appendEvents appends a stream, an event a chunk. What is returned as cuts is where it is to be sent in pieces.
func (s *mcpServer) appendEvents(out, id []byte, cuts []int) ([]byte, []int) {
	out = append(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"...)
	for i := 1; i < eventsPerAnswer; i++ {
		out = appendChunk(out, notification)
		if i%eventsPerWrite == 0 {
			cuts = append(cuts, len(out))
		}
	}
	size := len(eventBegin) + len(resultBegin) + len(id) + len(resultMiddle) + len(s.called) + len(resultEnd) + len(eventEnd)
	out = append(strconv.AppendInt(out, int64(size), 16), "\r\n"...)
	out = append(append(append(append(out, eventBegin...), resultBegin...), id...), resultMiddle...)
	out = append(append(append(out, s.called...), resultEnd...), eventEnd...)
	out = append(out, "\r\n0\r\n\r\n"...)
	return out, append(cuts, len(out))
}

func appendChunk(out []byte, text string) []byte {
	out = append(strconv.AppendInt(out, int64(len(text)), 16), "\r\n"...)
	return append(append(out, text...), "\r\n"...)
}
