package credential

import (
	"container/list"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// callers are the tokens of callers, by a digest of their own. There is a bound to how many are kept; who has not called for longest is
// forgotten first, and asked for anew.
type callers struct {
	most int

	mu     sync.Mutex // guards the rest
	cells  map[[sha256.Size]byte]*list.Element
	recent *list.List // of *callerCell, the latest first
}

type callerCell struct {
	key  [sha256.Size]byte
	cell *cell
}

func newCallers(most int) callers {
	return callers{most: most, cells: map[[sha256.Size]byte]*list.Element{}, recent: list.New()}
}

func (c *callers) get(token config.Secret, make func() *cell) *cell {
	key := sha256.Sum256([]byte(token.Reveal()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.cells[key]; e != nil {
		c.recent.MoveToFront(e)
		return e.Value.(*callerCell).cell
	}
	added := &callerCell{key: key, cell: make()}
	c.cells[key] = c.recent.PushFront(added)
	for last := c.recent.Back(); last.Value != any(added) && (c.recent.Len() > c.most || last.Value.(*callerCell).cell.spent()); last = c.recent.Back() {
		delete(c.cells, last.Value.(*callerCell).key)
		c.recent.Remove(last)
	}
	return added.cell
}

// spent tells that forgetting the cell loses nothing.
func (c *cell) spent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return c.valid(now) == nil && c.flight == nil && !now.Before(c.retry)
}

// within has a token last no longer than the one that it was exchanged for.
func (g *grant) within(end time.Time) {
	if end.IsZero() {
		return
	}
	g.renew, g.expires = earlier(g.renew, end), earlier(g.expires, end)
}

// expiry is when a token ends that is a JWT, else zero. The authorization server has verified it.
func expiry(token config.Secret) time.Time {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Exp < 1 || claims.Exp > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}
