package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start serves s on a free port and returns its URL, a way to tell it to stop, and what serving ended with.
func start(t *testing.T, s *server.MCPServer) (url string, stop func(), done <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	// The test's own context ends before its cleanup, in which the clients still say goodbye.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, s, listener) }()
	t.Cleanup(cancel)
	return fmt.Sprintf("http://%s/mcp", listener.Addr()), cancel, ended
}

func connect(t *testing.T, url string) *client.Client {
	t.Helper()
	c, err := client.NewStreamableHttpClient(url, transport.WithHTTPLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.Start(t.Context()))
	_, err = c.Initialize(t.Context(), mcp.InitializeRequest{Params: mcp.InitializeParams{
		ProtocolVersion: "2025-11-25", ClientInfo: mcp.Implementation{Name: "test", Version: "1"},
	}})
	require.NoError(t, err)
	return c
}

func call(t *testing.T, c *client.Client, tool string, args map[string]any) (text string, isError bool) {
	t.Helper()
	result, err := c.CallTool(t.Context(), mcp.CallToolRequest{Params: mcp.CallToolParams{Name: tool, Arguments: args}})
	require.NoError(t, err)
	require.Len(t, result.Content, 1)
	return mcp.GetTextFromContent(result.Content[0]), result.IsError
}

type toolCase struct {
	name, tool string
	args       map[string]any
	want       string // the whole text, or a part of it for an error
	wantError  bool
}

func testTools(t *testing.T, s *server.MCPServer, tests []toolCase) {
	t.Helper()
	url, _, _ := start(t, s)
	c := connect(t, url)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, isError := call(t, c, tt.tool, tt.args)
			assert.Equal(t, tt.wantError, isError, text)
			if tt.wantError {
				assert.Contains(t, text, tt.want)
			} else {
				assert.Equal(t, tt.want, text)
			}
		})
	}
}

func TestWeatherTools(t *testing.T) {
	testTools(t, newWeather(time.Millisecond), []toolCase{
		{
			name: "a forecast never changes", tool: "get_forecast", args: map[string]any{"city": "Paris"},
			want: `{"city":"Paris","sky":"sunny","temperature":28.3,"wind":33}`,
		},
		{
			name: "case does not matter", tool: "get_forecast", args: map[string]any{"city": " pARIS "},
			want: `{"city":"pARIS","sky":"sunny","temperature":28.3,"wind":33}`,
		},
		{name: "forecast without a city", tool: "get_forecast", args: map[string]any{}, want: "city", wantError: true},
		{name: "forecast of a blank", tool: "get_forecast", args: map[string]any{"city": " "}, want: "name is empty", wantError: true},
		{
			name: "alerts", tool: "get_alerts", args: map[string]any{"region": "Baltic"},
			want: `{"region":"Baltic","alerts":["gale warning","frost warning"]}`,
		},
		{
			name: "no alerts are an empty list", tool: "get_alerts", args: map[string]any{"region": "Alps"},
			want: `{"region":"Alps","alerts":[]}`,
		},
		{name: "alerts of a blank", tool: "get_alerts", args: map[string]any{"region": " "}, want: "name is empty", wantError: true},
		{
			name: "a watch without progress", tool: "watch_storm", args: map[string]any{"steps": 2},
			want: "The storm has passed after 2 steps.",
		},
		{name: "a watch of no steps", tool: "watch_storm", args: map[string]any{"steps": 0}, want: "steps", wantError: true},
		{name: "a watch without end", tool: "watch_storm", args: map[string]any{"steps": 121}, want: "steps", wantError: true},
	})
}

func TestClockTools(t *testing.T) {
	testTools(t, newClock(fixedNow), []toolCase{
		{
			name: "no zone is UTC", tool: "get_time", args: map[string]any{},
			want: `{"time":"2026-01-31T22:30:00Z","weekday":"Saturday","timezone":"UTC"}`,
		},
		{
			name: "another zone, another day", tool: "get_time", args: map[string]any{"timezone": "Asia/Tokyo"},
			want: `{"time":"2026-02-01T07:30:00+09:00","weekday":"Sunday","timezone":"Asia/Tokyo"}`,
		},
		{name: "unknown zone", tool: "get_time", args: map[string]any{"timezone": "Mars/Base"}, want: `"Mars/Base"`, wantError: true},
		{name: "no file outside the zones", tool: "get_time", args: map[string]any{"timezone": "../passwd"}, want: "../passwd", wantError: true},
		{name: "the machine's own zone stays secret", tool: "get_time", args: map[string]any{"timezone": "Local"}, want: "Local", wantError: true},
		{
			name: "add across a month", tool: "add_duration", args: map[string]any{"time": "2026-01-31T22:30:00Z", "duration": "1h30m"},
			want: `{"time":"2026-02-01T00:00:00Z","weekday":"Sunday","timezone":"UTC"}`,
		},
		{
			name: "subtract, keeping the offset", tool: "add_duration", args: map[string]any{"time": "2026-02-01T00:00:00+02:00", "duration": "-1s"},
			want: `{"time":"2026-01-31T23:59:59+02:00","weekday":"Saturday","timezone":"+02:00"}`,
		},
		{name: "not a time", tool: "add_duration", args: map[string]any{"time": "noon", "duration": "1h"}, want: `"noon" is not an RFC 3339 time`, wantError: true},
		{
			name: "not a duration", tool: "add_duration", args: map[string]any{"time": "2026-01-31T22:30:00Z", "duration": "soon"},
			want: `"soon" is not a duration`, wantError: true,
		},
	})
}

func fixedNow() time.Time { return time.Date(2026, 1, 31, 22, 30, 0, 0, time.UTC) }

// The gateway tells policies what a tool says of itself, so the examples say it for every tool.
func TestEveryToolHasHints(t *testing.T) {
	for _, kind := range []string{"weather", "time"} {
		s, err := newServer(kind)
		require.NoError(t, err)
		require.NotEmpty(t, s.ListTools())
		for name, tool := range s.ListTools() {
			require.NotNil(t, tool.Tool.Annotations.ReadOnlyHint, name)
			assert.True(t, *tool.Tool.Annotations.ReadOnlyHint, name)
			assert.False(t, *tool.Tool.Annotations.DestructiveHint, name)
			assert.False(t, *tool.Tool.Annotations.OpenWorldHint, name)
		}
	}
}

func TestClockResourcesAndPrompts(t *testing.T) {
	url, _, _ := start(t, newClock(fixedNow))
	c := connect(t, url)

	read := func(uri string) (string, error) {
		result, err := c.ReadResource(t.Context(), mcp.ReadResourceRequest{Params: mcp.ReadResourceParams{URI: uri}})
		if err != nil {
			return "", err
		}
		contents, ok := mcp.AsTextResourceContents(result.Contents[0])
		require.True(t, ok)
		assert.Equal(t, uri, contents.URI)
		return contents.Text, nil
	}
	zones, err := read(zonesURI)
	require.NoError(t, err)
	assert.Contains(t, zones, `"Asia/Tokyo"`)
	zone, err := read("time://zones/Asia/Tokyo")
	require.NoError(t, err)
	assert.JSONEq(t, `{"time":"2026-02-01T07:30:00+09:00","weekday":"Sunday","timezone":"Asia/Tokyo"}`, zone)
	_, err = read("time://zones/Mars/Base")
	require.ErrorContains(t, err, "Mars/Base")

	prompt := func(args map[string]string) (*mcp.GetPromptResult, error) {
		return c.GetPrompt(t.Context(), mcp.GetPromptRequest{Params: mcp.GetPromptParams{Name: "plan_meeting", Arguments: args}})
	}
	plan, err := prompt(map[string]string{"here": "Europe/Paris", "there": "Asia/Tokyo"})
	require.NoError(t, err)
	assert.Contains(t, mcp.GetTextFromContent(plan.Messages[0].Content), "in Europe/Paris and in Asia/Tokyo")
	_, err = prompt(map[string]string{"here": "Europe/Paris"})
	require.ErrorContains(t, err, "both arguments")
}

// A stopped server lets the call in flight finish, progress and all, and ends without an error.
func TestStopDrains(t *testing.T) {
	url, stop, done := start(t, newWeather(10*time.Millisecond))
	c := connect(t, url)
	var progress []any
	c.OnNotification(func(n mcp.JSONRPCNotification) {
		if n.Method != "notifications/progress" {
			return
		}
		progress = append(progress, n.Params.AdditionalFields["progress"])
		stop()
	})
	request := mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "watch_storm", Arguments: map[string]any{"steps": 4}}}
	request.Params.Meta = &mcp.Meta{ProgressToken: "p"}
	result, err := c.CallTool(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, "The storm has passed after 4 steps.", mcp.GetTextFromContent(result.Content[0]))
	assert.Equal(t, []any{1., 2., 3., 4.}, progress)
	require.NoError(t, <-done)
}

func TestWatchEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		request := mcp.CallToolRequest{Params: mcp.CallToolParams{Arguments: map[string]any{"steps": 100}}}
		_, err := watchStorm(time.Second)(ctx, request)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "step 3 of 100")
	})
}

func TestUnknownSession(t *testing.T) {
	url, _, _ := start(t, newWeather(time.Millisecond))
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Mcp-Session-Id", "mcp-session-00000000-0000-0000-0000-000000000000")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusNotFound, response.StatusCode)
}

func TestRunTellsItsAddress(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"--kind", "time", "--addr", "127.0.0.1:0"}, writer) }()
	line, err := bufio.NewReader(reader).ReadString('\n')
	require.NoError(t, err)
	_, url, found := strings.Cut(strings.TrimSpace(line), "time server listening on ")
	require.True(t, found, line)
	text, isError := call(t, connect(t, url), "add_duration", map[string]any{"time": "2026-01-31T22:30:00Z", "duration": "1h"})
	assert.False(t, isError, text)
	cancel()
	require.NoError(t, <-done)
}

func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"unknown kind": {[]string{"--kind", "tea"}, `unknown kind "tea": want "weather" or "time"`},
		"unknown flag": {[]string{"--colour", "red"}, "-colour"},
		"argument":     {[]string{"weather"}, `unexpected argument "weather"`},
		"taken port":   {[]string{"--addr", taken.Addr().String()}, fmt.Sprintf("cannot listen on %q", taken.Addr())},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(t.Context(), tt.args, io.Discard), tt.want)
		})
	}
	var usage bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"--help"}, &usage))
	assert.Contains(t, usage.String(), "-kind")
}
