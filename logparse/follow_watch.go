package logparse

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch wakes the follower when something happens to its file. It watches directories, because a watch on a file follows the file and
// not its name. Events are hints: a lost one costs a second.
type watch struct {
	path  string
	stem  string // of the file's name: others in the directory do not wake us
	lg    *slog.Logger
	w     *fsnotify.Watcher // nil: the system gives none
	dirs  map[string]os.FileInfo
	names map[string]bool // base names that wake us
	stale bool            // more than writes happened, or some time passed: the directories may be others
}

func watchLog(path string, lg *slog.Logger) *watch {
	base := filepath.Base(path)
	w := &watch{path: path, stem: strings.TrimSuffix(base, filepath.Ext(base)), lg: lg, dirs: map[string]os.FileInfo{}, stale: true}
	var err error
	if w.w, err = fsnotify.NewWatcher(); err != nil {
		lg.Info("no file events, looking at the log every 250 ms instead; raise fs.inotify.max_user_instances (sysctl)", "err", err)
	}
	return w
}

func (w *watch) works() bool { return w.w != nil && len(w.dirs) > 0 }

func (w *watch) close() {
	if w.w != nil {
		w.w.Close()
	}
}

// ensure watches the directory of the name and that of the file it means, also after they were replaced.
func (w *watch) ensure() {
	if w.w == nil || !w.stale {
		return
	}
	w.stale = false
	want := map[string]bool{filepath.Dir(w.path): true}
	w.names = map[string]bool{filepath.Base(w.path): true}
	if real, err := filepath.EvalSymlinks(w.path); err == nil {
		want[filepath.Dir(real)] = true
		w.names[filepath.Base(real)] = true
	}
	for dir, was := range w.dirs {
		if fi, err := os.Stat(dir); err != nil || !os.SameFile(fi, was) || !want[dir] {
			w.w.Remove(dir) // an error says that it is gone already
			delete(w.dirs, dir)
		}
	}
	for dir := range want {
		if w.dirs[dir] != nil {
			continue
		}
		fi, err := os.Stat(dir)
		if err != nil {
			continue
		}
		if err := w.w.Add(dir); err != nil {
			w.lg.Debug("no file events; raise fs.inotify.max_user_watches (sysctl)", "dir", dir, "err", err)
			continue
		}
		w.dirs[dir] = fi
	}
}

// wait returns when the file may have changed, at the tick, or when ctx ends.
func (w *watch) wait(ctx context.Context, tick <-chan time.Time) {
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.w != nil {
		events, errs = w.w.Events, w.w.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			w.stale = true
			return
		case e := <-events:
			if w.concerns(e) {
				w.drain(events)
				return
			}
		case <-errs: // above all: too many events, some were dropped
			w.stale = true
			return
		}
	}
}

// drain takes what else is waiting: one look serves all.
func (w *watch) drain(events <-chan fsnotify.Event) {
	for {
		select {
		case e := <-events:
			w.concerns(e)
		default:
			return
		}
	}
}

func (w *watch) concerns(e fsnotify.Event) bool {
	if e.Op != fsnotify.Write {
		w.stale = true
	}
	base := filepath.Base(e.Name)
	return w.names[base] || strings.HasPrefix(base, w.stem)
}
