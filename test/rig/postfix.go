package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Conf is what is special about one Postfix instance. The zero Conf is a usable instance that relays nothing.
type Conf struct {
	Name       string   // "backup": its directory and, with ".test", its myhostname; default "postfix"
	SyslogName string   // syslog_name; default "postfix"
	LongIDs    bool     // enable_long_queue_ids
	Syslog     *Rsyslog // log to this syslog in place of a file of its own
	Main       []string // lines for main.cf; a later line for a name wins
	Master     []string // lines for master.cf
	SMTPD      []string // "-o name=value" for the smtpd that listens at Addr
	Dir        string   // an existing directory to put it in; default one of its own
	Stopped    bool     // do not start it yet
	IP         string   // where its smtpd listens; default 127.0.0.1
}

// Postfix is one private instance: its own configuration, queue, data directory, port and log.
type Postfix struct {
	Dir    string // everything of it
	Config string // config_directory
	Queue  string // queue_directory
	Data   string // data_directory
	Log    string // the file it logs to; with Conf.Syslog the one that rsyslogd writes
	Addr   string // address:port where its smtpd listens
	Name   string // as in Conf
	Tag    string // syslog_name
	syslog *Rsyslog
	t      testing.TB
	proc   *process
}

// StartPostfix makes and starts an instance; it takes some 100 ms. The instance ends with the test.
func StartPostfix(t testing.TB, c Conf) *Postfix {
	t.Helper()
	Need(t, "postfix")
	if c.Name == "" {
		c.Name = "postfix"
	}
	if c.SyslogName == "" {
		c.SyslogName = "postfix"
	}
	if c.Dir == "" {
		c.Dir = Dir(t)
	}
	if c.IP == "" {
		c.IP = "127.0.0.1"
	}
	p := &Postfix{
		t: t, Name: c.Name, Tag: c.SyslogName, Addr: c.IP + ":" + itoa(Port(t)),
		Dir: c.Dir, Config: filepath.Join(c.Dir, "etc"), Queue: filepath.Join(c.Dir, "spool"),
		Data: filepath.Join(c.Dir, "lib"), Log: filepath.Join(c.Dir, "mail.log"),
	}
	if c.Syslog != nil {
		p.syslog, p.Log = c.Syslog, c.Syslog.File
	}
	p.makeQueue()
	p.writeConfig(c)
	if !c.Stopped {
		p.Start()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last lines of %s:\n%s", p.Log, tail(p.Log, 30))
		}
	})
	return p
}

// makeQueue makes the directories that "postfix check" would make (conf/postfix-files), with its owners and modes.
// Doing it here saves its 0.4 s and cannot touch another instance.
func (p *Postfix) makeQueue() {
	p.t.Helper()
	uid := id(p.t, "postfix", false)
	drop := id(p.t, "postdrop", true)
	dir := func(path string, owner, group int, mode os.FileMode) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Chown(path, owner, group); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			p.t.Fatal(err)
		}
	}
	dir(p.Queue, 0, 0, 0o755)
	dir(filepath.Join(p.Queue, "pid"), 0, 0, 0o755)
	for _, name := range []string{"incoming", "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "private", "saved", "trace"} {
		dir(filepath.Join(p.Queue, name), uid, 0, 0o700)
	}
	dir(filepath.Join(p.Queue, "public"), uid, drop, 0o710)
	dir(filepath.Join(p.Queue, "maildrop"), uid, drop, 0o730)
	dir(p.Data, uid, 0, 0o700)
}

func (p *Postfix) writeConfig(c Conf) {
	p.t.Helper()
	main := []string{
		"compatibility_level = 3.6",
		"config_directory = " + p.Config,
		"queue_directory = " + p.Queue,
		"data_directory = " + p.Data,
		"syslog_name = " + c.SyslogName,
		"myhostname = " + c.Name + ".test",
		"mydestination =",
		"inet_interfaces = 127.0.0.1",
		"inet_protocols = ipv4",
		"mynetworks = 127.0.0.0/8",
		"alias_maps =", "alias_database =",
		"biff = no",
		"smtpd_peername_lookup = no",
		"smtpd_client_connection_rate_limit = 0",
		"smtp_tls_security_level = none",
		"smtp_host_lookup = native",
		"disable_dns_lookups = yes",
	}
	if c.Syslog == nil {
		main = append(main, "maillog_file = "+p.Log, "maillog_file_prefixes = "+p.Dir)
	}
	if c.LongIDs {
		main = append(main, "enable_long_queue_ids = yes")
	}
	smtpd := fmt.Sprintf("%s inet n - n - - smtpd", p.Addr)
	for _, o := range c.SMTPD {
		smtpd += " -o " + o
	}
	master := []string{
		smtpd,
		"pickup unix n - n 60 1 pickup",
		"cleanup unix n - n - 0 cleanup",
		"qmgr unix n - n 300 1 qmgr",
		"tlsmgr unix - - n 1000? 1 tlsmgr",
		"rewrite unix - - n - - trivial-rewrite",
		"bounce unix - - n - 0 bounce",
		"defer unix - - n - 0 bounce",
		"trace unix - - n - 0 bounce",
		"verify unix - - n - 1 verify",
		"flush unix n - n 1000? 0 flush",
		"proxymap unix - - n - - proxymap",
		"proxywrite unix - - n - 1 proxymap",
		"smtp unix - - n - - smtp",
		"relay unix - - n - - smtp -o syslog_name=${multi_instance_name?{$multi_instance_name}:{" + c.SyslogName + "}}/$service_name",
		"showq unix n - n - - showq",
		"error unix - - n - - error",
		"retry unix - - n - - error",
		"discard unix - - n - - discard",
		"local unix - n n - - local",
		"virtual unix - n n - - virtual",
		"lmtp unix - - n - - lmtp",
		"anvil unix - - n - 1 anvil",
		"scache unix - - n - 1 scache",
		"postlog unix-dgram n - n - 1 postlogd",
	}
	write(p.t, filepath.Join(p.Config, "main.cf"), 0o644, lastOfEach(append(main, c.Main...))...)
	write(p.t, filepath.Join(p.Config, "master.cf"), 0o644, append(master, c.Master...)...)
}

// lastOfEach keeps of each parameter the last line. Every daemon would warn of a parameter that stands twice, and so many warnings at once
// can fill the socket of postlogd before it reads it: Postfix then waits for itself.
func lastOfEach(lines []string) []string {
	name := func(line string) string { n, _, _ := strings.Cut(line, "="); return strings.TrimSpace(n) }
	last := map[string]int{}
	for i, line := range lines {
		last[name(line)] = i
	}
	var kept []string
	for i, line := range lines {
		if last[name(line)] == i {
			kept = append(kept, line)
		}
	}
	return kept
}

// Start starts the master, waits until it listens, and fails the test if it does not.
func (p *Postfix) Start() {
	p.t.Helper()
	if p.proc != nil && p.proc.running() {
		return
	}
	// master(8) itself, as the last step of postfix-script does it; "-s" keeps its standard output for errors of start-up.
	daemons := strings.TrimSpace(p.Postconf("-h", "daemon_directory"))
	cmd := exec.Command(filepath.Join(daemons, "master"), "-s", "-c", p.Config)
	if p.syslog != nil {
		cmd = p.syslog.devLog(filepath.Join(daemons, "master"), "-s", "-c", p.Config)
	}
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "MAIL_CONFIG="+p.Config)
	p.proc = startProcess(p.t, "postfix "+p.Name, cmd)
	if poll(10*time.Second, 2*time.Millisecond, func() bool { return !p.proc.running() || listens(p.Addr) }) != nil || !p.proc.running() {
		p.proc.kill()
		p.t.Fatalf("postfix %s does not start: %s\n%s", p.Name, out, tail(p.Log, 20))
	}
}

// Stop stops it in an orderly way (SIGTERM to the master, as "postfix stop" does).
func (p *Postfix) Stop() {
	p.t.Helper()
	if p.proc == nil {
		return
	}
	if err := p.proc.terminate(10 * time.Second); err != nil {
		p.t.Errorf("stop postfix %s: %v", p.Name, err)
	}
}

// Kill9 kills every process of it at once.
func (p *Postfix) Kill9() {
	if p.proc != nil {
		p.proc.kill()
	}
}

// Reload makes it read its configuration again.
func (p *Postfix) Reload() { syscall.Kill(p.proc.pid, syscall.SIGHUP) }

// Freeze stops every process of it without ending them: what connects or asks hangs. Thaw lets them go on.
func (p *Postfix) Freeze() { p.proc.signalGroup(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (p *Postfix) Thaw() { p.proc.signalGroup(syscall.SIGCONT) }

// Postconf runs postconf(1) on it and returns what it prints.
func (p *Postfix) Postconf(args ...string) string {
	p.t.Helper()
	out, err := run("postconf", append([]string{"-c", p.Config}, args...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// Set changes main.cf and reloads.
func (p *Postfix) Set(lines ...string) {
	p.t.Helper()
	p.Postconf(append([]string{"-e"}, lines...)...)
	if p.proc != nil && p.proc.running() {
		p.Reload()
	}
}

// WaitLog waits until a line of its log matches and returns that line.
func (p *Postfix) WaitLog(limit time.Duration, pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	var line string
	Eventually(p.t, limit, "a line of "+p.Name+"'s log that matches "+pattern, func() bool {
		for _, l := range p.Lines() {
			if re.MatchString(l) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// Lines returns the lines of its log file.
func (p *Postfix) Lines() []string {
	text, _ := os.ReadFile(p.Log)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// LogRotate rotates its log the way Postfix itself does, "postfix logrotate" (3.4): rename, compress, reload.
func (p *Postfix) LogRotate() {
	p.t.Helper()
	if _, err := run(program(p.t, "postfix"), "-c", p.Config, "logrotate"); err != nil {
		p.t.Fatal(err)
	}
}

// id returns the number of a user or group.
func id(t testing.TB, name string, group bool) int {
	t.Helper()
	var text string
	if group {
		g, err := user.LookupGroup(name)
		if err != nil {
			t.Fatal(err)
		}
		text = g.Gid
	} else {
		u, err := user.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		text = u.Uid
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tail returns the last n lines of a file, for the message of a failure.
func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
