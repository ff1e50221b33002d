package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// socketPath is the path in an address like "unix:/run/gateway.sock".
func socketPath(address string) (path string, ok bool) { return strings.CutPrefix(address, "unix:") }

// checkAddress refuses what cannot be listened on, before anything is started. The flag is named.
func checkAddress(flag, address string) error {
	if path, ok := socketPath(address); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("--%s %q: a Unix socket needs an absolute path, as in unix:/run/gateway.sock", flag, address)
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--%s %q: want host:port or unix:/path", flag, address)
	}
	return nil
}

// listen opens the address of a flag.
func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	var config net.ListenConfig
	path, ok := socketPath(address)
	if !ok {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("--%s: cannot listen on %q: %w", flag, address, bare(err))
		}
		return l, nil
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("--%s: cannot listen on %q: %w", flag, address, bare(err))
	}
	// Whoever can open the socket passes Envoy and its policies by.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// bare takes off what package net says of the operation and the address.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%q exists and is not a socket; remove it or choose another path", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("%q is in use by another process", path)
	}
	return os.Remove(path)
}

// isLocal tells whether only this machine can reach the address.
func isLocal(address string) bool {
	if _, ok := socketPath(address); ok {
		return true
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// reachable is an address to connect to for one that is listened on, for a peer on the same machine.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if _, ok := socketPath(address); ok || err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
