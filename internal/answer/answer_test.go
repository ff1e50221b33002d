package answer_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/answer"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/router"
)

func call() *router.Call {
	return &router.Call{Server: &catalog.Server{Name: "weather"}, ID: []byte("9007199254740993")}
}

// failing breaks off.
type failing struct{ io.Reader }

func (f failing) Read([]byte) (int, error) { return 0, errors.New("cut") }

// TestRepeated: whatever becomes of a call that is made again, its client gets an answer with its own id (Invariant 7).
func TestRepeated(t *testing.T) {
	response := func(body io.Reader) *http.Response {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(body)}
	}
	for name, tc := range map[string]struct {
		resp   *http.Response
		err    error
		status int
		want   string
	}{
		"an answer":    {response(strings.NewReader("{}")), nil, http.StatusOK, "{}"}, //nolint:bodyclose // Repeated closes it
		"a refusal":    {nil, &jsonrpc.Error{Code: 403, Status: http.StatusForbidden, Message: "no"}, http.StatusForbidden, `"code":403`},
		"no session":   {nil, errors.New("down"), http.StatusBadGateway, `"id":9007199254740993,"error":{"code":-32603,"message":"server \"weather\" has forgotten its session, and no new one could be opened: down"`},
		"broken off":   {response(failing{}), nil, http.StatusBadGateway, "broke off the answer to the repeated call: cut"}, //nolint:bodyclose // Repeated closes it
		"far too long": {response(io.LimitReader(zeros{}, 17<<20)), nil, http.StatusBadGateway, "call again"},               //nolint:bodyclose // Repeated closes it
	} {
		t.Run(name, func(t *testing.T) {
			r := answer.Repeated(call(), tc.resp, tc.err)
			assert.Equal(t, tc.status, r.Status)
			assert.Contains(t, string(r.Body), tc.want)
			assert.Equal(t, "message", r.Kind())
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestJudge is for what judge.lua of package xds is for, and in its words.
func TestJudge(t *testing.T) {
	id := []byte("1")
	for _, tc := range []struct {
		head answer.Head
		id   []byte
		want string
	}{
		{answer.Head{Status: 200, ContentType: "application/json"}, id, ""},
		{answer.Head{Status: 500, ContentType: "Application/JSON ; charset=utf-8"}, id, ""},
		{answer.Head{Status: 404, Local: true}, id, ""},
		{answer.Head{Status: 404, ContentType: "application/json", Stateless: true}, id, ""},
		{answer.Head{Status: 404, ContentType: "application/json"}, id, "has nothing at its configured url"},
		{answer.Head{Status: 404, ContentType: "text/html", Stateless: true}, id, "has nothing at its configured url"},
		{answer.Head{Status: 202, End: true}, nil, ""},
		{answer.Head{Status: 202, End: true}, id, "server 'weather' took the request without an answer (HTTP status 202)"},
		{answer.Head{Status: 200, ContentType: "application/json", End: true}, id, "took the request without an answer"},
		{answer.Head{Status: 308}, id, "answered with a redirect, which is not followed; its configured url should be the final one (HTTP status 308)"},
		{answer.Head{Status: 407}, id, "did not accept the gateway's own credential"},
		{answer.Head{Status: 405}, id, "has nothing at its configured url"},
		{answer.Head{Status: 500, ContentType: "text/html"}, id, "answered with neither JSON nor an event stream"},
	} {
		r := answer.Judge("weather", tc.id, tc.head)
		if tc.want == "" {
			assert.Nil(t, r, tc)
			continue
		}
		assert.Equal(t, http.StatusBadGateway, r.Status)
		assert.Contains(t, string(r.Body), tc.want)
	}
}
