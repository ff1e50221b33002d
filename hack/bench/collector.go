package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// collector takes what gateways send by OTLP, and looks at none of it: what it costs to send is measured, and not what others make of it.
type collector struct {
	url string
	got sync.Map // the names of gateways that have sent spans
}

// collector starts one, if nobody has yet.
func (s *stage) collector(ctx context.Context) (*collector, error) {
	if s.otlp != nil {
		return s.otlp, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{url: "http://" + listener.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: c}
	go func() { _ = server.Serve(listener) }()
	s.closing = append(s.closing, func() { _ = server.Close() })
	s.otlp = c
	return c, nil
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, r.Body)
	if of, ok := strings.CutSuffix(r.URL.Path, "/v1/traces"); ok && err == nil {
		c.got.Store(of, true)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// telemetry is what a gateway is told that is to send all that it has to such a collector. All else is as by default, sampling included where the row does
// not say otherwise.
func (c *collector) telemetry(g gatewaySpec) []string {
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url + "/" + g.name()}
	if g.sampled {
		env = append(env, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.1")
	}
	return env
}

// await waits until a gateway's first spans have come, and gives it something to tell of meanwhile: without spans, nothing would be measured.
func (c *collector) await(ctx context.Context, g *gateway, spec gatewaySpec, url string) error {
	return g.broker.until(ctx, probeTime, func(ctx context.Context) error {
		if _, ok := c.got.Load("/" + spec.name()); ok {
			return nil
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close() // whatever the answer is, it is told of
		return errors.New("it has sent no spans")
	})
}

// watched has the gateway of a row observed, once it is there.
func (s *stage) watched(ctx context.Context, spec gatewaySpec, server string, c *benchCase) (target, error) {
	otlp, err := s.collector(ctx)
	if err != nil {
		return target{}, err
	}
	t, err := s.behindGateway(ctx, spec, server, c)
	if err == nil {
		err = otlp.await(ctx, s.gateways[spec], spec, t.url)
	}
	if err != nil {
		return target{}, fmt.Errorf("with telemetry: %w", err)
	}
	return t, nil
}
