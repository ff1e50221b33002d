package wire

import (
	"slices"
	"strconv"
	"strings"
)

// HintsSay tells whether a tool's hints, as [HeaderHints] carries them, say all that is wanted.
func HintsSay(hints string, want map[string]bool) bool {
	if len(want) == 0 {
		return true
	}
	said := strings.Split(hints, ",")
	for name, yes := range want {
		if !slices.Contains(said, name+"="+strconv.FormatBool(yes)) {
			return false
		}
	}
	return true
}
