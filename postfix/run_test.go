package postfix

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", script, "sh"}, args...)
}

func TestRun(t *testing.T) {
	t.Setenv("MAIL_CONFIG", "/elsewhere")
	t.Setenv("LANG", "de_DE.UTF-8")
	for _, bulk := range []bool{false, true} {
		var out []byte
		read := func(r io.Reader) (err error) { out, err = io.ReadAll(r); return err }
		if err := Run(t.Context(), Command{Argv: sh(`cat; echo "$1 $LC_ALL $LANG $MAIL_CONFIG"`, "a b"), Stdin: "in\n", Read: read, Bulk: bulk}); err != nil || string(out) != "in\na b C  /elsewhere\n" {
			t.Errorf("%q %v", out, err)
		}
		var e *ExitError
		err := Run(t.Context(), Command{Argv: sh(`echo x; i=0; while [ $i -lt 500 ]; do echo "sh: warning: nothing to worry about" >&2; i=$((i+1)); done; echo "sh: fatal: the end" >&2; exit 69`), Read: read, Bulk: bulk})
		if !errors.As(err, &e) || e.Code != 69 || len(e.Stderr) > maxStderr || err.Error() != "sh: fatal: the end" || string(out) != "x\n" {
			t.Errorf("%v %q", err, out)
		}
		// Half an object because the command gave up: its own words count.
		err = Run(t.Context(), Command{Argv: sh(`echo '{"queue_id": "A"'; echo "sh: fatal: gone" >&2; exit 1`), Bulk: bulk, Read: func(r io.Reader) error {
			io.Copy(io.Discard, r)
			return io.ErrUnexpectedEOF
		}})
		if !errors.As(err, &e) {
			t.Errorf("%v", err)
		}
		if err := Run(t.Context(), Command{Argv: []string{"/no/such/program"}, Read: read, Bulk: bulk}); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		// One who has read enough ends a command that would write for ever.
		stop := errors.New("enough")
		for _, want := range []error{stop, nil} {
			err = Run(t.Context(), Command{Argv: sh(`while :; do echo y; done`), Bulk: bulk, Read: func(r io.Reader) error {
				_, err := bufio.NewReader(r).ReadString('\n')
				return errors.Join(err, want)
			}})
			if want != nil && !errors.Is(err, want) || errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
	}
	if _, err := output(t.Context(), Run, time.Minute, 100, "", sh(`while :; do echo yyyyyyyyyyyyyyyyyyyy; done`)...); err == nil || !strings.Contains(err.Error(), "more than 100 bytes") {
		t.Errorf("output without end: %v", err)
	}
}

// The end of the context kills the command and what it started.
func TestRunKillsTheGroup(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		note := filepath.Join(t.TempDir(), "pid")
		var child int
		err := Run(ctx, Command{Argv: sh(`sleep 1000 & echo $! | tee "$1"; wait`, note), Bulk: bulk, Read: func(r io.Reader) error {
			line, err := bufio.NewReader(r).ReadString('\n')
			if err != nil {
				return err
			}
			child, _ = strconv.Atoi(strings.TrimSpace(line))
			cancel()
			_, err = io.Copy(io.Discard, r)
			return err
		}})
		if !errors.Is(err, context.Canceled) || child == 0 {
			t.Fatal(err, child)
		}
		// Killed it may stay a zombie for a moment, until init has reaped it.
		for range 500 {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
			if err != nil || strings.Contains(string(stat), ") Z ") {
				child = 0
				break
			}
			syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 10000})
		}
		if child != 0 {
			syscall.Kill(child, syscall.SIGKILL)
			t.Errorf("bulk %v: a grandchild outlived the command", bulk)
		}
	}
	if _, err := output(t.Context(), Run, 20*time.Millisecond, 100, "", sh(`sleep 1000`)...); !errors.Is(err, ErrTimeout) {
		t.Errorf("a command that hangs: %v", err)
	}
}
