package consent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	fileFormat = "mcp-gateway-credentials/1"
	// checked is sealed in each file, so that a wrong key is noticed before anything else is.
	checked = "the key is right"
	// maxFile bounds what is read, with room for what base64 adds to maxSealed.
	maxFile = 64 << 20
)

// document is the file. Only the names of servers are readable in it.
type document struct {
	Format string                       `json:"format"`
	Check  []byte                       `json:"check"`
	Users  map[string]map[string][]byte `json:"users"`
}

// File is a Store in a file.
type File struct {
	*vault

	path string
	lock io.Closer
}

// OpenFile opens a store, or makes an empty one where there is no file. The key has 32 bytes. A file that cannot be read, with this key or at
// all, is left as it is. No two processes can have it open.
func OpenFile(path string, key []byte) (_ *File, err error) {
	if resolved, missing := filepath.EvalSymlinks(path); missing == nil {
		path = resolved // else a link would be replaced, not what it leads to
	}
	v, err := newVault(key)
	if err != nil {
		return nil, err
	}
	f := &File{vault: v, path: path}
	if f.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, fmt.Errorf("the credential store %q cannot be locked: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	text, err := readLimited(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = f.write(&contents{}) // what cannot be written is better noticed now
	case err == nil:
		err = f.load(text)
	default:
		err = fmt.Errorf("the credential store %q cannot be read: %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	v.persist = f.write
	return f, nil
}

// Close lets another process have the file.
func (f *File) Close() error { return f.lock.Close() }

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return text, err
}

func (f *File) load(text []byte) error {
	var doc document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil || dec.More() || doc.Format != fileFormat {
		return fmt.Errorf("the credential store %q is damaged, or is no credential store: it was left as it is; give another file, or a copy of this one that is whole", f.path)
	}
	if text, err := f.box.open(doc.Check, "check", fileFormat); err != nil || string(text) != checked {
		return fmt.Errorf("the credential store %q was written with another session key: it was left as it is; give that key, or another file", f.path)
	}
	next := &contents{users: doc.Users}
	for _, kept := range doc.Users {
		for _, sealed := range kept {
			next.count, next.size = next.count+1, next.size+len(sealed)
		}
	}
	f.now.Store(next)
	return nil
}

// write puts the whole file in place of the old one, or leaves that.
func (f *File) write(c *contents) error {
	text, err := json.Marshal(document{Format: fileFormat, Check: f.box.seal([]byte(checked), "check", fileFormat), Users: c.users})
	if err == nil {
		err = replaceFile(f.path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("the credential store %q cannot be written: %w", f.path, err)
	}
	return nil
}

func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // for its owner only
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	if folder, opened := os.Open(dir); opened == nil { // where a folder cannot be synced, the file system sees to it
		_ = folder.Sync()
		_ = folder.Close()
	}
	return nil
}
