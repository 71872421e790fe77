package postfix

import (
	"context"
	"io"
	"os"
	"syscall"
	"time"
)

// Output that comes in many small writes is read by looking at the pipe from time to time. postqueue(1) writes each message
// by itself (showq_json.c flushes after each), and to be woken for each costs several times what decoding it does; a pipe
// that the Go runtime polls wakes it for every write even while nobody reads.
const (
	bulkPause = 8 * time.Millisecond  // between looks while output comes: some 700 messages of a fast showq(8)
	bulkIdle  = 50 * time.Millisecond // at most, while none comes
	bulkSize  = 256 << 10             // bytes the pipe is to hold, so that the writer need not wait for us
	setPipeSz = 1031                  // F_SETPIPE_SZ, fcntl(2)
)

// bulkPipe returns a pipe whose reading end is not known to the runtime's poller.
func bulkPipe(ctx context.Context) (r io.ReadCloser, w *os.File, err error) {
	var fd [2]int
	if err := syscall.Pipe2(fd[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd[1]), setPipeSz, bulkSize) // what it is not granted it does without
	if err := syscall.SetNonblock(fd[0], true); err != nil {
		syscall.Close(fd[0])
		syscall.Close(fd[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return &bulkReader{ctx: ctx, fd: fd[0]}, os.NewFile(uintptr(fd[1]), "|1"), nil
}

type bulkReader struct {
	ctx  context.Context
	fd   int
	full bool // the last read filled its buffer: there is more already
}

func (b *bulkReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	pause := bulkPause
	if b.full {
		pause = 0
	}
	for {
		if err := b.wait(pause); err != nil {
			return 0, err
		}
		n, err := syscall.Read(b.fd, p)
		switch {
		case n > 0:
			b.full = n == len(p)
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EAGAIN:
			pause = min(max(bulkPause, pause*2), bulkIdle)
		case err != syscall.EINTR:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

func (b *bulkReader) wait(d time.Duration) error {
	if d == 0 {
		return b.ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
}

// Close may be called again. It must not run beside Read.
func (b *bulkReader) Close() error {
	if b.fd < 0 {
		return nil
	}
	fd := b.fd
	b.fd = -1
	return syscall.Close(fd)
}
