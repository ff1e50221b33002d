package broker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/guicassolato/mcp-gateway/internal/bridge"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about clients that want to be told of their tasks rather than to ask.

// extensionTasks are the capabilities of a client that has tasks.
const extensionTasks = `{"extensions":{"` + wire.ExtensionTasks + `":{}}}`

// lacksTasks is the error of a request for word of tasks by a client that does not declare to have any; nil for others.
func lacksTasks(m *jsonrpc.Message) *jsonrpc.Error {
	declared, err := m.Lookup("_meta", wire.MetaClientCapabilities, "extensions", wire.ExtensionTasks)
	if err == nil && declared.Present() {
		return nil
	}
	return missing(m.ID.Of(m.Body), &bridge.Lack{Required: json.RawMessage(extensionTasks)}, "the client does not declare the extension "+wire.ExtensionTasks+", whose taskIds it names")
}

// listenToTasks has servers tell a subscription of tasks as long as the context lasts, and returns the ids of those that they agree to tell of.
func (b *Broker) listenToTasks(ctx context.Context, sub *subscription, r *http.Request, access Access, view *catalog.View) []string {
	authorization := r.Header.Get("Authorization")
	byServer := map[*catalog.Server]map[string]string{} // own ids to the client's
	for _, id := range sub.filter.Tasks {
		task, ok := b.tasks.Open(id, session.SubjectOf(authorization))
		it := view.Find(catalog.Tool, task.Tool)
		if !ok || it == nil || it.Server.Name != task.Server || !it.Server.Tasks() || !access.Allows(requestOf(it)) {
			continue
		}
		if byServer[it.Server] == nil {
			byServer[it.Server] = map[string]string{}
		}
		byServer[it.Server][task.ID] = id
	}
	var (
		mu     sync.Mutex
		agreed []string
		wait   sync.WaitGroup
	)
	for server, wanted := range byServer {
		ep := b.opts.Endpoint(server.Name)
		if ep == nil {
			continue
		}
		wait.Go(func() {
			got := b.listenToTasksOf(ctx, sub, ep.For(config.NewSecret(authorization)), server, wanted)
			mu.Lock()
			defer mu.Unlock()
			agreed = append(agreed, got...)
		})
	}
	wait.Wait()
	slices.Sort(agreed)
	return agreed
}

func (b *Broker) listenToTasksOf(ctx context.Context, sub *subscription, ep *upstream.Endpoint, server *catalog.Server, wanted map[string]string) []string {
	params, _ := json.Marshal(map[string]any{"notifications": map[string]any{"taskIds": slices.Sorted(maps.Keys(wanted))}}) // strings can be written
	acknowledged, ended := make(chan []string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		told := false
		err := ep.Subscribe(ctx, upstream.Session{Revision: server.Modern()}, watchPatience, upstream.Subscription{
			Params: params, Capabilities: extensionTasks,
			Acknowledged: func(filter json.RawMessage) {
				agreed := agreedTasks(filter, wanted)
				told = len(agreed) > 0
				acknowledged <- agreed
			},
			Notified: func(method string, params []byte) {
				if method == "notifications/tasks" {
					sub.task(params, wanted)
				}
			},
		})
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, upstream.ErrEnded) {
			b.opts.Logger.DebugContext(ctx, "subscription to tasks at a server ended", "server", server.Name, "error", err)
		}
		if told { // the client asks for the tasks, and listens anew if it wants to
			b.mu.Lock()
			defer b.mu.Unlock()
			b.finish(sub)
		}
	}()
	select {
	case agreed := <-acknowledged:
		return agreed
	case <-ended:
		return nil
	case <-ctx.Done():
		return nil
	}
}

// agreedTasks are the client's ids of the tasks that a server agrees to tell of.
func agreedTasks(filter json.RawMessage, wanted map[string]string) []string {
	var f struct {
		Tasks []string `json:"taskIds"`
	}
	_ = json.Unmarshal(filter, &f) // what cannot be read agrees to nothing
	var agreed []string
	for _, own := range f.Tasks {
		if id := wanted[own]; id != "" && !slices.Contains(agreed, id) {
			agreed = append(agreed, id)
		}
	}
	return agreed
}

// task queues what a server tells of a task, under the client's id and as a message of the client's subscription.
func (s *subscription) task(params []byte, wanted map[string]string) {
	whole := jsonrpc.Span{End: len(params)}
	span, err := jsonrpc.Lookup(params, whole, "taskId")
	if err != nil {
		return
	}
	own, err := jsonrpc.Unquote(span.Of(params))
	if err != nil || wanted[own] == "" {
		return
	}
	edits := []jsonrpc.Edit{{Span: span, New: jsonrpc.AppendQuote(nil, wanted[own])}}
	subscription := append([]byte(`"`+wire.MetaSubscriptionID+`":`), s.id...)
	meta, err := jsonrpc.Lookup(params, whole, "_meta")
	if err == nil && meta.Present() && params[meta.Start] == '{' {
		edits = append(edits, jsonrpc.Change(params, meta, func(key string) bool { return key == wire.MetaSubscriptionID }, subscription)...)
	} else {
		drop := func(key string) bool { return key == "_meta" } // which is no object
		edits = append(edits, jsonrpc.Change(params, whole, drop, slices.Concat([]byte(`"_meta":{`), subscription, []byte("}")))...)
	}
	changed, err := jsonrpc.Splice(params, edits...)
	if err != nil {
		return
	}
	s.push(message(slices.Concat([]byte(`{"jsonrpc":"2.0","method":"notifications/tasks","params":`), changed, []byte("}"))))
}
