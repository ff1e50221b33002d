package extproc_test

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// BenchmarkProcess is the price of a stream with its gRPC: one call of about 1 KiB that is answered and not looked at, and
// one that is watched until its answer has begun.
func BenchmarkProcess(b *testing.B) {
	pad := fmt.Sprintf(`"%0900d"`, 0)
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"w_read","arguments":{"n":` + pad + `}}}`
	for name, watch := range map[string]bool{"broker": false, "watched": true} {
		b.Run(name, func(b *testing.B) {
			g := start(b)
			if !watch {
				g.session.DropBackend("weather", serverSession)
			}
			head, whole := g.post("content-length", fmt.Sprint(len(body))), requestBody(body, true)
			answer := answerHeaders(false, "200", "application/json")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				stream, err := g.client.Process(ctx)
				if err != nil {
					b.Fatal(err)
				}
				_ = stream.Send(head)
				_ = stream.Send(whole)
				if watch {
					_ = stream.Send(answer)
				}
				n := 0
				for ; ; n++ {
					if _, err = stream.Recv(); err != nil {
						break
					}
				}
				if err != io.EOF || n < 2 { //nolint:errorlint // gRPC gives it bare
					b.Fatal(n, err)
				}
				cancel()
			}
		})
	}
}
