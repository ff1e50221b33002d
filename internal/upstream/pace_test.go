package upstream

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// endless says the same for ever, and counts how much of it was taken.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func paced(ctx context.Context, p *pace, body io.Reader) io.ReadCloser {
	resp := &http.Response{Body: io.NopCloser(body)}
	p.hold((&http.Request{}).WithContext(ctx), resp)
	return resp.Body
}

// TestPace: what is read of all answers together is bounded, not a byte is lost, and what has been idle for long begins with no more than a second's worth.
func TestPace(t *testing.T) {
	const rate, mib = 256 << 10, 1 << 20
	synctest.Test(t, func(t *testing.T) {
		p := newPace(rate)
		time.Sleep(time.Hour)
		began := time.Now()
		text := strings.Repeat("0123456789abcdef", mib/16)
		got, err := io.ReadAll(paced(t.Context(), p, strings.NewReader(text)))
		require.NoError(t, err)
		assert.Equal(t, text, string(got))
		assert.InDelta(t, 3, time.Since(began).Seconds(), 0.01, "a second's worth at once, the rest by and by")

		began = time.Now()
		sources := [4]endless{}
		done := make(chan error)
		for i := range sources {
			go func() {
				_, err := io.CopyN(io.Discard, paced(t.Context(), p, &sources[i]), mib/4)
				done <- err
			}()
		}
		for range sources {
			require.NoError(t, <-done)
		}
		assert.InDelta(t, 4, time.Since(began).Seconds(), 0.1)
	})
}

// TestPaceIsFair: a little answer beside many floods waits for one turn of each at most.
func TestPaceIsFair(t *testing.T) {
	const floods = 10
	synctest.Test(t, func(t *testing.T) {
		p := newPace(1 << 20)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		sources := [floods]endless{}
		for i := range sources {
			go func() { _, _ = io.Copy(io.Discard, paced(ctx, p, &sources[i])) }()
		}
		time.Sleep(time.Minute)
		began := time.Now()
		_, err := io.ReadAll(paced(ctx, p, strings.NewReader("little")))
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), floods*time.Second/piecesPerSecond)
	})
}

// TestPaceEnds: neither who leaves nor who closes the answer waits for a turn.
func TestPaceEnds(t *testing.T) {
	for name, end := range map[string]func(cancel func(), body io.Closer){
		"the request ends":     func(cancel func(), _ io.Closer) { cancel() },
		"the answer is closed": func(_ func(), body io.Closer) { _ = body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				body := paced(ctx, newPace(1), &endless{})
				began := time.Now()
				go func() {
					time.Sleep(1500 * time.Millisecond)
					end(cancel, body)
				}()
				_, err := io.Copy(io.Discard, body)
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, 1500*time.Millisecond, time.Since(began))
			})
		})
	}
}

// TestAnswersArePaced: all that is read of a server counts.
func TestAnswersArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemory(t)
		s := newScript()
		s.on["tools/call"] = func(w http.ResponseWriter, _ *http.Request, m *jsonMessage) {
			answerJSON(w, m, `"`+strings.Repeat("x", 4<<10)+`"`)
		}
		n.listen("weather:80", s)
		cfg := memoryConfig("weather")
		cfg.MaxBytesPerSecond = 1 << 10
		e, err := NewEndpoint(cfg, EndpointOptions{Dial: n.dial})
		require.NoError(t, err)
		began := time.Now()
		_, err = e.Call(t.Context(), Session{ID: "s-1"}, "tools/call", raw(`{}`))
		require.NoError(t, err)
		assert.Greater(t, time.Since(began), 3*time.Second)
		n.close()
	})
}
