//go:build linux

// Command forward is the door of a test cluster's node, whose network nobody outside can reach: it listens on the loopback interface
// of the namespace that it was started in, and carries every connection to an address in another network namespace.
//
//	forward --netns /proc/PID/ns/net LISTEN=TARGET...
//
// It prints the address that it listens on for each pair, one a line, and serves until it is told to stop. It must not know what is
// carried.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "forward: %v\n", err)
		os.Exit(1)
	}
}

// pair is one address to listen on and the address in the other namespace that is meant.
type pair struct{ listen, target string }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	netns := flags.String("netns", "", "file of the network namespace in which the targets are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pairs, err := parsePairs(flags.Args())
	if err != nil {
		return err
	}
	namespace, err := os.Open(*netns)
	if err != nil {
		return fmt.Errorf("cannot open the network namespace: %w", err)
	}
	defer func() { _ = namespace.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	for _, p := range pairs {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.listen)
		if err != nil {
			cancel()
			return fmt.Errorf("cannot listen on %q: %w", p.listen, err)
		}
		context.AfterFunc(ctx, func() { _ = listener.Close() })
		_, _ = fmt.Fprintln(stdout, listener.Addr())
		group.Go(func() { accept(ctx, listener, namespace, p.target, &group) })
	}
	<-ctx.Done()
	return nil
}

func parsePairs(args []string) ([]pair, error) {
	if len(args) == 0 {
		return nil, errors.New("nothing to forward: give LISTEN=TARGET, such as 127.0.0.1:8080=10.96.0.1:443")
	}
	pairs := make([]pair, 0, len(args))
	for _, arg := range args {
		listen, target, _ := strings.Cut(arg, "=")
		from, err := netip.ParseAddrPort(listen)
		if err != nil || !from.Addr().IsLoopback() {
			return nil, fmt.Errorf("cannot listen on %q of %q: want a loopback address with a port, such as 127.0.0.1:0", listen, arg)
		}
		// An address and no name, which would be looked up on the wrong side.
		if _, err := netip.ParseAddrPort(target); err != nil {
			return nil, fmt.Errorf("cannot forward to %q of %q: want an address with a port, such as 10.96.0.1:443", target, arg)
		}
		pairs = append(pairs, pair{listen: listen, target: target})
	}
	return pairs, nil
}

func accept(ctx context.Context, listener net.Listener, namespace *os.File, target string, group *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client went away, or there are too many at once
		}
		group.Go(func() { carry(ctx, conn, namespace, target) })
	}
}

// carry copies both directions; the end of each is passed on by itself, since a request may end long before its answer.
func carry(ctx context.Context, client net.Conn, namespace *os.File, target string) {
	defer func() { _ = client.Close() }()
	server, err := dial(ctx, namespace, target)
	if err != nil {
		return // the client sees its connection closed, as it would without us
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()
	var both sync.WaitGroup
	both.Go(func() { copyHalf(server, client) })
	both.Go(func() { copyHalf(client, server) })
	both.Wait()
}

func copyHalf(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_, _ = to.Close(), from.Close()
		return
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}

// dial connects from within the namespace. The thread that entered it ends with its goroutine, which is why it isn't unlocked.
func dial(ctx context.Context, namespace *os.File, target string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			results <- result{err: err}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
		results <- result{conn, err}
	}()
	r := <-results
	if r.err != nil {
		return nil, fmt.Errorf("cannot connect to %q in the namespace %q: %w", target, namespace.Name(), r.err)
	}
	return r.conn, nil
}
