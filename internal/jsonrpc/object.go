package jsonrpc

// Members are the members of an object of a document that Parse accepted, in their order; none of what is no object. It is for objects whose
// members have to be gone over; [Lookup] finds a single one.
func Members(body []byte, object Span) []Member {
	if object.End > len(body) || object.End <= object.Start || body[object.Start] != '{' {
		return nil
	}
	var out []Member
	s := scanner{b: body[:object.End], maxDepth: len(body)}
	for i := space(body, object.Start+1); i < object.End && body[i] == '"'; i = space(body, i+1) {
		key := Span{Start: i}
		if key.End, _ = skipString(s.b, i+1); key.End < 0 {
			return out
		}
		value := Span{Start: space(body, space(body, key.End)+1)}
		if value.End = s.skip(value.Start, 0); value.End < 0 {
			return out
		}
		out = append(out, Member{key, value})
		i = space(body, value.End)
	}
	return out
}

// Change returns the edits that change the members of an object: those whose decoded keys drop accepts go, and added (members as they are
// written, with commas between them) come first. All other bytes stay. drop may be nil.
func Change(body []byte, object Span, drop func(key string) bool, added []byte) []Edit {
	members := Members(body, object)
	var (
		edits []Edit
		kept  = -1 // the last one that stays
		gone  = -1 // the first of those behind it that go
	)
	for i := range members {
		if drop != nil && drop(keyOf(body, members[i].Key)) {
			if gone < 0 {
				gone = i
			}
			continue
		}
		if gone >= 0 {
			edits = append(edits, Edit{Span: without(members, kept, gone, i)})
		}
		kept, gone = i, -1
	}
	if gone >= 0 {
		edits = append(edits, Edit{Span: without(members, kept, gone, len(members))})
	}
	if len(added) > 0 {
		start := object.Start + 1
		if kept >= 0 {
			added = append(added[:len(added):len(added)], ',')
		}
		edits = append([]Edit{{Span: Span{start, start}, New: added}}, edits...)
	}
	return edits
}

// without is what must go if the members from gone to next go: with a comma before them if one stays before them, else with the one behind.
func without(members []Member, kept, gone, next int) Span {
	switch {
	case kept >= 0:
		return Span{members[kept].Value.End, members[next-1].Value.End}
	case next < len(members):
		return Span{members[gone].Key.Start, members[next].Key.Start}
	}
	return Span{members[gone].Key.Start, members[next-1].Value.End}
}

// keyOf is a decoded key; one that cannot be decoded is nobody's.
func keyOf(body []byte, key Span) string {
	text, _ := Unquote(key.Of(body))
	return text
}
