//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestPairs(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "nothing to forward",
		"127.0.0.1:0":                      `cannot forward to "" of "127.0.0.1:0"`,
		"127.0.0.1:0=somewhere:80":         `cannot forward to "somewhere:80"`,
		"127.0.0.1=10.0.0.1:80":            `cannot listen on "127.0.0.1"`,
		"0.0.0.0:80=10.0.0.1:80":           `cannot listen on "0.0.0.0:80" of "0.0.0.0:80=10.0.0.1:80": want a loopback address`,
		"127.0.0.1:0=10.0.0.1:80 [::1]:0=": `cannot forward to "" of "[::1]:0="`,
	} {
		_, err := parsePairs(strings.Fields(args))
		require.ErrorContains(t, err, want)
	}
	pairs, err := parsePairs([]string{"127.0.0.1:0=10.0.0.1:80", "[::1]:81=[fd00::1]:82"})
	require.NoError(t, err)
	assert.Equal(t, []pair{{"127.0.0.1:0", "10.0.0.1:80"}, {"[::1]:81", "[fd00::1]:82"}}, pairs)
}

// A server that only another network namespace can reach is reached through the door, and each direction ends by itself.
func TestForward(t *testing.T) {
	namespace, listener := inNamespace(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				question, _ := io.ReadAll(conn) // until the client has no more to say
				_, _ = io.WriteString(conn, "answer to "+string(question))
			}()
		}
	}()
	target := listener.Addr().String()

	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--netns", namespace, "127.0.0.1:0=" + target, "127.0.0.1:0=127.0.0.1:1"}, in)
	}()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	door := lines.Text()
	require.True(t, lines.Scan())
	closed := lines.Text()

	for range 3 {
		conn, err := net.Dial("tcp", door)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "question")
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "answer to question", string(answer))
		require.NoError(t, conn.Close())
	}

	conn, err := net.Dial("tcp", closed)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "where nobody listens, the connection ends")

	open, err := net.Dial("tcp", door)
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-done, "a connection that is open does not hold up the end")
	_, err = open.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = net.Dial("tcp", door)
	require.Error(t, err)
}

// inNamespace makes a network namespace of its own and listens there. It lives as long as the test.
func inNamespace(t *testing.T) (file string, listener net.Listener) {
	t.Helper()
	type result struct {
		listener net.Listener
		err      error
	}
	ready := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ready <- result{err: err}
			return
		}
		file = "/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/ns/net"
		if err := loopbackUp(); err != nil {
			ready <- result{err: err}
			return
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ready <- result{l, err}
		<-t.Context().Done()
	}()
	r := <-ready
	if errors.Is(r.err, unix.EPERM) {
		t.Skip("only root can make network namespaces: run this test as root")
	}
	require.NoError(t, r.err)
	t.Cleanup(func() { _ = r.listener.Close() })
	_, err := os.Stat(file)
	require.NoError(t, err)
	return file, r.listener
}

// loopbackUp brings up the loopback interface of the thread's namespace, which is down in a new one.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("interface: %w", err)
	}
	return nil
}
