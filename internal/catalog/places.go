package catalog

import "math/bits"

// places is a set of places in a list, one bit each. Nil is the empty one.
type places []uint64

const wordBits = 64

func newPlaces(n int) places { return make(places, (n+wordBits-1)/wordBits) }

func (p places) add(place int) { p[place/wordBits] |= 1 << (place % wordBits) }

func (p places) remove(place int) { p[place/wordBits] &^= 1 << (place % wordBits) }

func (p places) has(place int) bool {
	return place/wordBits < len(p) && p[place/wordBits]&(1<<(place%wordBits)) != 0
}

func (p places) len() int {
	n := 0
	for _, word := range p {
		n += bits.OnesCount64(word)
	}
	return n
}

// run is the first unbroken run of places in the set, from one on, of a list of length n. It is empty at the end.
func (p places) run(from, n int) (start, end int) {
	start = p.seek(from, n, 0)
	return start, p.seek(start, n, ^uint64(0))
}

// seek is the first place that is in the set or, with all bits to be flipped, that is not; n if there is none.
func (p places) seek(from, n int, flip uint64) int {
	for i := from / wordBits; i < len(p); i++ {
		word := p[i] ^ flip
		if i == from/wordBits {
			word &= ^uint64(0) << (from % wordBits)
		}
		if word != 0 {
			return min(i*wordBits+bits.TrailingZeros64(word), n)
		}
	}
	return n
}
