package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// errLocked: another agent works in this state directory.
var errLocked = errors.New("another agent works in this directory")

// lockState keeps other agents out of the state directory until unlock is called, or this process ends in any way. Two agents in one directory
// would write over each other's accounts. Any error but errLocked leaves the directory unlocked and is no reason not to run: a disk may be full.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return func() {}, err // newAgent says what to type
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return func() {}, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return func() {}, fmt.Errorf("state: %w: %s: stop it, or give this one another with --state", errLocked, dir)
		}
		return func() {}, err
	}
	return func() { f.Close() }, nil
}
