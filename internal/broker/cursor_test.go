package broker

import (
	"testing"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// FuzzCursor proves that a cursor leads on in the list that gave it, and that nothing else is one.
func FuzzCursor(f *testing.F) {
	b := &Broker{cursorKey: []byte("the key of this test")}
	list := listID{virtualServer: "one", kind: catalog.Tool}
	f.Add([]byte(`"made up"`), "tool")
	f.Add([]byte(`"`+b.cursor(list, "tool")+`"`), "a\x00b")
	f.Add([]byte(`17`), "é")
	f.Fuzz(func(t *testing.T, foreign []byte, last string) {
		if after, ok := b.readCursor(list, foreign); ok && len(foreign) > 0 {
			if text, err := jsonrpc.Unquote(foreign); err != nil || b.cursor(list, after) != text {
				t.Fatalf("%q was taken, but is not what this list gives", foreign)
			}
		}
		if last == "" {
			return // no list ends with it
		}
		raw := jsonrpc.AppendQuote(nil, b.cursor(list, last))
		if after, ok := b.readCursor(list, raw); !ok || after != last {
			t.Fatalf("%q became %q, %t", last, after, ok)
		}
		for _, other := range []listID{{virtualServer: "one", kind: catalog.Prompt}, {virtualServer: "two", kind: catalog.Tool}} {
			if _, ok := b.readCursor(other, raw); ok {
				t.Fatalf("%v took the cursor of %v", other, list)
			}
		}
	})
}
