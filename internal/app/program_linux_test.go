package app

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPristine: of the program's mappings only those are let go of that come back as they were.
func TestPristine(t *testing.T) {
	const smaps = `00400000-00401000 r--p 00000000 08:01 42                         /bin/gateway
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
00401000-00500000 r-xp 00001000 08:01 42                         /bin/gateway
Anonymous:             0 kB
00500000-00600000 r--p 00100000 08:01 42                         /bin/gateway
Anonymous:             4 kB
00600000-00700000 rw-p 00200000 08:01 42                         /bin/gateway
Anonymous:             0 kB
00700000-00800000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
7f0000000000-7f0000100000 r-xp 00000000 08:01 43                         /lib/libc.so.6
Anonymous:             0 kB
7f0000200000-7f0000300000 r--p 00000000 08:01 44                         /bin/gateway (deleted)
Anonymous:             0 kB
7fff00000000-7fff00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
zz-7f r-xp 00000000 08:01 42 /bin/gateway
Anonymous:             0 kB
`
	assert.Equal(t, []mapping{{0x400000, 0x401000}, {0x401000, 0x500000}}, pristine(strings.NewReader(smaps), "/bin/gateway"))
	assert.Empty(t, pristine(strings.NewReader(""), "/bin/gateway"))
}

// TestReleaseProgram: the program goes on without what was let go of, and the kernel knows it by that name.
func TestReleaseProgram(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	f, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	assert.NotEmpty(t, pristine(f, program))
	releaseProgram()
	assert.Equal(t, mostPercent, gcPercent(0))
}
