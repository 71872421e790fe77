package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is one command to run.
type Command struct {
	Argv  []string // the program, absolute, and its arguments
	Stdin string
	// Read reads the standard output. When it returns, the rest of the output is not wanted and the command is ended
	// if it still runs. nil: the output is thrown away.
	Read func(stdout io.Reader) error
	Bulk bool // much output in many small writes: read it in large pieces, at a delay of some milliseconds
}

// Runner runs one command to its end and is the one way by which this package asks anything of Postfix. A command that
// exits with another status than 0 is an [*ExitError]; an error of Read is returned as it is. [Run] is the real one;
// tests answer with recorded output.
type Runner func(ctx context.Context, cmd Command) error

// ExitError is a command that ran and failed.
type ExitError struct {
	Argv   []string
	Code   int    // exit status, -1 when a signal ended it
	Stderr string // the last 4 KiB at most
}

func (e *ExitError) Error() string {
	name := "command"
	if len(e.Argv) > 0 {
		name = e.Argv[0][strings.LastIndexByte(e.Argv[0], '/')+1:]
	}
	if line := complaint(e.Stderr); line != "" {
		return line // Postfix's commands begin each line with their own name
	}
	return fmt.Sprintf("%s: exit status %d and not a word why", name, e.Code)
}

// maxStderr is how much of what a command complains about is kept.
const maxStderr = 4 << 10

// Run is the [Runner] that starts processes. The context must carry a deadline for the command to have one. The process leads
// a group of its own, which is killed whole when the context ends or Read has had enough.
func Run(ctx context.Context, c Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = environment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A grandchild that left the group and kept a descriptor must not hold us.
	cmd.WaitDelay = time.Second
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	stderr := &tail{max: maxStderr}
	cmd.Stderr = stderr
	if c.Read == nil {
		if err := cmd.Start(); err != nil {
			return err
		}
		return exit(ctx, c.Argv, cmd.Wait(), stderr)
	}
	var out io.ReadCloser
	var theirs *os.File
	var err error
	if c.Bulk {
		if out, theirs, err = bulkPipe(ctx); err == nil {
			cmd.Stdout = theirs
			defer out.Close()
		}
	} else {
		out, err = cmd.StdoutPipe()
	}
	if err != nil {
		return err
	}
	err = cmd.Start()
	if theirs != nil {
		theirs.Close()
	}
	if err != nil {
		return err
	}
	// A cancelled context closes nothing by itself while Read is in out.Read: the kill ends the writers and with them
	// the read, unless one escaped the group; then closing our end does.
	stop := func() bool { return true }
	if !c.Bulk {
		stop = context.AfterFunc(ctx, func() { out.Close() })
	}
	readErr := c.Read(out)
	ended := ctx.Err()
	stop()
	if readErr != nil && !errors.Is(readErr, io.ErrUnexpectedEOF) { // that one is at its end, and may be about to say why
		cancel()
	}
	out.Close() // who still writes gets SIGPIPE
	waitErr := cmd.Wait()
	switch {
	case ended != nil:
		return ended
	case readErr != nil:
		// A reader that met half an object because the command died says less than the command's own words.
		var ee *exec.ExitError
		if errors.Is(readErr, io.ErrUnexpectedEOF) && errors.As(waitErr, &ee) && ee.Exited() && ee.ExitCode() != 0 {
			return exit(ctx, c.Argv, waitErr, stderr)
		}
		return readErr
	}
	return exit(ctx, c.Argv, waitErr, stderr)
}

func exit(ctx context.Context, argv []string, err error, stderr *tail) error {
	var ee *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &ee):
		return &ExitError{Argv: argv, Code: ee.ExitCode(), Stderr: stderr.String()}
	}
	return err
}

// environment keeps what a Postfix command may need and nothing that changes how it answers.
func environment(of []string) []string {
	env := []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range of {
		// "postqueue -p" writes local time; MAIL_CONFIG is the default configuration directory, as for Postfix's own commands.
		if strings.HasPrefix(kv, "TZ=") || strings.HasPrefix(kv, "MAIL_CONFIG=") {
			env = append(env, kv)
		}
	}
	return env
}

// tail keeps the last max bytes written to it: Postfix's commands say last why they give up, after any number of warnings.
// The buffer is not embedded: its ReadFrom would be io.Copy's way round the bound.
type tail struct {
	b   bytes.Buffer
	max int
}

func (t *tail) String() string { return t.b.String() }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if over := n - t.max; over > 0 {
		p = p[over:]
	}
	if over := t.b.Len() + len(p) - t.max; over > 0 {
		t.b.Next(over)
	}
	t.b.Write(p)
	return n, nil
}

// output runs a command and returns its standard output. More than max bytes of it is an error.
func output(ctx context.Context, run Runner, limit time.Duration, max int64, stdin string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var b strings.Builder
	err := run(ctx, Command{Argv: argv, Stdin: stdin, Read: func(r io.Reader) error {
		n, err := copyAtMost(&b, r, max)
		if err == nil && n > max {
			err = fmt.Errorf("%s: more than %d bytes of output", argv[0], max)
		}
		return err
	}})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %s has not answered within %v", ErrTimeout, argv[0], limit)
	}
	return b.String(), err
}

// complaint is the line that says why a command gave up, not one of the warnings around it; the last line where none does.
func complaint(stderr string) string {
	stderr = strings.TrimSpace(stderr)
	last := stderr[strings.LastIndexByte(stderr, '\n')+1:]
	for line := range strings.Lines(stderr) {
		if gaveUp(line) {
			last = line
		}
	}
	return strings.TrimSpace(last)
}

// gaveUp tells whether a line, or any of several, is more than a warning (util/msg.c).
func gaveUp(stderr string) bool {
	return strings.Contains(stderr, ": fatal: ") || strings.Contains(stderr, ": error: ") || strings.Contains(stderr, ": panic: ")
}

// copyAtMost copies up to max+1 bytes, so that the caller sees when there was more.
func copyAtMost(w io.Writer, r io.Reader, max int64) (int64, error) {
	return io.Copy(w, io.LimitReader(r, max+1))
}
