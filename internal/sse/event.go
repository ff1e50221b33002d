package sse

import "bytes"

// Event is what a client makes of a block.
type Event struct {
	ID      string
	HasID   bool   // an id was there, maybe an empty one, which takes the last id back
	Name    string // of the event; empty means "message"
	Data    []byte
	HasData bool   // only an event with data reaches a client's handlers
	Retry   string // decimal milliseconds; empty if not there
}

// Parse reads one block of a Splitter. A byte order mark at its start is skipped: only the stream's first block should
// have one. An id with a NUL, a retry that is not decimal, comments and unknown fields are ignored. Data is a part of
// block if there is one line of it.
func Parse(block []byte) Event { return parse(block[skipBOM(block):]) }

func parse(block []byte) Event {
	var ev Event
	joined := false // Data is a copy
	lines := lines{b: block}
	for {
		line, _, ok := lines.line()
		if !ok {
			return ev
		}
		name, _, value := field(line)
		switch string(name) {
		case "data":
			switch {
			case !ev.HasData:
				ev.Data, ev.HasData = value, true
			case !joined:
				ev.Data = append(make([]byte, 0, len(block)), ev.Data...)
				joined = true
				fallthrough
			default:
				ev.Data = append(append(ev.Data, '\n'), value...)
			}
		case "event":
			ev.Name = eventName(value)
		case "id":
			if validID(value) {
				ev.ID, ev.HasID = string(value), true
			}
		case "retry":
			if decimal(value) {
				ev.Retry = string(value)
			}
		}
	}
}

// eventName spares the one name that MCP servers use an allocation.
func eventName(value []byte) string {
	if string(value) == "message" {
		return "message"
	}
	return string(value)
}

func validID(value []byte) bool { return bytes.IndexByte(value, 0) < 0 }

func decimal(value []byte) bool {
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(value) > 0
}

// Rewrite appends block to dst, with another id where id is not nil and other data where data is not nil. Only lines that
// hold them change; a block without an id or data line gets none. The id takes the place of each id that a client would
// heed, the data that of the first data line; the others go. A line that is exchanged keeps its end and its space behind
// the colon. The data gets a line for each of its own, whichever way they end. The id ends at its first
// NUL, CR or LF.
func Rewrite(dst, block []byte, id *string, data []byte) []byte {
	start := skipBOM(block)
	dst = append(dst, block[:start]...)
	wrote := false
	lines := lines{b: block[start:]}
	for {
		line, end, ok := lines.line()
		if !ok {
			return dst
		}
		name, prefix, value := field(line)
		switch {
		case id != nil && string(name) == "id" && validID(value):
			dst = appendValue(dst, prefix, []byte(oneLine(*id)))
			dst = append(dst, end...)
		case data != nil && string(name) == "data":
			if !wrote {
				dst = appendData(dst, prefix, end, data)
				wrote = true
			}
		default:
			dst = append(append(dst, line...), end...)
		}
	}
}

// AppendEvent appends an event of our own with its blank line. Its name, id and retry end at the first NUL, CR or LF; its
// data gets a line for each of its own, and none without HasData.
func AppendEvent(dst []byte, ev Event) []byte {
	if ev.Name != "" {
		dst = append(append(append(dst, "event: "...), oneLine(ev.Name)...), '\n')
	}
	if ev.HasID {
		dst = append(append(append(dst, "id: "...), oneLine(ev.ID)...), '\n')
	}
	if ev.Retry != "" {
		dst = append(append(append(dst, "retry: "...), oneLine(ev.Retry)...), '\n')
	}
	if ev.HasData {
		dst = appendData(dst, []byte("data: "), []byte("\n"), ev.Data)
	}
	return append(dst, '\n')
}

// appendData appends a data line for each line of data. The last one gets the end.
func appendData(dst, prefix, end, data []byte) []byte {
	inner := end
	if len(end) == 0 {
		inner = []byte("\n") // the block was cut off
	}
	lines := lines{b: data}
	for {
		line, eol, _ := lines.line()
		dst = appendValue(dst, prefix, line)
		if len(eol) == 0 {
			return append(dst, end...)
		}
		dst = append(dst, inner...)
	}
}

// appendValue appends a field's line without its end. It adds what prefix lacks for the value to be read as it is.
func appendValue(dst, prefix, value []byte) []byte {
	dst = append(dst, prefix...)
	switch {
	case bytes.IndexByte(prefix, ':') < 0:
		dst = append(dst, ": "...)
	case prefix[len(prefix)-1] == ':' && len(value) > 0 && value[0] == ' ':
		dst = append(dst, ' ')
	}
	return append(dst, value...)
}

// oneLine cuts a value at the first byte that a field cannot hold.
func oneLine(s string) string {
	for i := range len(s) {
		if c := s[i]; c == 0 || c == '\n' || c == '\r' {
			return s[:i]
		}
	}
	return s
}
