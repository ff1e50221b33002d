package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// maxLinks is where a chain of symbolic links counts as endless, as it does for the kernel.
const maxLinks = 40

// folders gets the file system's events of those folders in which a change can mean another content for a path: where the file lies, where each
// symbolic link on the way to it lies, and the parents of these. Files themselves are not watched, since a rename would leave the watch behind.
type folders struct {
	notify  *fsnotify.Watcher // nil where events are not to be had
	logger  *slog.Logger
	entries map[string]map[string]bool // by folder, the names that matter in it
	refused map[string]bool            // folders whose trouble was told
}

func announceFolders(logger *slog.Logger) *folders {
	f := &folders{logger: logger, refused: map[string]bool{}}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("no file events; files are compared at intervals only", "error", err)
		return f
	}
	f.notify = notify
	return f
}

func (f *folders) close() {
	if f.notify != nil {
		_ = f.notify.Close()
	}
}

func (f *folders) events() <-chan fsnotify.Event {
	if f.notify == nil {
		return nil
	}
	return f.notify.Events
}

func (f *folders) errors() <-chan error {
	if f.notify == nil {
		return nil
	}
	return f.notify.Errors
}

// concern tells whether the event can mean that a followed path leads to another content.
func (f *folders) concern(event fsnotify.Event) bool {
	_, folder := f.entries[event.Name]
	return folder || f.entries[filepath.Dir(event.Name)][filepath.Base(event.Name)]
}

// follow makes the events those of the given paths, and of no others.
func (f *folders) follow(paths []string) {
	if f.notify == nil {
		return
	}
	f.entries = map[string]map[string]bool{}
	for _, path := range paths {
		f.trace(path)
	}
	for folder := range f.entries {
		// Adding anew is how a folder that was replaced under its old name gets events again.
		if err := f.notify.Add(folder); err != nil && !f.refused[folder] {
			f.refused[folder] = true
			f.logger.Debug("no file events from a folder; its files are compared at intervals only", "folder", folder, "error", err)
		}
	}
	for _, folder := range f.notify.WatchList() {
		if _, wanted := f.entries[folder]; !wanted {
			// It fails for a folder that is gone, which is as good.
			_ = f.notify.Remove(folder)
		}
	}
}

// trace walks to the path as the kernel does and notes the entries that decide where it leads.
func (f *folders) trace(path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return
	}
	separator := string(filepath.Separator)
	root := filepath.VolumeName(path) + separator
	folder, rest := root, strings.Split(strings.TrimPrefix(path, root), separator)
	above, name := "", ""
	for links := 0; len(rest) > 0 && links <= maxLinks; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			folder = filepath.Dir(folder)
			continue
		}
		full := filepath.Join(folder, step)
		info, err := os.Lstat(full)
		link := err == nil && info.Mode()&os.ModeSymlink != 0
		if link || err != nil || len(rest) == 0 {
			f.note(above, name)
			f.note(folder, step)
		}
		above, name = folder, step
		switch {
		case err != nil:
			return
		case !link:
			folder = full
			continue
		}
		target, err := os.Readlink(full)
		if err != nil {
			return
		}
		if filepath.IsAbs(target) {
			folder, target = root, strings.TrimPrefix(target, root)
		}
		rest = append(strings.Split(target, separator), rest...)
		links++
	}
}

func (f *folders) note(folder, name string) {
	if folder == "" {
		return
	}
	if f.entries[folder] == nil {
		f.entries[folder] = map[string]bool{}
	}
	f.entries[folder][name] = true
}
