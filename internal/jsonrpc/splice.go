package jsonrpc

import (
	"cmp"
	"fmt"
	"slices"
)

// Edit replaces the bytes of a span. A span whose ends are the same inserts.
type Edit struct {
	Span Span
	New  []byte
}

// Splice returns a copy of body with the edits made and every other byte as it was. Edits may come in any order; those
// that insert at one place are made in the order given. It allocates once, and leaves body and edits alone.
//
// An edit of an absent span, of one outside of body, or of one that overlaps another's is a mistake of the caller and an
// error: no edit is made then.
func Splice(body []byte, edits ...Edit) ([]byte, error) {
	if !slices.IsSortedFunc(edits, compareEdits) {
		var few [16]Edit // so that the usual few need no allocation
		edits = append(few[:0], edits...)
		slices.SortStableFunc(edits, compareEdits)
	}
	size, done := len(body), 0
	for i := range edits {
		span := edits[i].Span
		if !span.Present() || span.Start < 0 || span.End < span.Start || span.End > len(body) {
			return nil, fmt.Errorf("no bytes %d to %d to edit in a document of %d", span.Start, span.End, len(body))
		}
		if span.Start < done {
			return nil, fmt.Errorf("edit of bytes %d to %d overlaps the one that ends at %d", span.Start, span.End, done)
		}
		size += len(edits[i].New) - (span.End - span.Start)
		done = span.End
	}
	out := make([]byte, 0, size)
	done = 0
	for i := range edits {
		out = append(append(out, body[done:edits[i].Span.Start]...), edits[i].New...)
		done = edits[i].Span.End
	}
	return append(out, body[done:]...), nil
}

func compareEdits(a, b Edit) int {
	return cmp.Or(cmp.Compare(a.Span.Start, b.Span.Start), cmp.Compare(a.Span.End, b.Span.End))
}
