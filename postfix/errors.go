package postfix

import (
	"context"
	"errors"
	"io/fs"
)

// What can be wrong with a Postfix that is asked. The error around one of these says what to type.
var (
	// ErrNotFound: there is no Postfix here.
	ErrNotFound = errors.New("Postfix not found")
	// ErrNoRights: we may not ask that (authorized_mailq_users, authorized_flush_users, file permissions). It is an fs.ErrPermission.
	ErrNoRights error = kind{"no rights", fs.ErrPermission}
	// ErrStopped: the Postfix mail system is not running.
	ErrStopped = errors.New("Postfix is not running")
	// ErrTimeout: the command has not answered in its time. It is a context.DeadlineExceeded.
	ErrTimeout error = kind{"timeout", context.DeadlineExceeded}
	// ErrNotFlushable: the domain is not in fast_flush_domains, so Postfix cannot flush for it alone.
	ErrNotFlushable = errors.New("not in fast_flush_domains")
	// ErrLookup: a table could not be asked. It is not the same as a key that is not there.
	ErrLookup = errors.New("table lookup failed")
)

// kind is one of the above that those who know nothing of Postfix know by another error.
type kind struct {
	text string
	also error
}

func (k kind) Error() string { return k.text }
func (k kind) Unwrap() error { return k.also }
