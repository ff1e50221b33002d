package telemetry

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLostAtTheEnd: a collector that refuses, or takes connections and never answers, is told of as what it is, and no longer waited for than there is time.
func TestLostAtTheEnd(t *testing.T) {
	for _, answers := range []string{"never", "with a refusal"} {
		for _, protocol := range []string{"http/protobuf", "grpc"} {
			t.Run(answers+" by "+protocol, func(t *testing.T) {
				l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
				require.NoError(t, err)
				defer func() { _ = l.Close() }()
				if answers != "never" {
					require.NoError(t, l.Close())
				}
				_, o, err := observed(t, map[string]string{
					"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:secret@" + l.Addr().String() + "?token=secret", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
					"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2", "OTEL_BSP_MAX_QUEUE_SIZE": "4",
				})
				require.NoError(t, err)
				for range 3 { // two are on their way when the end comes, and one waits
					o.Took(tracedCall())
				}
				const limit = 300 * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				began := time.Now()
				lost := o.Close(ctx)
				assert.Less(t, time.Since(began), limit+5*time.Second, "the exporters' own patience is far longer")
				require.Len(t, lost, 2)
				for i, what := range []string{"metrics", "spans"} {
					assert.Equal(t, what, lost[i].What)
					assert.Equal(t, "http://"+l.Addr().String(), lost[i].Endpoint)
					require.Error(t, lost[i].Err)
				}
				assert.Equal(t, 3, lost[1].Spans+lost[1].Before)
				assert.NotContains(t, fmt.Sprint(lost), "secret")
				assert.Empty(t, o.Close(t.Context())[1:], "the second time, no span is left to be lost")
			})
		}
	}
}

func TestEndpointsWithoutSecrets(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "http://c:4318/base": "http://c:4318/base", "c:4317": "c:4317", "me:pass@c:4317": "c:4317", "https://me:p@ss@c?token=x": "https://c",
	} {
		env := otelEnv(func(name string) (string, bool) { return given, name == "OTEL_EXPORTER_OTLP_ENDPOINT" })
		assert.Equal(t, want, env.endpoint("TRACES"))
	}
	both := otelEnv(func(name string) (string, bool) { return name, true })
	assert.Equal(t, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", both.endpoint("METRICS"))
}
