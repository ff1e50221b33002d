package app

import (
	"errors"
	"fmt"
)

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

func (e usageError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errHurried ends a process that was told twice to stop.
var errHurried = errors.New("stopped at once by a second signal; what was in flight has been cut off")

// ExitCode is what the process of an error exits with: 2 for a mistake on the command line, else 1.
func ExitCode(err error) int {
	var u usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &u):
		return 2
	}
	return 1
}
