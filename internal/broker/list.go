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
func (b *Broker) list(w http.ResponseWriter, m *jsonrpc.Message, access Access, kind catalog.Kind, member string) {
	after, ok := b.readCursor(kind, m.Param("cursor").Of(m.Body))
	if !ok {
		b.fail(w, badParams(m, "params.cursor is none that this list gave"))
		return
	}
	definitions, last := page(b.opts.Snapshot(), access, kind, after, b.opts.PageSize)
	head := append([]byte(`{"jsonrpc":"2.0","id":`), m.ID.Of(m.Body)...)
	head = append(append(append(head, `,"result":{"`...), member...), `":[`...)
	tail := []byte("]}}")
	if last != "" {
		tail = append(append([]byte(`],"nextCursor":"`), b.cursor(kind, last)...), `"}}`...)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(head)+len(definitions)+len(tail)))
	_, _ = w.Write(head)
	_, _ = w.Write(definitions)
	_, _ = w.Write(tail)
}

const cursorMAC = 12

// cursor is opaque and signed: it names the item that the page ended with.
func (b *Broker) cursor(kind catalog.Kind, last string) string {
	body := append([]byte{byte(kind)}, last...)
	return base64.RawURLEncoding.EncodeToString(append(b.sign(body), body...))
}

func (b *Broker) sign(body []byte) []byte {
	h := hmac.New(sha256.New, b.cursorKey)
	h.Write(body)
	return h.Sum(nil)[:cursorMAC:cursorMAC]
}

// readCursor returns the name that a cursor stands for, "" for an absent one.
func (b *Broker) readCursor(kind catalog.Kind, raw []byte) (after string, ok bool) {
	if len(raw) == 0 {
		return "", true
	}
	text, err := jsonrpc.Unquote(raw)
	if err != nil {
		return "", false
	}
	all, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(all) <= cursorMAC+1 {
		return "", false
	}
	body := all[cursorMAC:]
	if !hmac.Equal(all[:cursorMAC], b.sign(body)) || body[0] != byte(kind) {
		return "", false
	}
	return string(body[1:]), true
}
