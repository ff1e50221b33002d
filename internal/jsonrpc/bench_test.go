package jsonrpc

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// toolsCall is the documented fixture of the benchmarks: a tools/call of exactly 1 KiB with nested arguments, numbers that
// a float64 cannot hold, one escaped quote and one letter beyond ASCII.
func toolsCall(tb testing.TB) []byte {
	tb.Helper()
	body, err := os.ReadFile("testdata/tools_call_1k.json")
	if err != nil {
		tb.Fatal(err)
	}
	if len(body) != 1024 {
		tb.Fatalf("the fixture has %d bytes, want 1024", len(body))
	}
	return body
}

// bigCall is a tools/call of about 100 KiB: the arguments of the fixture over and over.
func bigCall(tb testing.TB) []byte {
	tb.Helper()
	body := toolsCall(tb)
	args, err := Lookup(body, mustParse(tb, body).Params, "arguments")
	if err != nil {
		tb.Fatal(err)
	}
	many := bytes.Repeat(append([]byte(","), args.Of(body)...), 125)
	many[0] = '['
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","arguments":{"all":%s]}}}`, many)
}

func mustParse(tb testing.TB, body []byte) Message {
	tb.Helper()
	m, err := Parse(body, Limits{})
	if err != nil {
		tb.Fatalf("%v in %s", err, body)
	}
	return m
}

func BenchmarkParse(b *testing.B)       { benchmarkParse(b, toolsCall(b)) }
func BenchmarkParse100KiB(b *testing.B) { benchmarkParse(b, bigCall(b)) }

// BenchmarkParseRoute is what a router needs of a call: the method, the name and the progress token.
func BenchmarkParseRoute(b *testing.B) {
	body := toolsCall(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		m, err := Parse(body, Limits{})
		if err != nil || m.MethodName() != "tools/call" || !m.Param("name").Present() {
			b.Fatal(err)
		}
		if token, err := m.Lookup("_meta", "progressToken"); err != nil || !token.Present() {
			b.Fatal(err)
		}
	}
}

func benchmarkParse(b *testing.B, body []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := Parse(body, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplice(b *testing.B) {
	body := toolsCall(b)
	m := mustParse(b, body)
	edits := []Edit{
		{Span: m.ID, New: []byte(`"s1-42"`)},
		{Span: m.Param("name"), New: []byte(`"get_forecast"`)},
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := Splice(body, edits...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePing(b *testing.B) {
	benchmarkParse(b, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
}
