package translator

import "strings"

const itemMark = "\n  - "

// written is a configuration that was written before, taken apart: its entries by name.
type written struct {
	servers, virtualServers map[string]string
}

// readWritten takes a configuration apart that [Output.write] made. Whatever an entry has, its own lines and those of its values are indented further than the
// marks that it goes by.
func readWritten(data []byte) written {
	servers, virtual, _ := strings.Cut(string(data), "\n"+virtualListKey)
	if virtual != "" {
		virtual = "\n" + virtual // the mark of the first entry begins with the line's end that the key took
	}
	return written{servers: entriesOf(servers), virtualServers: entriesOf(virtual)}
}

func entriesOf(list string) map[string]string {
	entries := map[string]string{}
	for i, text := range strings.Split(list, itemMark) {
		if i == 0 {
			continue
		}
		first, _, _ := strings.Cut(text, "\n")
		if name, ok := strings.CutPrefix(first, "name: "); ok {
			entries[name] = strings.TrimSuffix(text, "\n")
		}
	}
	return entries
}

// textOf is the text of an entry by which it is compared with those that are written.
func textOf(document []byte) string {
	_, text, _ := strings.Cut(string(document), itemMark)
	return strings.TrimSuffix(text, "\n")
}
