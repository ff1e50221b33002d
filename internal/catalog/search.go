package catalog

import (
	"cmp"
	"encoding/json"
	"math"
	"math/bits"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file finds tools by words, for clients that are not shown thousands of them.

// How much a word counts by where a tool has it, and how far a search goes at most.
const (
	weightName, weightTitle, weightServer, weightText = 5, 4, 2, 1

	weightPart   = 0.5     // of a word that only begins with what is looked for
	weightWhole  = 1 << 20 // of the very name
	maxIndexed   = 4 << 10 // bytes of one description
	maxTerms     = 16
	maxCompleted = 64 // words that begin with one term
	minCompleted = 3  // runes of a term that other words may begin with
)

// index has the words of all tools. It is made when somebody searches for the first time.
type index struct {
	words []string // sorted
	found [][]posting
}

// posting is one tool that has a word.
type posting struct {
	place  int32
	weight float32
}

// Search are the tools of the view that have words of a text, the best first, or all of them in their order if it has no words. They are of one server, if one
// is named. How rare a word is counts among all tools, whoever may see them: that changes an order, and shows nothing.
func (v *View) Search(text, server string) []*Item {
	l := &v.snap.lists[Tool]
	wanted := func(it *Item) bool { return v.contains(it) && (server == "" || it.Server.Name == server) }
	terms := wordsOf(text)
	slices.Sort(terms)
	if terms = slices.Compact(terms); len(terms) > maxTerms {
		terms = terms[:maxTerms]
	}
	var out []*Item
	if len(terms) == 0 {
		for it := range v.After(Tool, "") {
			if wanted(it) {
				out = append(out, it)
			}
		}
		return out
	}
	v.snap.indexed.Do(func() { v.snap.index = indexOf(l.items) })
	scores := v.snap.index.score(terms, len(l.items))
	if it := l.byName[strings.TrimSpace(text)]; it != nil {
		scores[it.place] += weightWhole
	}
	for place, score := range scores {
		if score > 0 && wanted(l.items[place]) {
			out = append(out, l.items[place])
		}
	}
	slices.SortFunc(out, func(a, b *Item) int {
		return cmp.Or(cmp.Compare(scores[b.place], scores[a.place]), cmp.Compare(a.place, b.place))
	})
	return out
}

// score tells how well each tool fits, by its place; 0 is not at all. A tool that has more of the terms comes before one that has a single rare one.
func (x *index) score(terms []string, tools int) []float32 {
	scores := make([]float32, tools)
	had := make([]uint32, tools) // which terms a tool has, one bit each
	all := len(terms)
	for i, term := range terms {
		from := sort.SearchStrings(x.words, term)
		for at := from; at < len(x.words) && at-from < maxCompleted; at++ {
			weight := float32(1)
			if x.words[at] != term {
				if !strings.HasPrefix(x.words[at], term) || utf8.RuneCountInString(term) < minCompleted {
					break
				}
				weight = weightPart
			}
			rare := weight * float32(math.Log(1+float64(tools)/float64(len(x.found[at]))))
			for _, p := range x.found[at] {
				scores[p.place] += rare * p.weight
				had[p.place] |= 1 << i
			}
		}
	}
	for place, terms := range had {
		n := bits.OnesCount32(terms)
		scores[place] *= float32(n*n) / float32(all*all)
	}
	return scores
}

func indexOf(tools []*Item) *index {
	all := map[string][]posting{}
	for place, it := range tools {
		for word, weight := range weighted(it) {
			all[word] = append(all[word], posting{int32(place), weight})
		}
	}
	x := &index{words: make([]string, 0, len(all)), found: make([][]posting, 0, len(all))}
	for word := range all {
		x.words = append(x.words, word)
	}
	slices.Sort(x.words)
	for _, word := range x.words {
		x.found = append(x.found, slices.Clip(all[word]))
	}
	return x
}

// weighted are the words of a tool. What its definition has of another type than it should has no words.
func weighted(it *Item) map[string]float32 {
	var def struct {
		Title, Description string
		Annotations        struct{ Title string }
		InputSchema        struct{ Properties map[string]json.RawMessage }
	}
	_ = json.Unmarshal(it.Definition, &def)
	words := map[string]float32{}
	add := func(text string, weight float32) {
		list := wordsOf(text[:min(len(text), maxIndexed)])
		slices.Sort(list)
		for _, word := range slices.Compact(list) {
			words[word] += weight
		}
	}
	add(it.PublicName, weightName)
	add(cmp.Or(def.Title, def.Annotations.Title), weightTitle)
	add(it.Server.Name, weightServer)
	add(def.Description, weightText)
	for name := range def.InputSchema.Properties {
		add(name, weightText)
	}
	return words
}

// wordsOf are the words of a text in lower case, as they are looked for: "listOpenIssues" has list, open and issue. Scripts that are written without spaces have
// a word for each character.
func wordsOf(text string) []string {
	var out []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			out = append(out, singular(string(word)))
		}
		word = word[:0]
	}
	last := ' '
	for _, r := range text {
		switch ascii := r < utf8.RuneSelf; {
		case !ascii && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			word = append(word, r)
			end()
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && (ascii || !unicode.IsMark(r)):
			end()
		default:
			if unicode.IsUpper(r) && unicode.IsLower(last) {
				end()
			}
			word = append(word, unicode.ToLower(r))
		}
		last = r
	}
	end()
	return out
}

// singular takes off what English puts behind a noun for several, alike from what is searched and from what is found.
func singular(word string) string {
	switch {
	case len(word) > 4 && strings.HasSuffix(word, "ies"):
		return word[:len(word)-3] + "y"
	case len(word) > 3 && strings.HasSuffix(word, "s") && !strings.HasSuffix(word, "ss"):
		return word[:len(word)-1]
	}
	return word
}
