package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

const (
	// attemptLimit bounds one attempt, so that an answer that never comes does not use up all of the time.
	attemptLimit = 15 * time.Second
	// Attempts come quickly at first, and never so quickly that a call that should be refused is made often.
	firstPause, longestPause = 500 * time.Millisecond, 8 * time.Second
)

// Options say what is called, and what must come of it.
type Options struct {
	// URL is that of the endpoint, with its path.
	URL *url.URL
	// Host is what requests call the gateway, where that is not the host of the URL.
	Host string
	// CA has the roots of the gateway's certificate, as PEM; empty means the system's.
	CA []byte
	// Token is sent with every call; empty means none.
	Token string
	// Challenge demands that a call without a token is refused with the way to the login.
	Challenge bool
	// Tool is called with Arguments, a JSON object; empty means that none is.
	Tool      string
	Arguments json.RawMessage
	// Forbidden is a tool whose call must be refused; empty means that none is tried.
	Forbidden string
	// Timeout is for everything together.
	Timeout time.Duration
}

// prober is one run.
type prober struct {
	Options

	out                  io.Writer
	anonymous, caller    *upstream.Endpoint
	metadata             *url.URL // as a refused call named it
	session              upstream.Session
	lost                 bool // the gateway does not know the session any more
	lastSaid             string
	firstPause, maxPause time.Duration
}

// step is one thing that must be right. It says what it found.
type step struct {
	name string
	try  func(context.Context) (found string, err error)
}

// final is an error that does not go away by waiting.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Run makes the calls and writes a line about each. The error says which of them was not answered as it should be.
func Run(ctx context.Context, o Options, out io.Writer) error {
	return run(ctx, o, out, firstPause, longestPause)
}

func run(ctx context.Context, o Options, out io.Writer, first, longest time.Duration) error {
	p := &prober{Options: o, out: out, firstPause: first, maxPause: longest}
	if err := p.connect(); err != nil {
		return err
	}
	defer p.close(ctx)
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	for _, s := range p.steps() {
		if err := p.await(limited, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !p.calls() && (o.Tool != "" || o.Forbidden != "") {
		p.say("no tool was called, since there is no token to call it with")
	}
	return nil
}

// calls tells whether there is more to do than to be refused.
func (o *Options) calls() bool { return o.Token != "" || !o.Challenge }

func (p *prober) steps() []step {
	var steps []step
	if p.Challenge {
		steps = append(steps, step{"a call without a token", p.challenged}, step{"the protected resource metadata", p.readMetadata})
	}
	if !p.calls() {
		return steps
	}
	steps = append(steps, step{"initialize", p.initialize}, step{"tools/list", p.within(p.list)})
	if p.Tool != "" {
		steps = append(steps, step{fmt.Sprintf("tools/call %q", p.Tool), p.within(p.call)})
	}
	// It comes last: with the tool's server the session is open by then, so that the call takes the shortest way, on which nobody but the policies stops it.
	if p.Forbidden != "" {
		steps = append(steps, step{fmt.Sprintf("tools/call %q, which is forbidden", p.Forbidden), p.within(p.forbidden)})
	}
	return steps
}

func (p *prober) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...)
}

// await tries a step until it is right, or the time is up.
func (p *prober) await(ctx context.Context, s step) error {
	var last error
	for pause := p.firstPause; ; pause = min(2*pause, p.maxPause) {
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		found, err := s.try(attempt)
		cancel()
		if err != nil && ctx.Err() != nil && last != nil {
			err = last // an attempt that is cut off says less
		}
		if err == nil {
			p.say("ok: %s: %s", s.name, found)
			return nil
		}
		if errors.As(err, &final{}) {
			return err
		}
		last = err
		if ctx.Err() == nil && err.Error() != p.lastSaid {
			p.lastSaid = err.Error()
			p.say("not yet: %s: %v", s.name, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%w (still so after %s)", err, p.Timeout)
			}
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// connect makes the clients with and without the token.
func (p *prober) connect() (err error) {
	server := config.Server{Name: "gateway", Scheme: p.URL.Scheme, Host: p.URL.Hostname(), Path: p.URL.EscapedPath(), Hostname: p.Host}
	port := uint64(80)
	if p.URL.Scheme == "https" {
		port = 443
		server.TLS = &config.TLS{ServerName: p.serverName(), CA: p.CA}
	}
	if text := p.URL.Port(); text != "" {
		if port, err = strconv.ParseUint(text, 10, 16); err != nil {
			return fmt.Errorf("the URL %q has the port %q, which is none", p.URL.Redacted(), text)
		}
	}
	server.Port = uint16(port)
	if p.Host == "" {
		server.Hostname = p.URL.Host
	}
	if p.anonymous, err = upstream.NewEndpoint(server, upstream.EndpointOptions{}); err != nil {
		return err
	}
	p.caller = p.anonymous
	if p.Token != "" {
		server.Headers = []config.Header{{Name: "authorization", Value: "Bearer " + p.Token}}
		p.caller, err = upstream.NewEndpoint(server, upstream.EndpointOptions{})
	}
	return err
}

// serverName is what the certificate must be for.
func (p *prober) serverName() string {
	if p.Host == "" {
		return p.URL.Hostname()
	}
	if host, _, err := net.SplitHostPort(p.Host); err == nil {
		return host
	}
	return p.Host
}

// close ends the session, even if the time is up.
func (p *prober) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = p.caller.Delete(ctx, p.session)
	p.caller.Close()
	p.anonymous.Close()
}
