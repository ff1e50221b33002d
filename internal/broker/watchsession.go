package broker

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about watching resources of servers with sessions: in a session of the gateway's own, whose event stream tells of the changes.

// maxAsking is how many resources are asked for at once.
const maxAsking = 8

// begun notes what a connection agreed to when it began. If the one before had ended, changes may have been missed, so that all is told to have changed.
func (w *watcher) begun(s *watching, uris map[string]bool) {
	missed := isClosed(s.before) // once this has begun, the other one is stopped
	s.uris = uris
	w.settledAs(s.version, uris)
	close(s.agreed)
	if missed {
		w.tellAll(uris)
	}
}

// inSession is one connection with a server with sessions, from its opening to its end.
func (w *watcher) inSession(ctx context.Context, s *watching, uris []string) {
	defer close(s.ended)
	opening, cancel := context.WithTimeout(ctx, watchPatience)
	opened, err := w.endpoint.Open(opening, w.b.ownParams())
	cancel()
	if err != nil {
		w.b.opts.Logger.DebugContext(ctx, "cannot open a session to watch resources in", "server", w.key.server, "error", err)
		return
	}
	s.session = opened.Session
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = w.endpoint.Delete(closing, s.session) // a server that does not hear of it forgets the session in time
	}()
	var asking sync.WaitGroup
	defer asking.Wait()
	err = w.endpoint.Listen(ctx, s.session, watchPatience, func() {
		// Only now is there somebody to hear of a change.
		asking.Go(func() { w.begun(s, w.ask(ctx, s, uris)) })
	}, func(method string, params []byte) {
		if method == "notifications/resources/updated" {
			w.updated(params)
		}
	})
	w.b.opts.Logger.DebugContext(ctx, "event stream of watched resources ended", "server", w.key.server, "error", err)
}

// ownParams are what a session is opened with that no client has asked for.
func (b *Broker) ownParams() json.RawMessage {
	params := jsonrpc.AppendQuote([]byte(`{"protocolVersion":"`+wire.LatestSession+`","capabilities":{},"clientInfo":{"name":"mcp-gateway","version":`), b.opts.Version)
	return append(params, "}}"...)
}

// ask subscribes to resources, and returns those that the server agrees to tell of.
func (w *watcher) ask(ctx context.Context, s *watching, uris []string) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	var (
		mu     sync.Mutex
		wait   sync.WaitGroup
		places = make(chan struct{}, maxAsking)
		agreed = make(map[string]bool, len(uris))
	)
	for _, uri := range uris {
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			params := append(jsonrpc.AppendQuote([]byte(`{"uri":`), uri), '}')
			if _, err := w.endpoint.Call(ctx, s.session, "resources/subscribe", params); err == nil {
				mu.Lock()
				defer mu.Unlock()
				agreed[uri] = true
			}
		})
	}
	wait.Wait()
	return agreed
}

// extend asks for what is wanted since a connection began.
func (w *watcher) extend(ctx context.Context, s *watching) {
	w.mu.Lock()
	select {
	case <-w.kick: // it is heard by this
	default:
	}
	version := w.version
	more := slices.DeleteFunc(slices.Sorted(maps.Keys(w.wanted)), func(uri string) bool { return s.uris[uri] })
	w.mu.Unlock()
	agreed := maps.Clone(s.uris) // others read the one that is there
	maps.Copy(agreed, w.ask(ctx, s, more))
	s.uris = agreed
	w.settledAs(version, agreed)
}
