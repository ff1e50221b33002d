package relay

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/sse"
)

func newSession(tb testing.TB) *session.Session {
	tb.Helper()
	s, err := session.NewRegistry(session.Options{Key: session.GenerateKey()}).Create(tb.Context(), session.Start{Revision: "2025-06-18"})
	require.NoError(tb, err)
	return s
}

// rewrite sends a stream through a Rewriter in the given chunks.
func rewrite(tb testing.TB, r *Rewriter, chunks ...string) string {
	tb.Helper()
	var out []byte
	for _, chunk := range chunks {
		var err error
		out, err = r.Push(out, []byte(chunk))
		require.NoError(tb, err)
	}
	return string(r.Rest(out))
}

var sealedValue = regexp.MustCompile(`gw\.[rtcs]\.[A-Za-z0-9/_.-]+`)

// unseal shows each sealed value as <kind server raw>, so that a test can say what it expects.
func unseal(s *session.Session, text string) string {
	return sealedValue.ReplaceAllStringFunc(text, func(m string) string {
		kind, server, raw, ok := s.Unseal(m)
		if !ok {
			return m
		}
		return fmt.Sprintf("<%c %s %s>", kind, server, raw)
	})
}

// TestRewrite proves what is changed, and that no other byte is (Invariant 1).
func TestRewrite(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"integer id":   {`data: {"jsonrpc":"2.0","id":1,"method":"ping"}`, `data: {"jsonrpc":"2.0","id":"<r ns/a 1>","method":"ping"}`},
		"string id":    {`data: {"jsonrpc":"2.0","id":"a\"b","method":"ping"}`, `data: {"jsonrpc":"2.0","id":"<r ns/a "a\"b">","method":"ping"}`},
		"escaped id":   {`data: {"jsonrpc":"2.0","\u0069d":"\u0061","method":"ping"}`, `data: {"jsonrpc":"2.0","\u0069d":"<r ns/a "\u0061">","method":"ping"}`},
		"huge id":      {`data: {"id":123456789012345678901234567890,"jsonrpc":"2.0","method":"ping"}`, `data: {"id":"<r ns/a 123456789012345678901234567890>","jsonrpc":"2.0","method":"ping"}`},
		"negative id":  {`data: {"jsonrpc":"2.0","id":-0,"method":"ping"}`, `data: {"jsonrpc":"2.0","id":"<r ns/a -0>","method":"ping"}`},
		"numbers stay": {`data:  { "jsonrpc":"2.0" , "id" : 1,"method":"roots/list","params":{"n":9007199254740993,"e":1e400,"f":1.10,"x":null} }`, `data:  { "jsonrpc":"2.0" , "id" : "<r ns/a 1>","method":"roots/list","params":{"n":9007199254740993,"e":1e400,"f":1.10,"x":null} }`},
		"progress token of a server's request": {
			`data: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"_meta":{"a":1,"progressToken":7}}}`,
			`data: {"jsonrpc":"2.0","id":"<r ns/a 1>","method":"sampling/createMessage","params":{"_meta":{"a":1,"progressToken":"<t ns/a 7>"}}}`,
		},
		"progress token before the id": {
			`data: {"params":{"_meta":{"progressToken":"p"}},"method":"sampling/createMessage","id":"i","jsonrpc":"2.0"}`,
			`data: {"params":{"_meta":{"progressToken":"<t ns/a "p">"}},"method":"sampling/createMessage","id":"<r ns/a "i">","jsonrpc":"2.0"}`,
		},
		"progress of the client's own call": {
			`data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}`,
			`data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}`,
		},
		"cancelled":            {`data: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"x"}}`, `data: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"<r ns/a 1>","reason":"x"}}`},
		"cancelled without id": {`data: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`, `data: {"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}`},
		"response":             {`data: {"jsonrpc":"2.0","id":1,"result":{"id":2,"method":"ping"}}`, `data: {"jsonrpc":"2.0","id":1,"result":{"id":2,"method":"ping"}}`},
		"error":                {`data: {"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":""}}`, `data: {"jsonrpc":"2.0","id":"x","error":{"code":-1,"message":""}}`},
		"other notification":   {`data: {"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"requestId":1}}}`, `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"data":{"requestId":1}}}`},
		"event id":             {"id: 17_é\ndata: x", "id: <c ns/a 17_é>\ndata: x"},
		"event id alone":       {"id:0\ndata:", "id:<c ns/a 0>\ndata:"},
		"empty event id":       {"id:\ndata: x", "id:\ndata: x"},
		"both, other lines":    {": comment\nevent: message\nid: 5\nretry: 100\nunknown: y\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", ": comment\nevent: message\nid: <c ns/a 5>\nretry: 100\nunknown: y\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"<r ns/a 1>\",\"method\":\"ping\"}"},
		"not JSON":             {"data: hello, id 1", "data: hello, id 1"},
		"truncated JSON":       {`data: {"jsonrpc":"2.0","id":1,"method":"pi`, `data: {"jsonrpc":"2.0","id":1,"method":"pi`},
		"batch":                {`data: [{"jsonrpc":"2.0","id":1,"method":"ping"}]`, `data: [{"jsonrpc":"2.0","id":1,"method":"ping"}]`},
		"invalid UTF-8":        {"data: \xff\xfe", "data: \xff\xfe"},
		"comment":              {": keep alive", ": keep alive"},
		"data in two lines":    {"data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"method\":\"ping\"}", "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":\"<r ns/a 1>\",\"method\":\"ping\"}"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, eol := range []string{"\n", "\r\n", "\r"} {
				ends := func(s string) string { return strings.ReplaceAll(s+"\n\n", "\n", eol) }
				s := newSession(t)
				r := New(s, "ns/a", Options{Kind: session.SealCallEvent, Resumed: true})
				assert.Equal(t, ends(tc.want), unseal(s, rewrite(t, r, ends(tc.in))), "line ends %q", eol)
			}
		})
	}
}

const stream = "\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n\r\n" +
	"event: message\nid: 2\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\"notifications/cancelled\",\"params\":{\"requestId\":9007199254740993}}\n\n" +
	"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/drop\"}\n\n" +
	"retry: 5\rdata: not JSON \xc3\xa9\r\rid: 3\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"n\":1.10}}\n\nid: 4\ndata: unfinished"

// TestChunks proves that it does not matter where a stream is cut.
func TestChunks(t *testing.T) {
	s := newSession(t)
	fresh := func() *Rewriter {
		return New(s, "a", Options{Kind: session.SealStreamEvent, Resumed: true, Drop: func(m string) bool { return m == "notifications/drop" }})
	}
	want := rewrite(t, fresh(), stream)
	require.Contains(t, unseal(s, want), `"requestId":"<r a 9007199254740993>"`)
	require.True(t, strings.HasSuffix(want, "id: 4\ndata: unfinished"), "what the server did not finish stays as it is")
	require.NotContains(t, want, "drop")
	for i := range stream {
		require.Equal(t, want, rewrite(t, fresh(), stream[:i], stream[i:]), "cut at byte %d", i)
		for j := i; j < len(stream); j += 7 {
			require.Equal(t, want, rewrite(t, fresh(), stream[:i], stream[i:j], stream[j:]), "cut at bytes %d and %d", i, j)
		}
	}
	require.Equal(t, want, rewrite(t, fresh(), strings.Split(stream, "")...), "byte by byte")
}

// TestNothingIsHeldBack proves Invariant 10: an event is passed on as soon as it is complete.
func TestNothingIsHeldBack(t *testing.T) {
	r := New(newSession(t), "a", Options{Kind: session.SealCallEvent})
	out, err := r.Push(nil, []byte("data: 1\n\ndata: 2"))
	require.NoError(t, err)
	assert.Equal(t, "data: 1\n\n", string(out))
	out, err = r.Push(out[:0], []byte("\n\n"))
	require.NoError(t, err)
	assert.Equal(t, "data: 2\n\n", string(out))
	assert.Empty(t, r.Rest(nil))
}

func TestPushAppends(t *testing.T) {
	r := New(newSession(t), "a", Options{Kind: session.SealCallEvent})
	chunk := []byte("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n")
	before := bytes.Clone(chunk)
	out, err := r.Push([]byte("before|"), chunk)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(out), "before|data: "))
	assert.Equal(t, before, chunk, "the caller's bytes were changed")
}

func TestTooLargeEvent(t *testing.T) {
	r := New(newSession(t), "a", Options{Kind: session.SealCallEvent})
	_, err := r.Push(nil, append([]byte("data: "), make([]byte, MaxEvent)...))
	require.ErrorIs(t, err, sse.ErrTooLarge)
}

func TestCallbacks(t *testing.T) {
	var answered, events []string
	r := New(newSession(t), "a", Options{
		Kind:     session.SealCallEvent,
		Resumed:  true,
		Answered: func(id []byte) { answered = append(answered, string(id)) },
		Event:    func(id string) { events = append(events, id) },
	})
	rewrite(t, r, "id: e1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n",
		"id: e2\ndata: {\"jsonrpc\":\"2.0\",\"id\":9007199254740993,\"result\":{}}\n\n",
		"data: {\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":1,\"message\":\"\"}}\n\n",
		"id:\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n")
	assert.Equal(t, []string{"9007199254740993", `"x"`}, answered)
	assert.Equal(t, []string{"e1", "e2"}, events)
}

func TestDropIsForNotificationsAlone(t *testing.T) {
	s := newSession(t)
	var asked []string
	r := New(s, "a", Options{Kind: session.SealStreamEvent, Resumed: true, Drop: func(m string) bool { asked = append(asked, m); return true }})
	got := rewrite(t, r, "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n",
		"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\ndata: x\n\n")
	assert.Equal(t, "data: {\"jsonrpc\":\"2.0\",\"id\":\"<r a 1>\",\"method\":\"ping\"}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\ndata: x\n\n", unseal(s, got))
	assert.Equal(t, []string{"notifications/tools/list_changed"}, asked)
}

// TestResponsesOfAnother: no server answers what another was asked, though ids are easily guessed and all are one server to the client.
func TestResponsesOfAnother(t *testing.T) {
	s := newSession(t)
	defer s.BeginCall([]byte("7"), "a")()
	defer s.BeginCall([]byte("8"), "a")()
	defer s.BeginCall([]byte("9"), "b")()
	event := func(data string) string { return "data: " + data + "\n\n" }
	result := func(id string) string { return event(`{"jsonrpc":"2.0","id":` + id + `,"result":{}}`) }
	own, also, others, unknown, noID := result("7"), result("8"), result("9"), result(`"x"`), event(`{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}`)
	twice := event(`{"jsonrpc":"2.0","id":7,"id":9,"result":{}}`)
	escaped := event(`{"jsonrpc":"2.0","id":"call\u0020x","result":{}}`)
	deep := event(`{"jsonrpc":"2.0","id":9,"result":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`)
	tooDeep := event(`{"jsonrpc":"2.0","id":9,"result":` + strings.Repeat("[", 2*MaxDepth) + strings.Repeat("]", 2*MaxDepth) + `}`)
	all := own + also + others + unknown + noID + twice + escaped + deep + tooDeep
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"of a call":               {Options{Kind: session.SealCallEvent, ID: []byte("7")}, own + also + noID},
		"of a call with a string": {Options{Kind: session.SealCallEvent, ID: []byte(`"call x"`)}, own + also + noID + escaped},
		"listened on":             {Options{Kind: session.SealStreamEvent}, own + also + noID},
		"resumed":                 {Options{Kind: session.SealCallEvent, Resumed: true}, own + also + unknown + noID + escaped},
	} {
		assert.Equal(t, tc.want, rewrite(t, New(s, "a", tc.o), all), name)
	}
}

// TestRoundTrip proves that what a client sends back under a sealed id finds its server and that server's own raw id,
// however many servers use the same ids.
func TestRoundTrip(t *testing.T) {
	s, other := newSession(t), newSession(t)
	ids := regexp.MustCompile(`"id":("[^"]*")`)
	seen := map[string]bool{}
	for _, server := range []string{"a", "b", "ns/a"} {
		for _, id := range []string{"1", `"1"`, "-1", "9007199254740993", "123456789012345678901234567890", `"é\n\" \\ "`, `""`} {
			r := New(s, server, Options{Kind: session.SealCallEvent})
			out := rewrite(t, r, `data: {"jsonrpc":"2.0","id":`+id+`,"method":"ping"}`+"\n\n")
			found := ids.FindStringSubmatch(out)
			require.Len(t, found, 2, out)
			require.False(t, seen[found[1]], "two requests got one id")
			seen[found[1]] = true

			gotServer, raw, ok := Unseal(s, session.SealRequest, []byte(found[1]))
			require.True(t, ok)
			assert.Equal(t, server, gotServer)
			assert.Equal(t, id, string(raw))
			_, _, ok = Unseal(s, session.SealToken, []byte(found[1]))
			assert.False(t, ok, "a request's id is no progress token")
			_, _, ok = Unseal(other, session.SealRequest, []byte(found[1]))
			assert.False(t, ok, "another session's")
		}
	}
}

func TestUnsealRefuses(t *testing.T) {
	s := newSession(t)
	sealed := s.Seal(session.SealRequest, "a", []byte("1"))
	for _, value := range []string{"", "1", "null", `"1"`, `"gw.`, `"gw."`, `"gw.r.a.MQ.AAAAAAAAAAAA"`, sealed, `"` + sealed, `"` + sealed + `\ud800"`, `"` + sealed + ` "`} {
		_, _, ok := Unseal(s, session.SealRequest, []byte(value))
		assert.False(t, ok, "%s", value)
	}
}

// FuzzRewrite proves for foreign streams that the cut does not matter, and that a second look finds the same events.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte(stream), 10)
	f.Add([]byte("id\ndata\ndata:{}\n\n\n\r\n\r"), 3)
	s := newSession(f)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 0 || cut > len(in) {
			cut = len(in) / 2
		}
		o := Options{Kind: session.SealCallEvent, Drop: func(m string) bool { return m == "notifications/drop" }}
		want := rewrite(t, New(s, "a", o), string(in))
		if got := rewrite(t, New(s, "a", o), string(in[:cut]), string(in[cut:])); got != want {
			t.Fatalf("cut at %d: %q, else %q", cut, got, want)
		}
	})
}

func BenchmarkRewrite(b *testing.B) {
	s := newSession(b)
	r := New(s, "a", Options{Kind: session.SealCallEvent})
	chunk := []byte("id: 17_2\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"" + strings.Repeat("x", 900) + "\"}]}}\n\n")
	var out []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		var err error
		if out, err = r.Push(out[:0], chunk); err != nil {
			b.Fatal(err)
		}
	}
}
