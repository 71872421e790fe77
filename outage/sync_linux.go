package outage

import (
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync makes the content of f durable, with what is needed to read it back (fdatasync(2)).
func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
