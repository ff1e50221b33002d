package catalog

import "github.com/guicassolato/mcp-gateway/internal/tally"

// Counting is where the counters of tools come from.
type Counting struct {
	// Set has the new ones; nil means that nobody counts.
	Set *tally.Set
	// Before is the snapshot that this one takes the place of: the counters of tools that are in both go on. There may be none.
	Before *Snapshot
}

func (c Counting) counter(it *Item) *tally.Counter {
	if c.Set == nil {
		return nil
	}
	if c.Before != nil {
		if old := c.Before.Find(Tool, it.PublicName); old != nil && old.Calls != nil && old.Server.Name == it.Server.Name && old.Name == it.Name {
			return old.Calls
		}
	}
	return c.Set.New(it.Server.Name, it.Name)
}
