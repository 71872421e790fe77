package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// stranger is a user that no package knows and no group has.
const stranger = 41919

// as runs an agent under another user: stranger, in its own group or in the one named alone.
func as(t *testing.T, group ...string) []string {
	t.Helper()
	rig.Need(t, "unshare") // of the package that setpriv is in
	argv := []string{"setpriv", fmt.Sprintf("--reuid=%d", stranger)}
	if len(group) == 0 {
		return append(argv, fmt.Sprintf("--regid=%d", stranger), "--clear-groups")
	}
	g, err := user.LookupGroup(group[0])
	if err != nil {
		t.Fatal(err)
	}
	return append(argv, "--regid="+g.Gid, "--clear-groups")
}

// strangersAgent makes an agent whose directory belongs to stranger, and starts it.
func strangersAgent(t *testing.T, c rig.AgentConf) *rig.Agent {
	t.Helper()
	c.Stopped = true
	a := rig.StartAgent(t, c)
	if err := os.Chown(filepath.Dir(a.State), stranger, stranger); err != nil {
		t.Fatal(err)
	}
	a.Start()
	return a
}

// inNamespace is a command that runs an agent where script has changed what is mounted; the script sees args as $1, $2 ...
// and the agent's command comes last, so that it begins with shift and ends with exec "$@".
func inNamespace(script string, args ...string) []string {
	return append([]string{"unshare", "-m", "--propagation=private", "sh", "-ec", script, "sh"}, args...)
}

// cli runs the binary with nothing of an agent's flags.
func cli(t *testing.T, env []string, args ...string) (out string, code int, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command(os.Getenv(rig.BinaryEnv), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return o.String(), cmd.ProcessState.ExitCode(), e.String()
}

// under runs the binary by another command that ends with it.
func under(t *testing.T, argv []string, args ...string) (stderr string, code int) {
	t.Helper()
	argv = append(append(argv[:len(argv):len(argv)], os.Getenv(rig.BinaryEnv)), args...)
	var e bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &e
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return e.String(), cmd.ProcessState.ExitCode()
}

// file writes a file into a directory of its own and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(rig.Dir(t), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// logged returns all that an agent has logged.
func logged(t *testing.T, a *rig.Agent) string {
	t.Helper()
	text, err := os.ReadFile(a.Output)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// get reads a page of the agent's port.
func get(t *testing.T, a *rig.Agent, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + a.Addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return string(body)
}

// says waits until the agent tells each of the words, in its log and in one line of status each.
func says(t *testing.T, a *rig.Agent, words ...string) {
	t.Helper()
	for _, w := range words {
		rig.Eventually(t, 15*time.Second, strconv.Quote(w)+" in the agent's log", func() bool { return strings.Contains(logged(t, a), w) })
	}
	told(t, a, words...)
}

// told is says for status alone.
func told(t *testing.T, a *rig.Agent, words ...string) {
	t.Helper()
	var out string
	defer func() {
		if t.Failed() {
			t.Logf("sparemx status --json: %s", out)
		}
	}()
	rig.Eventually(t, 15*time.Second, fmt.Sprintf("%q in one line of status", words), func() bool {
		out, _, _ = a.Run("status", "--json")
		for line := range strings.SplitSeq(strings.ReplaceAll(out, `","`, "\n"), "\n") {
			ok := true
			for _, w := range words {
				ok = ok && strings.Contains(line, w)
			}
			if ok {
				return true
			}
		}
		return false
	})
}

// goesOn fails the test unless probes, metrics and the account work: the primary is Up, an outage is seen, mail that is held in it is
// listed if scans work, and it ends.
func goesOn(t *testing.T, a *rig.Agent, primary *rig.Sink) {
	t.Helper()
	waitState(t, a, 15*time.Second, "up")
	primary.Down()
	waitState(t, a, 15*time.Second, "down")
	primary.Up()
	waitState(t, a, 15*time.Second, "up")
}

// A log that is not there is said, in the log and in status, with what to type; the rest works; when it appears it is read from its start.
func TestALogThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	late := filepath.Join(rig.Dir(t), "late.log")
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "log: { source: [" + late + "] }\n"})
	says(t, agent, late+" is not there", "postconf maillog_file")
	goesOn(t, agent, primary)

	backup.Inject(rig.Load{N: 20, To: "user%d@example.org"}, new(rig.Truth))
	backup.WaitEmpty(20 * time.Second)
	backup.WaitLog(10*time.Second, "qmgr.*: removed")
	text, err := os.ReadFile(backup.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(late, text, 0o644); err != nil {
		t.Fatal(err)
	}
	agent.WaitMetric(10*time.Second, rig.Is(float64(bytes.Count(text, []byte("status=sent")))), "sparemx_deliveries_total", "result", "delivered")
	if out, code, _ := agent.Run("status"); code != 0 || strings.Contains(out, "not there") {
		t.Errorf("status once the log is there: exit %d\n%s", code, out)
	}
}

// No log was found at all when the agent began: neither file nor journal. When there is one it is read without a restart.
func TestNoLogAnywhereUntilThereIsOne(t *testing.T) {
	t.Parallel()
	rig.Need(t, "postfix", "unshare")
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	// A Postfix that does not name its log: a copy of the configuration without maillog_file, and a /var/log of our own.
	etc, varlog := filepath.Join(rig.Dir(t), "etc"), filepath.Join(rig.Dir(t), "log")
	if out, err := exec.Command("sh", "-ec", `cp -a "$1" "$2"; sed -i '/^maillog_file/d;/^config_directory/d' "$2/main.cf"; mkdir "$3"`, "sh", backup.Config, etc, varlog).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	agent := rig.StartAgent(t, rig.AgentConf{
		YAML:  strings.ReplaceAll(beside(backup), backup.Config, etc) + quick,
		Under: inNamespace(`mount --bind "$1" /var/log; shift; exec "$@"`, varlog),
	})
	says(t, agent, "no log of Postfix was found", "log: { source:")
	agent.WaitMetric(5*time.Second, rig.Is(0), "sparemx_log_source_up")
	goesOn(t, agent, primary)
	text := "2026-01-02T03:04:05+00:00 mx2 postfix/qmgr[9]: 4F1: removed\n"
	if err := os.WriteFile(filepath.Join(varlog, "mail.log"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 30*time.Second, "the log to be found", func() bool { return strings.Contains(logged(t, agent), "a mail log was found") })
	waitState(t, agent, 15*time.Second, "up")
	f, err := os.OpenFile(filepath.Join(varlog, "mail.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	agent.WaitMetric(15*time.Second, rig.Is(1), "sparemx_log_source_up")
	for range 7 {
		fmt.Fprint(f, text)
	}
	agent.WaitMetric(15*time.Second, rig.Is(7), "sparemx_log_lines_total")
}

// An agent under a user of no group: the log may not be read. What to type is said; the rest works; once it may be read, it is, without
// a restart, from where it stood when the agent began.
func TestALogThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	backup.Inject(rig.Load{N: 5, To: "user%d@example.org"}, new(rig.Truth))
	backup.WaitEmpty(20 * time.Second)
	early := primary.Arrived()
	if err := os.Chmod(backup.Log, 0o600); err != nil {
		t.Fatal(err)
	}
	agent := strangersAgent(t, rig.AgentConf{YAML: beside(backup) + quick, Under: as(t, "postdrop")})
	says(t, agent, backup.Log, "permission denied", "usermod -aG adm")
	if n, _ := agent.Metrics().Sum("sparemx_log_source_up"); n != 0 {
		t.Errorf("sparemx_log_source_up is %v", n)
	}
	goesOn(t, agent, primary)

	// With the group postdrop it lists and flushes.
	primary.Down()
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	backup.Inject(rig.Load{N: 10, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 10)
	agent.WaitMetric(10*time.Second, rig.Is(10), "sparemx_queue_held_messages")
	if err := os.Chmod(backup.Log, 0o644); err != nil {
		t.Fatal(err)
	}
	agent.WaitMetric(10*time.Second, rig.Is(1), "sparemx_log_source_up")
	agent.WaitMetric(10*time.Second, func(n float64) bool { return n >= 10 }, "sparemx_deliveries_total", "result", "deferred")
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: 10, Delivered: 10}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	arrived := primary.Arrived()
	maps.DeleteFunc(arrived, func(id string, _ int) bool { return early[id] > 0 })
	if d := truth.Diff(arrived); !d.Same() {
		t.Error("at the primary:", d)
	}
	if n, _ := agent.Metrics().Sum("sparemx_deliveries_total", "result", "delivered"); n != 10 {
		t.Errorf("%v deliveries counted; those before the agent began are not its own, and 10 came after", n)
	}
}

// No right to list the queue: said with what to type, shown as a trouble of the scan; probes and metrics go on, and an outage is seen.
func TestNoRightToListTheQueue(t *testing.T) {
	t.Parallel()
	rig.Need(t, "postfix", "unshare")
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{Main: []string{"authorized_mailq_users = root"}}, map[string]string{"example.org": primary.Addr})
	// The instance is the default one of its namespace, as on a real host: postqueue takes no other from strangers.
	etc := filepath.Join(rig.Dir(t), "etc")
	if out, err := exec.Command("sh", "-ec", `cp -a "$1" "$2"; sed -i /^config_directory/d "$2/main.cf"`, "sh", backup.Config, etc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	passwd := file(t, "passwd", fmt.Sprintf("root:x:0:0::/:/bin/sh\nsparemx:x:%d:%d::/:/bin/false\n", stranger, stranger))
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(passwd, append(users, fmt.Sprintf("sparemx:x:%d:%d::/:/bin/false\n", stranger, stranger)...), 0o644); err != nil {
		t.Fatal(err)
	}
	agent := strangersAgent(t, rig.AgentConf{
		YAML:  "mode: postfix\n" + quick,
		Under: append(inNamespace(`mount --bind "$1" /etc/postfix; mount --bind "$2" /etc/passwd; shift 2; exec "$@"`, etc, passwd), as(t)...),
	})
	says(t, agent, "not allowed to view the mail queue", "authorized_mailq_users = ")
	m := agent.Metrics()
	if ok, n := m.Sum("sparemx_queue_scan_success"); n != 1 || ok != 0 {
		t.Errorf("sparemx_queue_scan_success is %v (%d)", ok, n)
	}
	if denied, _ := m.Sum("sparemx_queue_scan_trouble", "trouble", "denied"); denied != 1 {
		t.Error("the scan is not shown as denied")
	}
	goesOn(t, agent, primary)
	if out, code, _ := agent.Run("status"); code != 3 {
		t.Errorf("status without a look at the queue: exit %d, want 3 (unknown)\n%s", code, out)
	}
	if lines := strings.Count(logged(t, agent), "cannot list the queue"); lines != 1 {
		t.Errorf("the same trouble was logged %d times", lines)
	}
}

func howOften(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
