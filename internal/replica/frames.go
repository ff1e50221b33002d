// Package replica keeps in another process of the gateway, on the same machine, what routing needs: the Hub, beside the sessions and the
// catalog, pushes it over a Unix socket to Mirrors and answers what they ask. What is pushed is state, never an event: a writer tells what is
// true when it gets there. It must not know Envoy, nor how a decision is made.
package replica

import (
	"time"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/router"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// Settings are what does not change while the hub lives.
type Settings struct {
	Router router.Options
	Keys   session.Keys
	// MaxIdle is how long a session may rest.
	MaxIdle time.Duration
	// Tokens tells that the hub wants to know of tokens.
	Tokens bool
	// Calls tells that the hub wants to know of calls that have ended.
	Calls bool
}

// push is one message to a mirror. Its parts are taken in this order.
type push struct {
	Settings *Settings         // everything follows anew
	Catalog  *catalog.Portable // the next part of it
	More     bool              // of the catalog follows
	Sessions []session.Record
	Ended    []string
	Complete bool // all that there is has been sent
	Answers  []answered
	// Sync, if not 0, is to be told back once all this has been taken, behind what has been counted.
	Sync uint64
}

// tell is one message of a mirror.
type tell struct {
	Version  string // the first one has it
	Synced   bool   // after push.Complete
	Taken    uint64 // push.Sync
	Question *question
	Cancel   uint64 // a question
	Report   *report
	Calls    []byte // that have ended, as package callreport writes them
}

type kind uint8

const (
	lookup       kind = iota + 1 // is there a session of this token?
	forgotten                    // has the call's server forgotten the session?
	replay                       // make the call again
	dropped                      // the call's server has forgotten the session; no answer
	unauthorized                 // the call's server refused the token; no answer
	seen                         // a token begins like this; no answer
)

type question struct {
	ID            uint64
	Kind          kind
	Token, Server string
	Backend       session.Backend
	CallID, Body  []byte
	Authorization string
	Traceparent   string
	Replayable    bool
}

type answered struct {
	ID     uint64
	Yes    bool
	Unsure bool // nobody can tell
	Reply  *router.Reply
}

// report is what has been counted since the last one.
type report struct {
	Decisions []count
	Tools     []toolCount
	Faults    int
	Used      []string // tokens of sessions
}

type count struct {
	Outcome   string
	Status, N int
}

// toolCount is about one tool whose calls have changed, by its server's own name for it.
type toolCount struct {
	Server, Tool string
	// Calls are those since the last report, Open those that go on now.
	Calls uint64
	Open  int64
}
