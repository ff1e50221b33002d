package jsonrpc

import "iter"

// Span is a half-open range of a document's bytes. The zero Span means absent: inside an object nothing starts at 0.
type Span struct{ Start, End int }

// Present tells whether the span is one at all.
func (s Span) Present() bool { return s.End != 0 }

// Of returns the bytes that the span covers; nil if it is absent.
func (s Span) Of(b []byte) []byte {
	if !s.Present() {
		return nil
	}
	return b[s.Start:s.End:s.End]
}

// Kind is what a message is to its receiver.
type Kind uint8

// The kinds of messages. A zero Message is of none.
const (
	Request      Kind = iota + 1 // a method and an id
	Notification                 // a method without an id
	Response                     // a result or an error
)

// Member is one member of an object. Key has its quotes and escapes, as in the document.
type Member struct{ Key, Value Span }

// Message tells where the parts of one JSON-RPC message are. All spans are of Body.
type Message struct {
	Body   []byte // the document given to Parse, not copied
	Kind   Kind
	ID     Span // a string or an integer; absent in a notification
	Method Span // a string, which Unquote can read
	Params Span // an object
	Result Span
	Error  Span // an object

	params members
}

// MethodName returns the decoded method, "" for a response. It allocates only for a name that MCP does not define or
// that is written with escapes.
func (m *Message) MethodName() string {
	if !m.Method.Present() {
		return ""
	}
	raw := m.Body[m.Method.Start+1 : m.Method.End-1]
	if name := knownMethod(raw); name != "" {
		return name
	}
	name, _ := Unquote(m.Method.Of(m.Body)) // Parse saw to it that it can be
	return name
}

// Param returns the value of the member of params whose decoded key is the given one.
func (m *Message) Param(key string) Span {
	for i := range m.params.n {
		member := m.params.at(i)
		if keyIs(m.Body, member.Key, key, m.params.escaped) {
			return member.Value
		}
	}
	return Span{}
}

// Lookup follows decoded keys from params, as the function Lookup does, but need not read the other members of params
// again.
func (m *Message) Lookup(path ...string) (Span, error) {
	if len(path) == 0 {
		return m.Params, nil
	}
	return Lookup(m.Body, m.Param(path[0]), path[1:]...)
}

// ParamMembers goes over the members of params in their order.
func (m *Message) ParamMembers() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for i := range m.params.n {
			if !yield(*m.params.at(i)) {
				return
			}
		}
	}
}

// knownMethod returns MCP's own name that equals the raw one, or "".
func knownMethod(raw []byte) string {
	switch string(raw) {
	case "initialize":
		return "initialize"
	case "ping":
		return "ping"
	case "server/discover":
		return "server/discover"
	case "tools/list":
		return "tools/list"
	case "tools/call":
		return "tools/call"
	case "prompts/list":
		return "prompts/list"
	case "prompts/get":
		return "prompts/get"
	case "resources/list":
		return "resources/list"
	case "resources/read":
		return "resources/read"
	case "resources/templates/list":
		return "resources/templates/list"
	case "resources/subscribe":
		return "resources/subscribe"
	case "resources/unsubscribe":
		return "resources/unsubscribe"
	case "subscriptions/listen":
		return "subscriptions/listen"
	case "completion/complete":
		return "completion/complete"
	case "logging/setLevel":
		return "logging/setLevel"
	case "tasks/get":
		return "tasks/get"
	case "tasks/list":
		return "tasks/list"
	case "tasks/result":
		return "tasks/result"
	case "tasks/update":
		return "tasks/update"
	case "tasks/cancel":
		return "tasks/cancel"
	case "sampling/createMessage":
		return "sampling/createMessage"
	case "elicitation/create":
		return "elicitation/create"
	case "roots/list":
		return "roots/list"
	}
	return knownNotification(raw)
}

func knownNotification(raw []byte) string {
	switch string(raw) {
	case "notifications/initialized":
		return "notifications/initialized"
	case "notifications/cancelled":
		return "notifications/cancelled"
	case "notifications/progress":
		return "notifications/progress"
	case "notifications/message":
		return "notifications/message"
	case "notifications/tools/list_changed":
		return "notifications/tools/list_changed"
	case "notifications/prompts/list_changed":
		return "notifications/prompts/list_changed"
	case "notifications/resources/list_changed":
		return "notifications/resources/list_changed"
	case "notifications/resources/updated":
		return "notifications/resources/updated"
	case "notifications/roots/list_changed":
		return "notifications/roots/list_changed"
	case "notifications/elicitation/complete":
		return "notifications/elicitation/complete"
	case "notifications/subscriptions/acknowledged":
		return "notifications/subscriptions/acknowledged"
	case "notifications/tasks/status":
		return "notifications/tasks/status"
	}
	return ""
}
