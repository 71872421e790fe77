// Package durable writes small files so that they survive a crash and a power cut: after WriteFile returns nil, a reader sees the
// whole new content, also after the machine lost power; when it fails, the reader sees the whole old one.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by data: a temporary file beside it is written and synced, renamed over it, and the directory
// is synced (fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory containing the file has also
// reached disk").
func WriteFile(path string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing %s after the rename: %w", path, err)
	}
	return SyncDir(dir)
}

// SyncDir makes the entries of a directory durable: needed once after a file in it was created, renamed or removed.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
