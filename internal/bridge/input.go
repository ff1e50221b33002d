package bridge

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// resultInputRequired is the type of a modern result that asks for input.
const resultInputRequired = "input_required"

// Ask is one request of a server for input of the client.
type Ask struct {
	// Key names it among those of one result.
	Key    string
	Method string
	// Params is the raw object, nil if there is none.
	Params json.RawMessage
}

// AskOf reads a legacy server's request for input, whose key is to be the given one.
func AskOf(m *jsonrpc.Message, key string) Ask {
	return Ask{Key: key, Method: m.MethodName(), Params: m.Params.Of(m.Body)}
}

// AppendInputRequired appends the modern response that asks for input. State is empty if nothing is to come back.
func AppendInputRequired(dst, id []byte, asks []Ask, state string, serverInfo json.RawMessage) []byte {
	result := []byte(`{"resultType":"input_required"`)
	if len(asks) > 0 {
		result = append(result, `,"inputRequests":{`...)
		for i, ask := range asks {
			if i > 0 {
				result = append(result, ',')
			}
			result = append(jsonrpc.AppendQuote(result, ask.Key), `:{"method":`...)
			result = jsonrpc.AppendQuote(result, ask.Method)
			// The Go SDK, for one, cannot read a request without params, which roots/list need not have.
			result = append(append(append(result, `,"params":`...), orEmpty(ask.Params)...), '}')
		}
		result = append(result, '}')
	}
	if state != "" {
		result = jsonrpc.AppendQuote(append(result, `,"requestState":`...), state)
	}
	if serverInfo != nil {
		result = append(append(result, `,"_meta":{`...), appendMember(nil, wire.MetaServerInfo, serverInfo)...)
		result = append(result, '}')
	}
	return jsonrpc.AppendResult(dst, id, append(result, '}'))
}

// errResponses and errState are faults of a modern client's retry.
var (
	errResponses = errors.New("params.inputResponses must be an object with one object for each request for input")
	errState     = errors.New("params.requestState must be a string")
)

// Responses reads the answers of a modern client's retry, by the keys of the requests; ok is false if the request is none.
func Responses(m *jsonrpc.Message) (answers map[string]json.RawMessage, state string, ok bool, err error) {
	given, stated := m.Param(memberResponses), m.Param(memberState)
	if !given.Present() && !stated.Present() {
		return nil, "", false, nil
	}
	if stated.Present() {
		if state, err = jsonrpc.Unquote(stated.Of(m.Body)); err != nil {
			return nil, "", false, errState
		}
	}
	if !given.Present() {
		return nil, state, true, nil
	}
	if m.Body[given.Start] != '{' {
		return nil, "", false, errResponses
	}
	answers = map[string]json.RawMessage{}
	for _, member := range jsonrpc.Members(m.Body, given) {
		key, err := jsonrpc.Unquote(member.Key.Of(m.Body))
		if _, twice := answers[key]; err != nil || twice || m.Body[member.Value.Start] != '{' {
			return nil, "", false, errResponses
		}
		answers[key] = member.Value.Of(m.Body)
	}
	return answers, state, true, nil
}

// Accepts tells whether an answer to an elicitation is the user's consent.
func Accepts(answer json.RawMessage) bool {
	var result struct {
		Action string `json:"action"`
	}
	return json.Unmarshal(answer, &result) == nil && result.Action == "accept"
}

// Required is what a modern server asks for before it answers.
type Required struct {
	Asks []Ask
	// State is the raw value that has to come back, nil if there is none.
	State json.RawMessage
}

// maxAsks is how many requests for input one result may hold.
const maxAsks = 64

// ReadRequired reads a modern server's result of the type input_required; ok is false for one of another type.
func ReadRequired(m *jsonrpc.Message) (r Required, ok bool, err error) {
	if m.Error.Present() || ResultType(m) != resultInputRequired {
		return Required{}, false, nil
	}
	state, err := jsonrpc.Lookup(m.Body, m.Result, memberState)
	if err != nil {
		return Required{}, true, err
	}
	if state.Present() && m.Body[state.Start] != '"' {
		return Required{}, true, errors.New("its requestState is no string")
	}
	r.State = state.Of(m.Body)
	asks, err := jsonrpc.Lookup(m.Body, m.Result, "inputRequests")
	if err != nil {
		return Required{}, true, err
	}
	members := jsonrpc.Members(m.Body, asks)
	if len(members) > maxAsks {
		return Required{}, true, fmt.Errorf("it asks for more than %d inputs at once", maxAsks)
	}
	for _, member := range members {
		ask, err := readAsk(m.Body, member)
		if err != nil {
			return Required{}, true, err
		}
		r.Asks = append(r.Asks, ask)
	}
	if len(r.Asks) == 0 && r.State == nil {
		return Required{}, true, errors.New("it asks for input but has neither inputRequests nor requestState")
	}
	return r, true, nil
}

func readAsk(body []byte, member jsonrpc.Member) (Ask, error) {
	var ask Ask
	key, err := jsonrpc.Unquote(member.Key.Of(body))
	if err != nil {
		return ask, fmt.Errorf("a key of its inputRequests: %w", err)
	}
	ask.Key = key
	method, err := jsonrpc.Lookup(body, member.Value, "method")
	if err != nil {
		return ask, err
	}
	if ask.Method, err = jsonrpc.Unquote(method.Of(body)); err != nil {
		return ask, errors.New("one of its inputRequests has no method")
	}
	params, err := jsonrpc.Lookup(body, member.Value, "params")
	if err != nil {
		return ask, err
	}
	if params.Present() && body[params.Start] != '{' {
		return ask, errors.New("one of its inputRequests has params that are no object")
	}
	ask.Params = params.Of(body)
	return ask, nil
}

// Request is an ask as a request of a legacy server's, with a raw id. An elicitation by URL gets the id that legacy wants it to have.
func (a Ask) Request(id []byte, elicitationID string) ([]byte, error) {
	params := []byte(a.Params)
	if a.Opens() {
		object := jsonrpc.Span{End: len(params)}
		there, err := jsonrpc.Lookup(params, object, "elicitationId")
		if err != nil {
			return nil, err
		}
		if !there.Present() {
			added := appendMember(nil, "elicitationId", jsonrpc.AppendQuote(nil, elicitationID))
			if params, err = jsonrpc.Splice(params, jsonrpc.Change(params, object, nil, added)...); err != nil {
				return nil, err
			}
		}
	}
	out := append(append([]byte(`{"jsonrpc":"2.0","id":`), id...), `,"method":`...)
	out = jsonrpc.AppendQuote(out, a.Method)
	if params != nil {
		out = append(append(out, `,"params":`...), params...)
	}
	return append(out, '}'), nil
}

// Opens tells whether the user is asked to open a URL.
func (a Ask) Opens() bool { return a.Method == MethodElicit && a.mode() == "url" }

func (a Ask) mode() string {
	span, err := jsonrpc.Lookup(a.Params, jsonrpc.Span{End: len(a.Params)}, "mode")
	if err != nil {
		return ""
	}
	mode, _ := jsonrpc.Unquote(span.Of(a.Params)) // what is no string is no mode
	return mode
}

// cancelled is the answer of a client that could not elicit anything.
const cancelled = `{"action":"cancel"}`

// Answered makes a legacy client's response to a request into what the modern retry says. ok is false where modern has no word for the error
// that it is.
func (a Ask) Answered(m *jsonrpc.Message) (answer json.RawMessage, ok bool) {
	if raw := m.Result.Of(m.Body); len(raw) > 0 && raw[0] == '{' {
		return raw, true
	}
	if a.Method == MethodElicit {
		return json.RawMessage(cancelled), true
	}
	return nil, false
}

// AppendResponses appends the raw object of the answers to asks, which must be all there.
func AppendResponses(dst []byte, asks []Ask, answers map[string]json.RawMessage) []byte {
	dst = append(dst, '{')
	for i, ask := range asks {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(jsonrpc.AppendQuote(dst, ask.Key), ':'), answers[ask.Key]...)
	}
	return append(dst, '}')
}

// maxElicitations is how many URLs one error may want to have opened.
const maxElicitations = 16

// URLElicitations reads the requests of a legacy server that answered with the error that a URL has to be opened first; none of any other
// response, or if there is nothing right in it.
func URLElicitations(m *jsonrpc.Message) []Ask {
	if ErrorCode(m) != jsonrpc.CodeElicitationNeeded {
		return nil
	}
	span, err := jsonrpc.Lookup(m.Body, m.Error, "data", "elicitations")
	if err != nil || !span.Present() {
		return nil
	}
	var elicitations []json.RawMessage
	if json.Unmarshal(span.Of(m.Body), &elicitations) != nil || len(elicitations) > maxElicitations {
		return nil
	}
	var asks []Ask
	for i, params := range elicitations {
		ask := Ask{Key: fmt.Sprintf("url-%d", i+1), Method: MethodElicit, Params: params}
		if params[0] != '{' || ask.mode() != "url" {
			return nil
		}
		asks = append(asks, ask)
	}
	return asks
}
