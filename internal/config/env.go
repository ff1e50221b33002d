package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// maxFileSize bounds the configuration file and every file that it names.
const maxFileSize = 4 << 20

// Env is the world outside of the configuration file.
type Env interface {
	// LookupEnv tells an environment variable's value and whether it is set.
	LookupEnv(name string) (string, bool)
	// ReadFile returns a file's content. Of one that is over 4 MiB it may return the first 4 MiB and one byte.
	ReadFile(path string) ([]byte, error)
}

// OS is the process's own environment and file system.
func OS() Env { return osEnv{} }

type osEnv struct{}

func (osEnv) LookupEnv(name string) (string, bool) { return os.LookupEnv(name) }

func (osEnv) ReadFile(path string) ([]byte, error) {
	// Asked before it is opened: opening a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("is a folder")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// reason words a failed read without the path, which the message around it names.
func reason(err error) string {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "cannot be read: permission denied"
	case errors.As(err, &pathErr):
		return "cannot be read: " + pathErr.Err.Error()
	default:
		return err.Error()
	}
}
