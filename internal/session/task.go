package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// Tasks makes ids of tasks that name their servers, for clients without sessions. Routers and brokers with one key read each other's.
type Tasks struct{ Key []byte }

// Format keeps the key out of logs, whatever the verb.
func (Tasks) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// NewTasks derives what is needed from the key.
func NewTasks(key Key) Tasks { return Tasks{Key: key.Derive("task")} }

// Task is what an id stands for.
type Task struct {
	// Server is the owner, Tool the public name of the tool whose call has become the task, ID the server's own id.
	Server, Tool, ID string
}

const (
	taskPrefix = "gwt."
	taskMAC    = 16 // bytes: who guesses one has the task of another caller
)

// Seal makes an id for a client, which is good for this caller alone: a server to which the gateway shows a credential of its own cannot tell callers apart. It needs
// no escaping in JSON or in a header.
func (t Tasks) Seal(task Task, caller Subject) string {
	body := taskPrefix + base64.RawURLEncoding.EncodeToString([]byte(task.Server+"\x00"+task.Tool+"\x00"+task.ID)) // no name has a NUL
	return body + "." + t.mac(body, caller)
}

// Open is the reverse of Seal. It refuses what was not sealed for this caller.
func (t Tasks) Open(sealed string, caller Subject) (Task, bool) {
	dot := strings.LastIndexByte(sealed, '.')
	// The texts are compared, not what they decode to: a decoder takes more than one text for the same bytes.
	if dot < 0 || !hmac.Equal([]byte(sealed[dot+1:]), []byte(t.mac(sealed[:dot], caller))) {
		return Task{}, false
	}
	encoded, ok := strings.CutPrefix(sealed[:dot], taskPrefix)
	if !ok {
		return Task{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	parts := strings.SplitN(string(raw), "\x00", 3)
	if err != nil || len(parts) != 3 {
		return Task{}, false
	}
	return Task{Server: parts[0], Tool: parts[1], ID: parts[2]}, true
}

func (t Tasks) mac(body string, caller Subject) string {
	m := hmac.New(sha256.New, t.Key)
	m.Write(caller[:])
	m.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:taskMAC])
}
