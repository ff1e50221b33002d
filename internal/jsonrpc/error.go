package jsonrpc

import (
	"fmt"
	"strconv"
)

// The error codes of JSON-RPC and MCP.
const (
	CodeParseError         = -32700 // not JSON
	CodeInvalidRequest     = -32600 // JSON, but not a message
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternalError      = -32603
	CodeHeaderMismatch     = -32020 // a header says something else than the body
	CodeMissingCapability  = -32021 // the client did not declare what the request needs
	CodeUnsupportedVersion = -32022 // of the protocol
	CodeElicitationNeeded  = -32042 // the user has to open a URL first
)

// Error is a JSON-RPC error with the HTTP status to answer with.
type Error struct {
	Code    int
	Message string
	Status  int
	ID      []byte // the request's raw id; nil if it could not be read
	Data    []byte // raw JSON; nil if there is none
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("json-rpc error %d: %s", e.Code, e.Message) }

// AppendResponse appends the response that tells a client of the error. It leaves the id out if there is none.
func (e *Error) AppendResponse(dst []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0",`...)
	if len(e.ID) > 0 {
		dst = append(append(append(dst, `"id":`...), e.ID...), ',')
	}
	dst = strconv.AppendInt(append(dst, `"error":{"code":`...), int64(e.Code), 10)
	dst = AppendQuote(append(dst, `,"message":`...), e.Message)
	if len(e.Data) > 0 {
		dst = append(append(dst, `,"data":`...), e.Data...)
	}
	return append(dst, "}}"...)
}

// AppendResult appends the response to a request; id and result are raw JSON.
func AppendResult(dst, id, result []byte) []byte {
	dst = append(append(dst, `{"jsonrpc":"2.0","id":`...), id...)
	return append(append(append(dst, `,"result":`...), result...), '}')
}
