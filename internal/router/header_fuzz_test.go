package router

import "testing"

// FuzzHeaderValue proves that a name comes out of a header as it went in, and that what goes in is fit for a header.
func FuzzHeaderValue(f *testing.F) {
	for _, seed := range []string{"", "tool", " a", "a\r\nX-Mcp-Servername: b", "é", "=?base64?eA==?=", "=?base64?", "\x00", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		decodeValue(value) // of a client: it must not panic
		header := headerValue(value)
		for i := range len(header) {
			if c := header[i]; c < 0x20 || c > 0x7e {
				t.Fatalf("%q became %q", value, header)
			}
		}
		if got, ok := decodeValue(header); !ok || got != value {
			t.Fatalf("%q became %q and %q, %t", value, header, got, ok)
		}
	})
}
