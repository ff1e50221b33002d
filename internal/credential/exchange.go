package credential

import (
	"context"
	"time"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

// exchange gets the tokens of one caller, by what other replicas have got or by asking the authorization server.
type exchange struct {
	client *client
	caller config.Secret
	record record
}

// fetch is a cell's. Where a token was refused, it is the authorization server that has to say what comes next: what others have got may be refused as well.
func (e *exchange) fetch(ctx context.Context, k known) (*grant, error) {
	there := e.record.load(ctx)
	if g := there.grant; g != nil {
		if g.serves(k, time.Now()) {
			return g, nil
		}
		if k.doubt && g.token.Equal(k.refused) {
			e.record.remove(ctx, there)
		}
	}
	got, err := e.client.exchange(ctx, e.caller)
	if refused(err) {
		e.record.remove(ctx, there) // the caller may have lost it
	}
	if err != nil {
		return nil, err
	}
	got.within(expiry(e.caller))
	e.record.keep(ctx, got)
	return got, nil
}

// serves tells whether a token that another replica has got does in place of a new one.
func (g *grant) serves(k known, now time.Time) bool {
	return !k.doubt && now.Before(g.expires) && (!k.have || now.Before(g.renew))
}
