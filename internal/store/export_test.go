package store

// Held is how many records a store in memory holds, those included that have ended.
func Held(s Store) int { return len(s.(*memory).records) }
