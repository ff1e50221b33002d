package catalog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// Digest identifies what a tool is said to be. Two definitions have one digest if they say the same: the order of members, space and escapes do not count.
// The zero Digest is none.
type Digest [sha256.Size]byte

// DigestPrefix begins every Digest as people see it.
const DigestPrefix = "sha256:"

// String is the digest as it is shown, and as the configuration pins it.
func (d Digest) String() string { return DigestPrefix + hex.EncodeToString(d[:]) }

// Pin is the digest, as text, that the definition of a tool must have to be offered, by the server's own name for the tool.
type Pin struct{ Tool, Digest string }

// pin is "" for a tool that is not pinned.
func (s *Server) pin(tool string) string {
	i, found := slices.BinarySearchFunc(s.Pins, tool, func(p Pin, tool string) int { return cmp.Compare(p.Tool, tool) })
	if !found {
		return ""
	}
	return s.Pins[i].Digest
}

// Mispinned are the server's own names of the tools that it lists and whose definitions are not those that they are pinned to, in order.
func (s *Server) Mispinned() (tools []string) {
	l := s.State.Listing
	if l == nil || len(s.Pins) == 0 {
		return nil
	}
	for i, def := range l.Items[Tool] {
		name, _, err := stringMember(def, "name")
		if err != nil {
			continue
		}
		if pin := s.pin(name); pin != "" && pin != l.digest(i).String() {
			tools = append(tools, name)
		}
	}
	slices.Sort(tools)
	return slices.Compact(tools)
}

// digest is that of the i-th tool. A listing that was made without has none ready.
func (l *Listing) digest(i int) Digest {
	if len(l.Digests) == len(l.Items[Tool]) {
		return l.Digests[i]
	}
	return DigestOf(l.Items[Tool][i])
}

// digested are the members by which a model and its user judge a tool. What else a definition has, such as icons and
// _meta, may change without making another tool of it.
func digested() []string {
	return []string{"name", "title", "description", "inputSchema", "outputSchema", "annotations"}
}

// DigestOf is the digest of a tool's definition as its server gave it: that of a JSON object of those members that it has, without space and with all
// members in order.
func DigestOf(def json.RawMessage) Digest {
	said := []byte{'{'}
	for _, m := range jsonrpc.Members(def, whole(def)) {
		if key, err := jsonrpc.Unquote(m.Key.Of(def)); err != nil || !slices.Contains(digested(), key) {
			continue
		}
		if len(said) > 1 {
			said = append(said, ',')
		}
		said = append(append(append(said, m.Key.Of(def)...), ':'), m.Value.Of(def)...)
	}
	return sha256.Sum256(appendCanonical(nil, append(said, '}'), 0))
}

// DigestsOf are the digests of tools, in their order.
func DigestsOf(defs []json.RawMessage) []Digest {
	out := make([]Digest, len(defs))
	for i, def := range defs {
		out[i] = DigestOf(def)
	}
	return out
}

// maxCanonical is how deep values are brought into order. Each level is read once more for each that it is in, and a hostile server may nest thousands.
const maxCanonical = 64

// appendCanonical appends a JSON value without space, with its members in order and its strings escaped in one way. Numbers stay as they are: 1 and 1.0 are
// the same to some readers and not to others (Invariant 1). What is too deep, or cannot be read, stays as it is too.
func appendCanonical(dst []byte, value json.RawMessage, depth int) []byte {
	if len(value) == 0 || depth > maxCanonical {
		return append(dst, value...)
	}
	switch value[0] {
	case '"':
		if text, err := jsonrpc.Unquote(value); err == nil {
			return jsonrpc.AppendQuote(dst, text)
		}
	case '{':
		return appendCanonicalObject(dst, value, depth)
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(value, &items) != nil {
			break
		}
		dst = append(dst, '[')
		for i, item := range items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendCanonical(dst, item, depth+1)
		}
		return append(dst, ']')
	}
	return append(dst, value...)
}

func appendCanonicalObject(dst []byte, object json.RawMessage, depth int) []byte {
	type member struct {
		key   string
		value []byte
	}
	var members []member
	for _, m := range jsonrpc.Members(object, whole(object)) {
		key, err := jsonrpc.Unquote(m.Key.Of(object))
		if err != nil {
			return append(dst, object...)
		}
		members = append(members, member{key, m.Value.Of(object)})
	}
	// A key that is there twice keeps its places, for readers differ in which one counts.
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCanonical(append(jsonrpc.AppendQuote(dst, m.key), ':'), m.value, depth+1)
	}
	return append(dst, '}')
}

// networkRef is a place on the network where a tool's schema says that the rest of it is, or "" if there is none. Whoever followed it would tell that place
// of itself, and get a schema that nobody has looked at.
func networkRef(def json.RawMessage) string {
	if !bytes.Contains(def, []byte(`ef"`)) && !bytes.Contains(def, []byte(`\u`)) {
		return "" // as nearly all have none
	}
	for _, schema := range []string{"inputSchema", "outputSchema"} {
		span, err := jsonrpc.Lookup(def, whole(def), schema)
		if err != nil || !span.Present() {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(span.Of(def)))
		isRef := false
		for {
			token, err := dec.Token()
			if err != nil {
				break
			}
			text, isText := token.(string)
			if isText && isRef && onNetwork(text) {
				return text
			}
			// A value of that text is taken for a key, which costs no more than a look at what follows.
			isRef = isText && (text == "$ref" || text == "$dynamicRef" || text == "$recursiveRef")
		}
	}
	return ""
}

// onNetwork tells whether a reference names a place of its own, by an authority: a fragment and a urn do not, a file does.
func onNetwork(ref string) bool {
	u, err := url.Parse(ref)
	return err == nil && (u.Host != "" || strings.EqualFold(u.Scheme, "file"))
}
