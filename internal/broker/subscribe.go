package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/sse"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about subscriptions/listen, by which a client without a session is told of changes.

// subscription is one such request, from its acknowledgement on.
type subscription struct {
	*stream

	id            []byte // of the request, raw, by which every message names the subscription
	virtualServer string
	filter        filter
	ended         chan struct{} // closed when the gateway has no more to tell
	finished      bool          // it is closed
	watchers      []*watcher
}

// filter is what a client wants to be told of.
type filter struct {
	Tools     bool     `json:"toolsListChanged,omitempty"`
	Prompts   bool     `json:"promptsListChanged,omitempty"`
	Resources bool     `json:"resourcesListChanged,omitempty"`
	URIs      []string `json:"resourceSubscriptions,omitempty"`
	Tasks     []string `json:"taskIds,omitempty"`
}

func (f *filter) wants(kind catalog.Kind) bool {
	switch kind {
	case catalog.Tool:
		return f.Tools
	case catalog.Prompt:
		return f.Prompts
	default:
		return f.Resources
	}
}

const (
	// maxSubscriptions bounds how many there are at once.
	maxSubscriptions = 10_000
	// maxURIs bounds how many resources one of them is for, and how many tasks.
	maxURIs = 1_000
)

// subscribe serves a subscription until one of both sides ends it.
func (b *Broker) subscribe(w http.ResponseWriter, r *http.Request, m *jsonrpc.Message, access Access, view *catalog.View) {
	sub := &subscription{
		stream: newStream(),
		id:     bytes.Clone(m.ID.Of(m.Body)), virtualServer: view.Name(), ended: make(chan struct{}),
	}
	raw := m.Param("notifications").Of(m.Body)
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &sub.filter) != nil || len(sub.filter.URIs) > maxURIs || len(sub.filter.Tasks) > maxURIs {
		b.fail(w, badParams(m, "params.notifications must be an object that says which changes to tell of, with no more than 1000 resources and 1000 tasks"))
		return
	}
	if len(sub.filter.Tasks) > 0 {
		if fault := lacksTasks(m); fault != nil {
			b.fail(w, fault)
			return
		}
	}
	if !b.enter(sub) {
		b.fail(w, &jsonrpc.Error{
			Code: jsonrpc.CodeInternalError, Status: http.StatusServiceUnavailable, ID: sub.id, Message: "too many subscriptions are open; try again later",
		})
		return
	}
	defer b.forget(sub)
	defer b.unwatch(sub)
	sub.filter.URIs = b.watch(r.Context(), sub, config.NewSecret(r.Header.Get("Authorization")), sub.filter.URIs, access, view)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	sub.filter.Tasks = b.listenToTasks(ctx, sub, r, access, view)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Connection", "close") // as in listen
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if !write(w, control, sub.acknowledgement()) {
		return
	}
	if b.serve(w, r, control, sub.stream, sub.ended) {
		// What was told before the end comes before it.
		for event := sub.next(); event != nil; event = sub.next() {
			if !write(w, control, event) {
				return
			}
		}
		write(w, control, sub.end())
	}
}

func (b *Broker) enter(sub *subscription) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.subs) >= maxSubscriptions || b.closed {
		return false
	}
	b.subs[sub] = struct{}{}
	return true
}

func (b *Broker) forget(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs, sub)
}

// publish tells of a changed list those who want to know at the endpoints where it has changed.
func (b *Broker) publish(method string, kind catalog.Kind, changed func(virtualServer string) bool) {
	b.mu.Lock()
	var wanted []*subscription
	for sub := range b.subs {
		if sub.filter.wants(kind) {
			wanted = append(wanted, sub)
		}
	}
	b.mu.Unlock()
	for _, sub := range wanted {
		if changed(sub.virtualServer) {
			sub.notify(method, "")
		}
	}
}

// Unchanged tells that a server says that lists of its have changed, which look the same here. Whoever wants to know is told no less than the server tells.
func (b *Broker) Unchanged(server string, kinds []catalog.Kind) {
	snap := b.opts.Snapshot()
	has := func(name string, kind catalog.Kind) bool {
		view := snap.All()
		if name != "" {
			view = snap.VirtualServer(name)
		}
		if view == nil {
			return false
		}
		for it := range view.After(kind, "") {
			if it.Server.Name == server {
				return true
			}
		}
		return false
	}
	told := map[string]bool{}
	for _, kind := range kinds {
		method := upstream.ChangedMethod(kind)
		if told[method] {
			continue
		}
		told[method] = true
		b.publish(method, kind, func(name string) bool {
			return has(name, kind) || kind == catalog.Resource && has(name, catalog.Template)
		})
	}
}

// endSubscriptions ends those at virtual servers that are gone.
func (b *Broker) endSubscriptions(now *catalog.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub := range b.subs {
		if sub.virtualServer != "" && now.VirtualServer(sub.virtualServer) == nil {
			b.finish(sub)
		}
	}
}

// finish ends a subscription on the gateway's side. The lock is held.
func (b *Broker) finish(sub *subscription) {
	if !sub.finished {
		sub.finished = true
		close(sub.ended)
	}
}

// notify queues a notification, of a resource where there is a URI. Who reads too slowly is cut off, and asks for the lists anew.
func (s *subscription) notify(method, uri string) { s.push(s.notification(method, uri)) }

func (s *subscription) notification(method, uri string) []byte {
	data := append([]byte(`{"jsonrpc":"2.0","method":"`), method...)
	data = append(data, `","params":{`...)
	if s.id != nil { // it is of a client without a session
		data = append(append(append(data, `"_meta":{"`+wire.MetaSubscriptionID+`":`...), s.id...), '}')
	}
	if uri != "" {
		if s.id != nil {
			data = append(data, ',')
		}
		data = jsonrpc.AppendQuote(append(data, `"uri":`...), uri)
	}
	return message(append(data, "}}"...))
}

func (s *subscription) acknowledgement() []byte {
	agreed, _ := json.Marshal(s.filter) // flags and strings can be written
	data := append([]byte(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"`+wire.MetaSubscriptionID+`":`), s.id...)
	data = append(append(data, `},"notifications":`...), agreed...)
	return message(append(data, "}}"...))
}

// end is the answer to the request.
func (s *subscription) end() []byte {
	result := append([]byte(`{"resultType":"complete","_meta":{"`+wire.MetaSubscriptionID+`":`), s.id...)
	return message(jsonrpc.AppendResult(nil, s.id, append(result, "}}"...)))
}

func message(data []byte) []byte {
	return sse.AppendEvent(nil, sse.Event{Name: "message", HasData: true, Data: data})
}
