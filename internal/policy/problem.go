package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what a garbled file can make of a log.
const maxProblems = 500

// Problem is one thing that is wrong with policy values.
type Problem struct {
	// File is the name that the values were read under.
	File string
	// Line and Column count from 1; both are 0 where a problem has no place in the text.
	Line, Column int
	// Field is the way to the value, as in policies.acl[0].groups; empty for the document as a whole.
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

// Problems are all that is wrong with policy values, in order of their places. They are the error of [Parse].
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// report collects problems.
type report struct {
	file     string
	problems Problems
}

func (r *report) at(line, column int, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Column: column, Field: field, Message: fmt.Sprintf(format, args...)})
}

// err is nil when nothing was reported.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	if more := len(r.problems) - maxProblems; more > 0 {
		r.problems = append(r.problems[:maxProblems:maxProblems], Problem{File: r.file, Message: fmt.Sprintf("%d more problems are not listed", more)})
	}
	return r.problems
}
