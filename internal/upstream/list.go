package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// Limits bound what one list of one server may hold. What is beyond is left out and reported.
type Limits struct {
	MaxPages int // 0 means 10 000
	MaxItems int // 0 means 100 000
	MaxBytes int // of all definitions together; 0 means 64 MiB
}

// dialect is how a kind of item is listed.
type dialect struct {
	method     string
	member     string // of the result, with the items
	key        string // of an item, which identifies it
	capability string
	changed    string // the notification that says that the list is another
}

func dialectOf(kind catalog.Kind) dialect {
	switch kind {
	case catalog.Tool:
		return dialect{"tools/list", "tools", "name", "tools", "notifications/tools/list_changed"}
	case catalog.Prompt:
		return dialect{"prompts/list", "prompts", "name", "prompts", "notifications/prompts/list_changed"}
	case catalog.Resource:
		return dialect{"resources/list", "resources", "uri", "resources", "notifications/resources/list_changed"}
	default:
		return dialect{"resources/templates/list", "resourceTemplates", "uriTemplate", "resources", "notifications/resources/list_changed"}
	}
}

// ChangedMethod is the notification that says that the list of a kind is another.
func ChangedMethod(kind catalog.Kind) string { return dialectOf(kind).changed }

// allKinds are the kinds of items in the order in which they are listed.
func allKinds() []catalog.Kind {
	return []catalog.Kind{catalog.Tool, catalog.Prompt, catalog.Resource, catalog.Template}
}

// listed is the list of one kind.
type listed struct {
	items    []json.RawMessage
	problems []string
	cache    catalog.Cache
	lost     bool // the server failed to give it, and it is what it was
}

// lister reads one list to its end.
type lister struct {
	dialect

	kind   catalog.Kind
	limits Limits
	modern bool // the server speaks a revision without sessions
	// call makes one request of the list.
	call func(ctx context.Context, method string, params json.RawMessage) (json.RawMessage, error)

	out     listed
	seen    int // items, whether good or not
	bytes   int
	keys    map[string]bool
	cursors map[[sha256.Size]byte]bool
}

// fault is an answer by which a list is lost while the server lives.
type fault struct{ message string }

func (f *fault) Error() string { return f.message }

// list reads all pages of a list. A *fault means that the server answered with an error, or with what is no list.
func (l *lister) list(ctx context.Context) (listed, error) {
	l.dialect = dialectOf(l.kind)
	l.keys = map[string]bool{}
	l.cursors = map[[sha256.Size]byte]bool{}
	var cursor json.RawMessage
	for pages := 0; ; pages++ {
		if pages == l.limits.MaxPages {
			l.problem("%s goes on after %d pages: the rest is left out", l.method, pages)
			return l.out, nil
		}
		items, next, err := l.page(ctx, cursor)
		// Some servers write an empty cursor, or false, where there is none. It is followed all the same, for it could be
		// one; if it is not, then what comes back is an error or the first page again.
		if isDoubtful(cursor) && (err != nil || l.allKnown(items)) {
			items, next, err = nil, nil, nil
		}
		if err != nil {
			return l.failed(err)
		}
		if !l.add(items) || next == nil || l.loops(next) {
			return l.out, nil
		}
		cursor = next
	}
}

func (l *lister) page(ctx context.Context, cursor json.RawMessage) (items []json.RawMessage, next json.RawMessage, err error) {
	var params json.RawMessage
	if cursor != nil {
		params = slices.Concat([]byte(`{"cursor":`), cursor, []byte{'}'})
	}
	result, err := l.call(ctx, l.method, params)
	if err != nil {
		return nil, nil, err
	}
	if l.modern {
		if err := l.judge(result); err != nil {
			return nil, nil, err
		}
	}
	return parsePage(result, l.member)
}

// judge reads what a result without a session says beside the items. What it lacks is reported, once for all pages.
func (l *lister) judge(result json.RawMessage) error {
	lacks := checkResult(result)
	if other := (*fault)(nil); errors.As(lacks, &other) {
		return other
	}
	cache, err := cacheOf(result)
	if first := l.out.cache; first.Told {
		cache.TTL, cache.Private = min(cache.TTL, first.TTL), cache.Private || first.Private
	}
	l.out.cache = cache
	for _, err := range []error{lacks, err} {
		if err == nil {
			continue
		}
		if text := l.method + ": " + err.Error(); !slices.Contains(l.out.problems, text) {
			l.problem("%s", text)
		}
	}
	return nil
}

func isDoubtful(cursor json.RawMessage) bool {
	return len(cursor) > 0 && (string(cursor) == `""` || cursor[0] != '"')
}

// failed sorts out what a failed request means for the list.
func (l *lister) failed(err error) (listed, error) {
	var rpc *jsonrpc.Error
	var page *fault
	switch {
	case errors.As(err, &rpc) && rpc.Code == jsonrpc.CodeMethodNotFound:
		// Templates are optional: most servers with resources have none and do not know the method.
		if l.kind != catalog.Template {
			l.problem("the server declares the capability %q and does not know %s", l.capability, l.method)
		}
		return l.out, nil
	case errors.As(err, &rpc) && rpc.Code == jsonrpc.CodeUnsupportedVersion:
		return listed{}, fmt.Errorf("%w: %w", errAnother, err)
	case errors.As(err, &rpc):
		return listed{}, &fault{fmt.Sprintf("%s failed with error %d: %s", l.method, rpc.Code, brief(rpc.Message, maxSnippet))}
	case errors.As(err, &page):
		return listed{}, &fault{fmt.Sprintf("%s: %s", l.method, page.message)}
	}
	return listed{}, err
}

// parsePage takes a result apart into its items and the raw cursor of the next page, nil for the last one.
func parsePage(result json.RawMessage, member string) (items []json.RawMessage, next json.RawMessage, err error) {
	raw, err := memberOf(result, member)
	if err != nil {
		return nil, nil, &fault{err.Error()}
	}
	// Some servers write null for a list without items.
	if string(raw) != "null" {
		if len(raw) == 0 || raw[0] != '[' {
			return nil, nil, &fault{fmt.Sprintf("the result has no array %q", member)}
		}
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, nil, &fault{brief(err.Error(), maxSnippet)}
		}
	}
	next, err = memberOf(result, "nextCursor")
	if err != nil {
		return nil, nil, &fault{err.Error()}
	}
	if string(next) == "null" {
		next = nil
	}
	return items, slices.Clone(next), nil
}

// add takes the items of one page; false means that a limit was reached.
func (l *lister) add(items []json.RawMessage) bool {
	for _, item := range items {
		l.seen++
		key, err := itemKey(item, l.key)
		switch {
		case err != nil:
			l.problem("%s number %d is left out: %s", l.kind, l.seen, brief(err.Error(), maxSnippet))
			continue
		case l.keys[key]:
			l.problem("%s %q is there twice: the first one counts", l.kind, brief(key, maxSnippet))
			continue
		case len(l.out.items) == l.limits.MaxItems:
			l.problem("%s has more than %d items: the rest is left out", l.method, l.limits.MaxItems)
			return false
		}
		if l.bytes += len(item); l.bytes > l.limits.MaxBytes {
			l.problem("%s has more than %d bytes: %q and what follows is left out", l.method, l.limits.MaxBytes, brief(key, maxSnippet))
			return false
		}
		l.keys[key] = true
		l.out.items = append(l.out.items, item)
	}
	return true
}

// itemKey is the name or URI that identifies an item.
func itemKey(item json.RawMessage, member string) (string, error) {
	if len(item) == 0 || item[0] != '{' {
		return "", errors.New("it is not an object")
	}
	key, err := textOf(item, member)
	if err == nil && key == "" {
		err = fmt.Errorf("it has no %q", member)
	}
	return key, err
}

// allKnown tells whether a page brings nothing new.
func (l *lister) allKnown(items []json.RawMessage) bool {
	return !slices.ContainsFunc(items, func(item json.RawMessage) bool {
		key, err := itemKey(item, l.key)
		return err == nil && !l.keys[key]
	})
}

// loops tells whether a cursor was there before. Only its sum is kept: a cursor has any length.
func (l *lister) loops(cursor json.RawMessage) bool {
	sum := sha256.Sum256(cursor)
	if l.cursors[sum] {
		if !isDoubtful(cursor) {
			l.problem("%s repeats a cursor: what may follow is left out", l.method)
		}
		return true
	}
	l.cursors[sum] = true
	return false
}

// maxProblems bounds what one list can report.
const maxProblems = 100

func (l *lister) problem(format string, args ...any) {
	switch len(l.out.problems) {
	case maxProblems:
	case maxProblems - 1:
		l.out.problems = append(l.out.problems, l.method+" has more problems than these")
	default:
		l.out.problems = append(l.out.problems, fmt.Sprintf(format, args...))
	}
}
