package broker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// watching is one connection of a watcher.
type watching struct {
	version       int
	uris          map[string]bool // agreed to
	before        <-chan struct{} // closed when the one before has ended, nil if there was none
	session       upstream.Session
	agreed, ended chan struct{}
	cancel        context.CancelFunc
}

// covered is what a connection tells of. There may be none, or it may have ended.
func (s *watching) covered() map[string]bool {
	if s == nil || isClosed(s.ended) {
		return nil
	}
	return s.uris
}

// stop ends a connection and waits for its end. There may be none.
func (s *watching) stop() {
	if s != nil {
		s.cancel()
		<-s.ended
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// open asks the server for what is wanted now. There may be none before it.
func (w *watcher) open(ctx context.Context, before *watching) *watching {
	w.mu.Lock()
	uris := slices.Sorted(maps.Keys(w.wanted))
	select {
	case <-w.kick: // it is heard by this
	default:
	}
	s := &watching{version: w.version, agreed: make(chan struct{}), ended: make(chan struct{})}
	w.mu.Unlock()
	if before != nil {
		s.before = before.ended
	}
	ctx, s.cancel = context.WithCancel(ctx)
	if w.revision == "" {
		go w.inSession(ctx, s, uris)
		return s
	}
	params, _ := json.Marshal(map[string]any{"notifications": map[string]any{"resourceSubscriptions": uris}}) // strings can be written
	go func() {
		defer close(s.ended)
		err := w.endpoint.Subscribe(ctx, upstream.Session{Revision: w.revision}, watchPatience, upstream.Subscription{
			Params: params,
			Acknowledged: func(filter json.RawMessage) {
				w.begun(s, agreedURIs(filter))
			},
			Notified: func(method string, params []byte) {
				if method == "notifications/resources/updated" {
					w.updated(params)
				}
			},
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			w.b.opts.Logger.DebugContext(ctx, "subscription at a server ended", "server", w.key.server, "error", err)
		}
	}()
	return s
}

func agreedURIs(filter json.RawMessage) map[string]bool {
	var f struct {
		URIs []string `json:"resourceSubscriptions"`
	}
	_ = json.Unmarshal(filter, &f) // what cannot be read agrees to nothing
	out := make(map[string]bool, len(f.URIs))
	for _, uri := range f.URIs {
		out[uri] = true
	}
	return out
}

// updated passes a change on to all who want to know: of the resource, or of one that it is a part of.
func (w *watcher) updated(params []byte) {
	span, err := jsonrpc.Lookup(params, jsonrpc.Span{End: len(params)}, "uri")
	if err != nil {
		return
	}
	uri, err := jsonrpc.Unquote(span.Of(params))
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for own, subs := range w.wanted {
		if uri != own && !strings.HasPrefix(uri, strings.TrimSuffix(own, "/")+"/") {
			continue
		}
		for sub, public := range subs {
			sub.notify("notifications/resources/updated", strings.TrimSuffix(public, own)+uri)
		}
	}
}

func (w *watcher) tellAll(uris map[string]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for own, subs := range w.wanted {
		for sub, public := range subs {
			if uris[own] {
				sub.notify("notifications/resources/updated", public)
			}
		}
	}
}
