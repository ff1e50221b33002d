package router

import (
	"net/http"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// This file is about tasks, as the extension io.modelcontextprotocol/tasks has them.

// task routes what is asked of a task to the broker, for the server whose tool has made it. To policies it names no item: who got the task was allowed the call, and the
// broker, which knows the tool, looks whether it still is. So looking after a task is not counted as another call.
func (x *exchange) task() *jsonrpc.Error {
	if !x.view.Features().Tasks {
		return &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Status: http.StatusNotFound, ID: x.id, Message: "no server behind this gateway has tasks"}
	}
	if err := x.checkName("taskId"); err != nil {
		return err
	}
	id, err := x.text(x.m.Param("taskId"), "taskId")
	if err != nil {
		return err
	}
	if len(id) > maxURI {
		return badParams(x.id, "params.taskId is none that this gateway gave")
	}
	task, ok := x.tasks.Open(id, session.SubjectOf(x.req.authorization))
	it := x.view.Find(catalog.Tool, task.Tool)
	if !ok || it == nil || it.Server.Name != task.Server || !it.Server.Tasks() {
		return badParams(x.id, "unknown task")
	}
	x.d.fact(wire.HeaderServer, wire.KeyServer, it.Server.Name)
	x.d.set(wire.HeaderMCPMethod, x.m.MethodName())
	x.d.set(wire.HeaderMCPName, headerValue(id))
	x.carried(it.Timeout)
	return nil
}

// takesTasks tells whether a call may be answered with a task, whose id the broker then has to make one that names the server.
func (x *exchange) takesTasks(server *catalog.Server) bool {
	if !server.Tasks() || x.m.MethodName() != "tools/call" {
		return false
	}
	declared, err := x.m.Lookup("_meta", wire.MetaClientCapabilities, "extensions", wire.ExtensionTasks)
	return err != nil || declared.Present()
}
