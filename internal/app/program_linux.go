package app

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releaseProgram lets go of what the kernel has mapped of the program's own file. Half of it, tens of MiB, is code and tables that only the start has
// needed; what is still in use comes back out of the page cache with the first touch. Where that does not work, nothing is lost.
func releaseProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for _, m := range pristine(f, program) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED)
	}
}

// mapping is a part of the address space.
type mapping struct{ start, end uintptr }

// pristine are the mappings of a file, as smaps lists them, that nobody can write to and of which no page is another than in the file: what is let go of
// those is the same when it comes back.
func pristine(smaps io.Reader, file string) []mapping {
	var out []mapping
	var m mapping
	var fits bool
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		if key, value, isMember := bytes.Cut(lines.Bytes(), []byte(": ")); isMember {
			if string(key) == "Anonymous" && fits && string(bytes.TrimSpace(value)) == "0 kB" {
				out = append(out, m)
			}
			continue
		}
		m, fits = parseMapping(lines.Text(), file)
	}
	return out
}

// parseMapping reads the first line of a mapping, and tells whether it is one of the file that can only be read.
func parseMapping(line, file string) (m mapping, fits bool) {
	fields := strings.SplitN(line, " ", 6) // addresses, rights, offset, device, inode, path
	if len(fields) < 6 || strings.TrimLeft(fields[5], " ") != file || fields[1] != "r--p" && fields[1] != "r-xp" {
		return m, false
	}
	first, last, _ := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(first, 16, strconv.IntSize)
	if err != nil {
		return m, false
	}
	end, err := strconv.ParseUint(last, 16, strconv.IntSize)
	return mapping{uintptr(start), uintptr(end)}, err == nil && start < end
}
