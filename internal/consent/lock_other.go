//go:build !unix

package consent

import (
	"io"
	"os"
)

// lockFile keeps nobody out here.
func lockFile(path string) (io.Closer, error) { return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) }
