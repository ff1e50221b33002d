package session

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTasks(t *testing.T) {
	tasks, other := NewTasks(GenerateKey()), NewTasks(GenerateKey())
	ann, bob := SubjectFrom("i", "ann"), SubjectFrom("i", "bob")
	for _, task := range []Task{{"weather", "w_forecast", "786512e2"}, {"team/notes", "größe", "a\x00b.c ü\n"}, {"s", "t", ""}} {
		id := tasks.Seal(task, ann)
		assert.Equal(t, id, tasks.Seal(task, ann), "a client that reads an id twice takes it for one task")
		got, ok := tasks.Open(id, ann)
		assert.True(t, ok)
		assert.Equal(t, task, got)
		for _, wrong := range []string{
			"", ".", "gwt.", "gwt..", strings.TrimPrefix(id, "gwt."), id + "A", id[:len(id)-1], strings.Replace(id, ".", "..", 1), task.ID,
			"gwt." + strings.TrimPrefix(tasks.Seal(Task{"other", task.Tool, task.ID}, ann), "gwt.")[:8] + id[12:],
		} {
			_, ok := tasks.Open(wrong, ann)
			assert.False(t, ok, wrong)
		}
		_, ok = tasks.Open(id, bob)
		assert.False(t, ok, "nothing of one caller reaches another")
		_, ok = tasks.Open(id, Subject{})
		assert.False(t, ok)
		_, ok = other.Open(id, ann)
		assert.False(t, ok)
	}
}
