package router

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// FuzzRoute routes foreign bodies in an open session. Whatever comes, the router does not panic, its own answers are JSON
// with the request's own id or none, and a call that is sent on names in its metadata the very tool that encoding/json
// reads from what is sent on: a policy and the server never see two different calls.
func FuzzRoute(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if _, body, ok := bytes.Cut(file.Data, []byte("\n\n")); ok && strings.HasSuffix(file.Name, ".request") {
				f.Add(bytes.TrimSuffix(body, []byte("\n")))
			}
		}
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		d := new(Decision)
		w.router.Route(post(w.open.Token()), body, d)
		if !bytes.Equal(before, body) {
			t.Fatal("the request's own bytes were changed")
		}
		if d.Reply != nil {
			checkReply(t, body, d.Reply)
			return
		}
		sent := body
		if d.Body != nil {
			sent = d.Body
		}
		checkSent(t, d, sent)
		for _, h := range d.Set {
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				t.Fatalf("header %s has the value %q", h.Name, h.Value)
			}
		}
	})
}

// message is read as a careless server would: the last of two keys wins, and case does not count.
type message struct {
	ID     json.RawMessage
	Method string
	Params struct {
		Name string
		URI  string
	}
}

func checkReply(t *testing.T, body []byte, r *Reply) {
	t.Helper()
	var reply struct {
		ID    json.RawMessage `json:"id"`
		Error *struct{ Code int }
	}
	if err := json.Unmarshal(r.Body, &reply); err != nil || reply.Error == nil || r.Status < 200 {
		t.Fatalf("reply %d %s: %v", r.Status, r.Body, err)
	}
	var request message
	_ = json.Unmarshal(body, &request) // it reads the id also where another member has the wrong type
	if len(reply.ID) > 0 && !bytes.Equal(request.ID, reply.ID) {
		t.Fatalf("the reply has id %s, the request %s", reply.ID, request.ID)
	}
}

func checkSent(t *testing.T, d *Decision, sent []byte) {
	t.Helper()
	facts := map[string]string{}
	for _, m := range d.Metadata {
		facts[m.Name] = m.Value
	}
	var m message
	if err := json.Unmarshal(sent, &m); err != nil {
		// Unmarshal stops at a member of another type than is expected, but that is not for the router to refuse.
		if !json.Valid(sent) {
			t.Fatalf("sent on what is no JSON: %s", sent)
		}
	}
	if facts[wire.KeyMethod] != m.Method {
		t.Fatalf("metadata says method %q, the body %q", facts[wire.KeyMethod], m.Method)
	}
	if facts[wire.KeyServer] == "" {
		t.Fatal("sent on without a server in the metadata")
	}
	switch m.Method {
	case "tools/call", "prompts/get":
		key := map[string]string{"tools/call": wire.KeyTool, "prompts/get": wire.KeyPrompt}[m.Method]
		if len(m.ID) > 0 && (facts[key] == "" || facts[key] != m.Params.Name) {
			t.Fatalf("metadata says %s %q, the body %q", key, facts[key], m.Params.Name)
		}
	case "resources/read":
		if len(m.ID) > 0 && facts[wire.KeyResource] != m.Params.URI {
			t.Fatalf("metadata says resource %q, the body %q", facts[wire.KeyResource], m.Params.URI)
		}
	}
}
