package rig

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Rotate runs the real logrotate on file once, by force, with the given directives ("copytruncate", "create 0640 root adm",
// "compress", "delaycompress", "rotate 5" ...). after, if not empty, is the shell text of a postrotate script.
func Rotate(t testing.TB, file, after string, directives ...string) {
	t.Helper()
	Need(t, "logrotate")
	dir := Dir(t)
	lines := append([]string{file + " {", "su root root"}, directives...)
	if after != "" {
		lines = append(lines, "postrotate", after, "endscript")
	}
	config := filepath.Join(dir, "logrotate.conf")
	write(t, config, 0o644, append(lines, "}")...)
	if _, err := run(program(t, "logrotate"), "--force", "--state", filepath.Join(dir, "state"), config); err != nil {
		t.Fatal(err)
	}
}

// Rsyslog is a private rsyslogd, and the mount namespace in which its socket is /dev/log.
//
// Postfix's C library knows one place only for syslog, /dev/log. A Postfix with Conf.Syslog is started by it inside
// the namespace, so that nothing of the host is touched.
type Rsyslog struct {
	File   string // where it writes the mail log
	socket string
	t      testing.TB
	proc   *process
}

// StartRsyslog starts one. iso chooses RFC 3339 time stamps in place of the traditional ones of RFC 3164.
func StartRsyslog(t testing.TB, iso bool) *Rsyslog {
	t.Helper()
	Need(t, "rsyslogd", "unshare")
	dir := Dir(t)
	r := &Rsyslog{File: filepath.Join(dir, "mail.log"), socket: filepath.Join(dir, "log.sock"), t: t}
	format := "RSYSLOG_TraditionalFileFormat"
	if iso {
		format = "RSYSLOG_FileFormat"
	}
	config := filepath.Join(dir, "rsyslog.conf")
	write(t, config, 0o644,
		`global(workDirectory="`+dir+`" maxMessageSize="16k")`,
		`module(load="imuxsock" SysSock.Use="off")`,
		`input(type="imuxsock" Socket="`+r.socket+`" RateLimit.Interval="0" UseSpecialParser="on")`,
		`mail.* action(type="omfile" file="`+r.File+`" template="`+format+`" fileCreateMode="0644")`)
	cmd := exec.Command(program(t, "rsyslogd"), "-n", "-f", config, "-i", filepath.Join(dir, "pid"))
	r.proc = startProcess(t, "rsyslogd", cmd)
	Eventually(t, 10*time.Second, "rsyslogd's socket", func() bool {
		c, err := net.Dial("unixgram", r.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return r
}

// Hup makes it open its file again, as logrotate's postrotate does on Debian.
func (r *Rsyslog) Hup() { syscall.Kill(r.proc.pid, syscall.SIGHUP) }

// PID is what a postrotate script sends HUP to.
func (r *Rsyslog) PID() int { return r.proc.pid }

// devLog returns how to start a program that finds the socket as /dev/log: in a mount namespace of its own whose /dev
// is a small one.
func (r *Rsyslog) devLog(program string, args ...string) *exec.Cmd {
	script := strings.Join([]string{
		"set -e", "mount -t tmpfs -o mode=755 tmpfs /mnt",
		"for d in null zero random urandom tty full; do [ -e /dev/$d ] && { touch /mnt/$d; mount --bind /dev/$d /mnt/$d; }; done",
		`ln -s "$0" /mnt/log`, "mount --move /mnt /dev", `exec "$@"`}, "\n")
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "/bin/sh", "-c", script, r.socket, program}, args...)...)
}

// Lines returns the lines it has written to its file.
func (r *Rsyslog) Lines() []string {
	text, err := os.ReadFile(r.File)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
