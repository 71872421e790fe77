package postfix

import "errors"

// What can be wrong with a Postfix that is asked. The error around one of these says what to type.
var (
	// ErrNotFound: there is no Postfix here.
	ErrNotFound = errors.New("Postfix not found")
	// ErrNoRights: we may not ask that (authorized_mailq_users, authorized_flush_users, file permissions).
	ErrNoRights = errors.New("no rights")
	// ErrStopped: the Postfix mail system is not running.
	ErrStopped = errors.New("Postfix is not running")
	// ErrTimeout: the command has not answered in its time.
	ErrTimeout = errors.New("timeout")
	// ErrNotFlushable: the domain is not in fast_flush_domains, so Postfix cannot flush for it alone.
	ErrNotFlushable = errors.New("not in fast_flush_domains")
	// ErrLookup: a table could not be asked. It is not the same as a key that is not there.
	ErrLookup = errors.New("table lookup failed")
)
