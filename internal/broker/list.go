package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
)

// list answers with one page of those items of a kind that the caller may have.
func (b *Broker) list(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access, kind catalog.Kind, member string) {
	b.see(w, r, m.ID.Of(m.Body), func(view *catalog.View) {
		of := listID{view.Name(), kind}
		after, ok := b.readCursor(of, m.Param("cursor").Of(m.Body))
		if !ok {
			b.fail(w, badParams(m, "params.cursor is none that this list gave"))
			return
		}
		definitions, last := b.shown(view, access, eraOf(r), kind, after)
		next := ""
		if last != "" {
			next = b.cursor(of, last)
		}
		var more []byte
		if isModern(r) {
			more = b.hints(view, access, kind)
		}
		writePage(w, m, member, definitions, next, more)
	})
}

// shown is one page of what the caller is shown of what it may have, and the name that it ends with if more follow. Who has begun to read a list gets all of it.
func (b *Broker) shown(view *catalog.View, access Access, era catalog.Era, kind catalog.Kind, after string) (definitions []byte, last string) {
	if kind == catalog.Tool && after == "" {
		if servers, many := b.tooMany(view, access); many {
			return metaTools(servers), ""
		}
	}
	return page(view, access, era, kind, after, b.opts.PageSize)
}

// writePage answers with one page. The cursor of the next one is empty if there is none; more are further members of the result.
func writePage(w http.ResponseWriter, m *jsonrpc.Message, member string, definitions []byte, next string, more []byte) {
	head := append([]byte(`{"jsonrpc":"2.0","id":`), m.ID.Of(m.Body)...)
	head = append(append(append(head, `,"result":{"`...), member...), `":[`...)
	tail := []byte("]")
	if next != "" {
		tail = append(append(append(tail, `,"nextCursor":"`...), next...), '"')
	}
	tail = append(append(tail, more...), "}}"...)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(head)+len(definitions)+len(tail)))
	_, _ = w.Write(head)
	_, _ = w.Write(definitions)
	_, _ = w.Write(tail)
}

const cursorMAC = 12

// listID is the list that a cursor belongs to.
type listID struct {
	virtualServer string
	kind          catalog.Kind
}

// cursor is opaque and signed: it names the item that the page ended with.
func (b *Broker) cursor(of listID, last string) string {
	return base64.RawURLEncoding.EncodeToString(append(b.sign(of, last), last...))
}

func (b *Broker) sign(of listID, last string) []byte {
	h := hmac.New(sha256.New, b.cursorKey)
	h.Write(append([]byte{byte(of.kind)}, of.virtualServer...))
	h.Write([]byte{0}) // no name has it
	h.Write([]byte(last))
	return h.Sum(nil)[:cursorMAC:cursorMAC]
}

// readCursor returns the name that a cursor stands for, "" for an absent one.
func (b *Broker) readCursor(of listID, raw []byte) (after string, ok bool) {
	if len(raw) == 0 {
		return "", true
	}
	text, err := jsonrpc.Unquote(raw)
	if err != nil {
		return "", false
	}
	all, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(all) <= cursorMAC {
		return "", false
	}
	after = string(all[cursorMAC:])
	if !hmac.Equal(all[:cursorMAC], b.sign(of, after)) {
		return "", false
	}
	return after, true
}
