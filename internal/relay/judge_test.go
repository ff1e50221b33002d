package relay

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		status      int
		contentType string
		bodiless    bool
		want        Verdict
		why         string
	}{
		"stream":                      {200, "text/event-stream", false, Stream, ""},
		"stream with parameters":      {200, " Text/Event-Stream; charset=utf-8", false, Stream, ""},
		"message":                     {200, "application/json", false, Message, ""},
		"message with parameters":     {200, "Application/JSON; charset=utf-8", false, Message, ""},
		"error message":               {400, "application/json", false, Message, ""},
		"message without a body":      {200, "application/json", true, Bad, "HTTP status 200"},
		"accepted":                    {202, "", true, Plain, ""},
		"no content":                  {204, "", true, Plain, ""},
		"accepted with text":          {202, "text/plain", false, Plain, ""},
		"forgotten session":           {404, "text/plain", false, Forgotten, ""},
		"forgotten session, as JSON":  {404, "application/json", false, Forgotten, ""},
		"redirect":                    {307, "application/json", false, Bad, "redirect"},
		"unauthorized":                {401, "application/json", false, Bad, "credential"},
		"forbidden":                   {403, "", true, Bad, "credential"},
		"method not allowed":          {405, "application/json", false, Bad, "HTTP method"},
		"a page of HTML":              {200, "text/html", false, Bad, `content type "text/html"`},
		"a failing server":            {500, "text/plain", false, Bad, "HTTP status 500"},
		"a stream that is an error":   {500, "text/event-stream", false, Bad, "HTTP status 500"},
		"nothing said":                {200, "", false, Bad, `content type ""`},
		"a content type without end":  {200, strings.Repeat("x", 10_000), false, Bad, "content type"},
		"look-alike of a stream":      {200, "text/event-streams", false, Bad, "content type"},
		"JSON, but not of a message":  {200, "application/problem+json", false, Bad, "content type"},
		"no status that HTTP defines": {0, "", false, Bad, "HTTP status 0"},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := Judge(tc.status, tc.contentType, "", tc.bodiless)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.want == Bad, why != "", "what is bad has a reason, nothing else has")
			assert.Contains(t, why, tc.why)
			assert.Less(t, len(why), 250)
		})
	}
}

// What is compressed cannot be looked into: ids of the server would pass for the session's.
func TestJudgeEncoding(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/json"} {
		got, why := Judge(200, kind, "gzip", false)
		assert.Equal(t, Bad, got, kind)
		assert.Contains(t, why, `"gzip"`)
		got, _ = Judge(200, kind, "Identity", false)
		assert.NotEqual(t, Bad, got, kind)
		got, _ = Judge(404, kind, "gzip", false)
		assert.Equal(t, Forgotten, got, "a status needs no body")
	}
}

func TestCheckMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   Verdict
	}{
		"result":                     {200, `{"jsonrpc":"2.0","id":1,"result":{"n":9007199254740993}}`, Message},
		"error":                      {400, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown city"}}`, Message},
		"error without id":           {400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}`, Message},
		"forgotten session in words": {400, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid Session ID provided"}}`, Forgotten},
		"not initialized in words":   {400, `Server Not Initialized`, Forgotten},
		"those words in a result":    {200, `{"jsonrpc":"2.0","id":1,"result":{"text":"session"}}`, Message},
		"deep result":                {200, `{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, Message},
		"request":                    {200, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, Bad},
		"notification":               {200, `{"jsonrpc":"2.0","method":"notifications/message"}`, Bad},
		"batch":                      {200, `[{"jsonrpc":"2.0","id":1,"result":{}}]`, Bad},
		"truncated":                  {200, `{"jsonrpc":"2.0","id":1,"resu`, Bad},
		"empty":                      {200, ``, Bad},
		"HTML":                       {200, `<html>`, Bad},
		"other JSON":                 {200, `{"ok":true}`, Bad},
	} {
		t.Run(name, func(t *testing.T) {
			got, why := CheckMessage(tc.status, []byte(tc.body))
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.want == Bad, why != "")
		})
	}
}
