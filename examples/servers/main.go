// Command example-server is a small MCP server to put behind the gateway: an invented weather service or a clock.
// It speaks Streamable HTTP with sessions and knows nothing of the gateway: any other MCP server could stand in its place.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mark3labs/mcp-go/server"
)

const (
	version = "1.0.0"

	// drainTime is how long calls in flight may still take once the server is told to stop.
	drainTime = 5 * time.Second
	// sessionIdleTime is after how long a session that nobody uses is forgotten.
	sessionIdleTime = time.Hour
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "example-server: %v\n", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then lets the calls in flight finish.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("example-server", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	addr := flags.String("addr", "127.0.0.1:9101", "host and port to listen on; port 0 takes a free one")
	kind := flags.String("kind", "weather", `which server to be: "weather" or "time"`)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(stdout)
		flags.Usage()
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	}
	mcpServer, err := newServer(*kind)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %q: %w", *addr, err)
	}
	_, _ = fmt.Fprintf(stdout, "%s server listening on http://%s/mcp\n", *kind, listener.Addr())
	return serve(ctx, mcpServer, listener)
}

func newServer(kind string) (*server.MCPServer, error) {
	switch kind {
	case "weather":
		return newWeather(500 * time.Millisecond), nil
	case "time":
		return newClock(time.Now), nil
	default:
		return nil, fmt.Errorf(`unknown kind %q: want "weather" or "time"`, kind)
	}
}

func serve(ctx context.Context, mcpServer *server.MCPServer, listener net.Listener) error {
	mux := http.NewServeMux()
	httpServer := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	endpoint := server.NewStreamableHTTPServer(mcpServer,
		server.WithStateful(true),
		server.WithSessionIdleTTL(sessionIdleTime),
		server.WithStreamableHTTPServer(httpServer),
	)
	mux.Handle("/mcp", endpoint)

	failed := make(chan error, 1)
	go func() { failed <- httpServer.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving stopped: %w", err)
	case <-ctx.Done():
	}

	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := endpoint.Shutdown(drain); err != nil {
		// What is still open after the drain time is cut: that is the promise of a stop, not a failure.
		_ = httpServer.Close()
	}
	return nil
}
