package sse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func data(s string) Event { return Event{Data: []byte(s), HasData: true} }

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		block string
		want  Event
	}{
		"all fields": {
			"event: message\nid: 7-1\nretry: 1500\ndata: {\"a\":1}\n\n",
			Event{Name: "message", ID: "7-1", HasID: true, Retry: "1500", Data: []byte(`{"a":1}`), HasData: true},
		},
		"no space behind the colon":            {"data:a\n\n", data("a")},
		"one space goes, others stay":          {"data:   a \n\n", data("  a ")},
		"a tab stays":                          {"data:\ta\n\n", data("\ta")},
		"a colon in the value":                 {"data: a: b:c\n\n", data("a: b:c")},
		"several lines are joined":             {"data: a\ndata:b\ndata: c\n\n", data("a\nb\nc")},
		"joined across other lines":            {"data: a\nid: 1\n: c\ndata: b\n\n", Event{ID: "1", HasID: true, Data: []byte("a\nb"), HasData: true}},
		"CR":                                   {"data: a\rdata: b\r\r", data("a\nb")},
		"CRLF":                                 {"data: a\r\ndata: b\r\n\r\n", data("a\nb")},
		"mixed":                                {"data: a\rdata: b\r\ndata: c\n\r", data("a\nb\nc")},
		"empty data":                           {"data\n\n", data("")},
		"empty data with a colon":              {"data:\n\n", data("")},
		"two empty lines of data":              {"data\ndata:\n\n", data("\n")},
		"an empty line of data at the end":     {"data: a\ndata:\n\n", data("a\n")},
		"comments":                             {": data: a\n:\n:data: b\n\n", Event{}},
		"unknown fields":                       {"Data: a\ndata : b\n data: c\nfoo: d\nfoo\n\n", Event{}},
		"empty id":                             {"id\n\n", Event{HasID: true}},
		"empty id with a colon":                {"id:\n\n", Event{HasID: true}},
		"the last id counts":                   {"id: a\nid: b\n\n", Event{ID: "b", HasID: true}},
		"id with NUL is ignored":               {"id: a\x00b\n\n", Event{}},
		"id with NUL leaves the one before":    {"id: a\nid: \x00\n\n", Event{ID: "a", HasID: true}},
		"the last event name counts":           {"event: a\nevent: b\n\n", Event{Name: "b"}},
		"an empty event name takes it back":    {"event: a\nevent\n\n", Event{}},
		"retry that is not decimal":            {"retry: 1.5\nretry: -1\nretry:\nretry: 5s\nretry: +5\n\n", Event{}},
		"retry that is not decimal leaves one": {"retry: 10\nretry: x\n\n", Event{Retry: "10"}},
		"byte order mark":                      {bom + "data: a\n\n", data("a")},
		"a second byte order mark":             {bom + bom + "data: a\n\n", Event{}},
		"byte order mark alone on its line":    {bom + "\ndata: a\n\n", data("a")},
		"no blank line":                        {"data: a", data("a")},
		"nothing":                              {"", Event{}},
		"blank line":                           {"\n", Event{}},
		"bytes that are not UTF-8 stay":        {"data: \xff\n\n", data("\xff")},
	} {
		t.Run(name, func(t *testing.T) {
			got := Parse([]byte(test.block))
			require.Empty(t, cmp.Diff(test.want, got))
			// A block never tells more than its lines do, whichever way they end.
			crlf := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(test.block)
			require.Empty(t, cmp.Diff(test.want, Parse([]byte(crlf))))
		})
	}
}

func TestParseOneDataLineIsNotCopied(t *testing.T) {
	block := []byte("event: message\ndata: {\"id\":1}\n\n")
	allocs := testing.AllocsPerRun(100, func() {
		if ev := Parse(block[15:]); len(ev.Data) != 8 {
			t.Error(ev)
		}
	})
	require.Zero(t, allocs)
}

func TestRewrite(t *testing.T) {
	id := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		block string
		id    *string
		data  string // "-" leaves it
		want  string
	}{
		"nothing to change":          {"id: 1\ndata: a\n: c\n\n", nil, "-", "id: 1\ndata: a\n: c\n\n"},
		"id":                         {"id: 1\ndata: a\n\n", id("s-1"), "-", "id: s-1\ndata: a\n\n"},
		"data":                       {"id: 1\ndata: a\n\n", nil, "b", "id: 1\ndata: b\n\n"},
		"no id, none added":          {"data: a\n\n", id("s-1"), "-", "data: a\n\n"},
		"no data, none added":        {"id: 1\n\n", nil, "b", "id: 1\n\n"},
		"the rest stays as it is":    {": hi\nfoo:bar\nevent:x\nretry:  5\nid:1\nData: q\ndata:a\nzzz\n\n", id("2"), "b", ": hi\nfoo:bar\nevent:x\nretry:  5\nid:2\nData: q\ndata:b\nzzz\n\n"},
		"CRLF stays":                 {"id: 1\r\ndata: a\r\n\r\n", id("2"), "b", "id: 2\r\ndata: b\r\n\r\n"},
		"CR stays":                   {"id: 1\rdata: a\r\r", id("2"), "b", "id: 2\rdata: b\r\r"},
		"mixed ends stay":            {"id: 1\rdata: a\r\n:c\n\r", id("2"), "b", "id: 2\rdata: b\r\n:c\n\r"},
		"several lines become one":   {"data: a\nid: 1\ndata: b\ndata: c\n\n", nil, "x", "data: x\nid: 1\n\n"},
		"one becomes several":        {"data: a\r\nid: 1\r\n\r\n", nil, "x\ny\r\nz\rw", "data: x\r\ndata: y\r\ndata: z\r\ndata: w\r\nid: 1\r\n\r\n"},
		"data that ends with LF":     {"data: a\n\n", nil, "x\n", "data: x\ndata: \n\n"},
		"empty data":                 {"data: a\n\n", nil, "", "data: \n\n"},
		"leading space, no space":    {"data:a\nid:1\n\n", id(" 2"), " x", "data:  x\nid:  2\n\n"},
		"leading space, a space":     {"data: a\n\n", nil, " x", "data:  x\n\n"},
		"no colon":                   {"data\nid\n\n", id("2"), "x", "data: x\nid: 2\n\n"},
		"empty id":                   {"id: 1\n\n", id(""), "-", "id: \n\n"},
		"every id that counts":       {"id: 1\nid: 2\n\n", id("x"), "-", "id: x\nid: x\n\n"},
		"an id that nobody heeds":    {"id: a\x00\nid: 1\n\n", id("2"), "-", "id: a\x00\nid: 2\n\n"},
		"an id cannot bring a field": {"id: 1\n\n", id("2\ndata: evil"), "-", "id: 2\n\n"},
		"byte order mark stays":      {bom + "id: 1\ndata: a\n\n", id("2"), "b", bom + "id: 2\ndata: b\n\n"},
		"a block that was cut off":   {"id: 1\ndata: a", id("2"), "x\ny", "id: 2\ndata: x\ndata: y"},
		"comments alone":             {": ping\n\n", id("2"), "b", ": ping\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var data []byte
			if test.data != "-" {
				data = []byte(test.data)
				if data == nil {
					data = []byte{}
				}
			}
			block := []byte(test.block)
			got := Rewrite([]byte("before"), block, test.id, data)
			require.Equal(t, "before"+test.want, string(got))
			require.Equal(t, test.block, string(block), "the block itself is left alone")
			if ev := Parse(got[len("before"):]); ev.HasData && data != nil {
				require.Equal(t, strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(test.data), string(ev.Data))
			}
		})
	}
}

func TestAppendEvent(t *testing.T) {
	for name, test := range map[string]struct {
		ev   Event
		want string
	}{
		"data":              {data("x"), "data: x\n\n"},
		"all":               {Event{Name: "message", ID: "1", HasID: true, Retry: "5", Data: []byte("x"), HasData: true}, "event: message\nid: 1\nretry: 5\ndata: x\n\n"},
		"several lines":     {data("x\ny\n"), "data: x\ndata: y\ndata: \n\n"},
		"leading space":     {data(" x"), "data:  x\n\n"},
		"empty data":        {data(""), "data: \n\n"},
		"empty id":          {Event{HasID: true}, "id: \n\n"},
		"id needs HasID":    {Event{ID: "1", Data: []byte("x"), HasData: true}, "data: x\n\n"},
		"data need HasData": {Event{Data: []byte("x")}, "\n"},
		"nothing smuggled":  {Event{Name: "a\ndata: 1", ID: "b\r\rdata: 2", HasID: true, Retry: "3\n\n"}, "event: a\nid: b\nretry: 3\n\n"},
		"no NUL in an id":   {Event{ID: "b\x00c", HasID: true}, "id: b\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := AppendEvent([]byte("x"), test.ev)
			require.Equal(t, "x"+test.want, string(got))
		})
	}
}

func FuzzEvent(f *testing.F) {
	f.Add("message", "1", []byte("x\ny"), []byte("id: 0\r\ndata: a\r\ndata:b\r\n\r\n"))
	f.Add("", "", []byte(""), []byte("data\rid\r\r"))
	f.Fuzz(func(t *testing.T, name, id string, data, block []byte) {
		joined := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
		stream := AppendEvent(nil, Event{Name: name, ID: id, HasID: true, Data: data, HasData: true})
		var s Splitter
		blocks, err := split(t, &s, string(stream))
		require.NoError(t, err)
		require.Equal(t, []string{string(stream)}, blocks, "whatever is in it, it is one event")
		want := Event{Name: oneLine(name), ID: oneLine(id), HasID: true, Data: []byte(joined), HasData: true}
		require.Empty(t, cmp.Diff(want, Parse([]byte(blocks[0]))))

		old := Parse(block)
		if data == nil {
			data = []byte{}
		}
		ev := Parse(Rewrite(nil, block, &id, data))
		if old.HasID {
			old.ID = oneLine(id)
		}
		if old.HasData {
			old.Data = []byte(joined)
		}
		require.Empty(t, cmp.Diff(old, ev), "nothing but id and data changes, and those fully")
	})
}
