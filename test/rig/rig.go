// Package rig runs the real parts of an end-to-end test side by side: Postfix instances, the agent's own binary,
// Prometheus, Alertmanager, logrotate, rsyslogd, a scripted primary, and the far ends of alerts.
//
// Every part is private: its own directory, its own port on the loopback, nothing of the host's Postfix or its queue is
// read or written. A part is stopped when its test ends, by its process group; a guard process does the same when the
// test process is killed and no clean-up can run. Parts of several tests may run at the same time.
//
// What a test expects is compared with [Truth], which counts what was sent and what arrived by Message-ID at the two
// ends of the wire, never with what the agent or a log says.
//
// Hazards: Postfix needs root (its queue belongs to root and to the postfix user). Directories lie directly under
// [os.TempDir], because the path of a unix socket has a limit of 108 bytes and testing.T's directories are private to
// their owner, which keeps Postfix's own user out.
package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// RequireEnv names the environment variable that turns a missing part from a skip into a failure. CI sets it to 1.
const RequireEnv = "SPAREMX_REQUIRE"

// part is something a test may need: how to find it and what installs it.
type part struct {
	paths []string // the first that exists is used; a name without a slash is looked up in PATH
	pkg   string
}

func parts(name string) (part, bool) {
	p, ok := map[string]part{
		"postfix":      {[]string{"/usr/sbin/postfix", "postfix"}, "postfix"},
		"prometheus":   {[]string{"prometheus"}, "prometheus"},
		"promtool":     {[]string{"promtool"}, "prometheus"},
		"alertmanager": {[]string{"prometheus-alertmanager", "alertmanager"}, "prometheus-alertmanager"},
		"logrotate":    {[]string{"/usr/sbin/logrotate", "logrotate"}, "logrotate"},
		"rsyslogd":     {[]string{"/usr/sbin/rsyslogd", "rsyslogd"}, "rsyslog"},
		"unshare":      {[]string{"unshare"}, "util-linux"},
	}[name]
	return p, ok
}

// find returns the path of the program that stands for the part called name.
func find(name string) (string, error) {
	p, ok := parts(name)
	if !ok {
		return "", fmt.Errorf("rig: no part is called %q", name)
	}
	for _, path := range p.paths {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: run test/install.sh as root (apt-get install %s)", name, p.pkg)
}

// Need ends the test unless each of the named parts can be used here: "postfix", "prometheus", "promtool",
// "alertmanager", "logrotate", "rsyslogd", "unshare". The test is skipped, and says what is missing; where
// SPAREMX_REQUIRE=1 is set it fails instead.
func Need(t testing.TB, names ...string) {
	t.Helper()
	var missing []error
	for _, name := range names {
		if _, err := find(name); err != nil {
			missing = append(missing, err)
		} else if (name == "postfix" || name == "unshare") && os.Geteuid() != 0 {
			missing = append(missing, fmt.Errorf("%s can be run here by root only", name))
		}
	}
	if len(missing) == 0 {
		return
	}
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("required by %s=1: %v", RequireEnv, errors.Join(missing...))
	}
	t.Skipf("REQUIRE: %v", errors.Join(missing...))
}

// program returns the path of a part that Need has found.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := find(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Dir makes a directory with a short path that every user can enter, removed when the test ends. It is kept when the
// test has failed and SPAREMX_KEEP=1 is set.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("SPAREMX_KEEP") == "1" {
			t.Logf("kept: %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}

// Eventually asks ok every 10 ms until it answers true, and fails the test after limit. what says what was awaited.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if err := poll(limit, 10*time.Millisecond, ok); err != nil {
		t.Fatalf("waited %v for %s", limit, what)
	}
}

// errTooLong is poll's answer when its limit has passed.
var errTooLong = errors.New("rig: took too long")

func poll(limit, every time.Duration, ok func() bool) error {
	if ok() {
		return nil
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ok() {
				return nil
			}
		case <-deadline.C:
			if ok() {
				return nil
			}
			return errTooLong
		}
	}
}

func write(t testing.TB, path string, mode os.FileMode, lines ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), mode); err != nil {
		t.Fatal(err)
	}
}

// run runs a command to its end and returns what it printed on standard output.
func run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
