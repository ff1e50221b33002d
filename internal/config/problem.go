package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what a hostile or garbled file can make of a log.
const maxProblems = 1000

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	// File is the name that the file was read under.
	File string
	// Line and Column count from 1; both are 0 where a problem has no place in the text.
	Line   int
	Column int
	// Field is the way to the value, as in servers[1].url; empty for the document as a whole.
	Field   string
	Message string
}

func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems are all that is wrong with a configuration file, in order of their places.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file, both counted from 1.
type position struct{ line, column int }

// report collects the problems of one file and knows where its fields stand.
type report struct {
	file     string
	problems Problems
	dropped  int
	places   map[string]position
	spoilt   map[string]bool
}

func newReport(file string) *report {
	return &report{file: file, places: map[string]position{}, spoilt: map[string]bool{}}
}

// at reports a problem at a place of the text.
func (r *report) at(pos position, field, format string, args ...any) {
	if len(r.problems) == maxProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, Problem{
		File: r.file, Line: pos.line, Column: pos.column, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// field reports a problem of a field's value. What the decoder already refused is not judged again.
func (r *report) field(field, format string, args ...any) {
	if !r.spoilt[field] {
		r.at(r.place(field), field, format, args...)
	}
}

// hasProblemIn tells whether anything in a mapping has been reported, so that what seems to be missing may have been meant.
func (r *report) hasProblemIn(field string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return strings.HasPrefix(p.Field, field+".") })
}

// place is where the field stands or, for one that is not there, where its nearest parent does.
func (r *report) place(field string) position {
	for {
		if pos, ok := r.places[field]; ok {
			return pos
		}
		cut := strings.LastIndexAny(field, ".[")
		if cut < 0 {
			return position{1, 1}
		}
		field = field[:cut]
	}
}

// err is nil when nothing was reported.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field))
	})
	if r.dropped > 0 {
		r.problems = append(r.problems, Problem{File: r.file, Message: fmt.Sprintf("%d more problems are not listed", r.dropped)})
	}
	return r.problems
}

// child is the name of a mapping's member; a key that would make it ambiguous is quoted.
func child(parent, key string) string {
	plain := key != "" && !strings.ContainsFunc(key, func(c rune) bool {
		return c != '_' && c != '-' && !isAlphanumeric(c)
	})
	switch {
	case !plain:
		return fmt.Sprintf("%s[%q]", parent, key)
	case parent == "":
		return key
	default:
		return parent + "." + key
	}
}

// index is the name of a list's entry.
func index(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
