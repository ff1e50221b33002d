package session

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSize: a session that has called a server and rests takes little, since there are as many as clients have not ended for a day.
func TestSize(t *testing.T) {
	const n, most = 20_000, 1_200 // bytes
	r := NewRegistry(Options{Key: GenerateKey()})
	params := json.RawMessage(`{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"sampling":{},"roots":{"listChanged":true}},"clientInfo":{"name":"some client","version":"1.2.3"}}`)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for i := range n {
		s, err := r.Create(t.Context(), Start{Revision: "2025-11-25", InitParams: params})
		require.NoError(t, err)
		s.BelongsTo("")
		end := s.BeginCall([]byte("1"), "server")
		require.True(t, s.SetBackend("server", Backend{ID: fmt.Sprintf("%032d", i), Revision: "2025-11-25", Fingerprint: "fingerprint"}))
		end()
	}
	each := (live() - before) / n
	t.Logf("%d bytes", each)
	assert.LessOrEqual(t, each, uint64(most))
	runtime.KeepAlive(r)
}
