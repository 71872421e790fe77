//go:build !linux

package outage

import "os"

func fdatasync(f *os.File) error { return f.Sync() }
