package config

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// memory is an Env whose variables and files exist in the test only.
type memory struct {
	mu    sync.Mutex
	vars  map[string]string
	files map[string]string
}

func newMemory(files map[string]string) *memory {
	return &memory{files: maps.Clone(files), vars: map[string]string{}}
}

func (m *memory) LookupEnv(name string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.vars[name]
	return value, ok
}

func (m *memory) ReadFile(path string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, ok := m.files[path]
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case text == "forbidden":
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return []byte(text), nil
}

func (m *memory) write(path, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = text
}

func (m *memory) remove(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, path)
}

func TestOSReadsRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	data, err := OS().ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "text", string(data))

	_, err = OS().ReadFile(dir)
	require.EqualError(t, err, "is a folder")
	_, err = OS().ReadFile(os.DevNull)
	require.EqualError(t, err, "is not a regular file")
	_, err = OS().ReadFile(filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOSReadsNoMoreThanIsNeededToRefuse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("#", maxFileSize+100)), 0o600))
	data, err := OS().ReadFile(file)
	require.NoError(t, err)
	assert.Len(t, data, maxFileSize+1)
	_, err = Load(file, OS())
	require.EqualError(t, err, file+": the file is larger than 4 MiB")
}

func TestOSLooksUpVariables(t *testing.T) {
	t.Setenv("MCP_GATEWAY_CONFIG_TEST", "x")
	value, ok := OS().LookupEnv("MCP_GATEWAY_CONFIG_TEST")
	assert.True(t, ok)
	assert.Equal(t, "x", value)
	_, ok = OS().LookupEnv("MCP_GATEWAY_CONFIG_TEST_NONE")
	assert.False(t, ok)
}
