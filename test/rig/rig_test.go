package rig

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMailFlowsIsHeldAndIsDeliveredAfterAFlush(t *testing.T) {
	t.Parallel()
	primary := Primary(t, Conf{}, "example.org")
	backup := Backup(t, Conf{LongIDs: true, SyslogName: "postfix-mx2"}, map[string]string{"example.org": primary.Addr})
	var truth Truth

	backup.Inject(Load{N: 5, To: "user%d@example.org"}, &truth)
	Eventually(t, 10*time.Second, "5 messages at the primary", func() bool { return len(primary.Arrived()) == 5 })

	primary.Stop()
	backup.Inject(Load{N: 20, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(10*time.Second, 20)
	held := backup.List()
	if len(held) != 20 || !strings.HasPrefix(held[0].Recipients[0].Address, "user") {
		t.Fatalf("postqueue lists %d messages: %+v", len(held), held)
	}
	if line := backup.WaitLog(time.Second, `status=deferred`); !strings.Contains(line, "postfix-mx2/") {
		t.Errorf("the log does not carry the syslog_name: %s", line)
	}

	primary.Start()
	backup.Flush()
	backup.WaitEmpty(20 * time.Second)
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Fatal(d)
	}
	for i, id := range truth.QueueIDs() {
		if len(id) < 12 {
			t.Fatalf("queue ID %d is not a long one: %q", i, id)
		}
	}
}

func TestTruthSeesWhatIsMissingTwiceAndStrange(t *testing.T) {
	var truth Truth
	truth.add(Sent{MessageID: "<a>"})
	truth.add(Sent{MessageID: "<b>"})
	d := truth.Diff(map[string]int{"<b>": 2, "<c>": 1})
	if d.Same() || d.String() != "1 missing: <a>; 1 twice: <b>; 1 strange: <c>" {
		t.Fatalf("got %v", d)
	}
	if d := truth.Diff(map[string]int{"<a>": 1, "<b>": 1}); !d.Same() {
		t.Fatalf("got %v", d)
	}
}

func TestSinkTakesLimitsAndRefuses(t *testing.T) {
	t.Parallel()
	sink := StartSink(t, Behaviour{})
	var truth Truth
	if err := Inject(sink.Addr, Load{N: 50, To: "a@example.org"}, &truth); err != nil {
		t.Fatal(err)
	}
	if d := truth.Diff(sink.Arrived()); !d.Same() {
		t.Fatal(d)
	}

	sink.Set(Behaviour{MaxConns: 1})
	first := dial(t, sink.Addr)
	if got := reply(t, first); !strings.HasPrefix(got, "220") {
		t.Fatalf("the first connection got %q", got)
	}
	if got := reply(t, dial(t, sink.Addr)); !strings.HasPrefix(got, "421") {
		t.Fatalf("a second connection got %q", got)
	}
	first.Close()

	for _, c := range []struct {
		how  Behaviour
		want string
	}{
		{Behaviour{Greeting: "421 4.3.2 not now"}, "421"},
		{Behaviour{RCPT: "450 4.3.2 later"}, "450"},
		{Behaviour{MaxRate: 10}, "450 4.7.1"},
	} {
		sink.Set(c.how)
		err := Inject(sink.Addr, Load{N: 60, To: "a@example.org", Conns: 1}, &truth)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v", c.how, err)
		}
	}
	if n := sink.Counts(); n.Refused != 4 || n.Peak != 4 {
		t.Errorf("counted %+v", n)
	}
	sink.Down()
	if listens(sink.Addr) {
		t.Error("still listens after Down")
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func reply(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// The guard is what keeps a killed test from leaving servers behind. The test runs itself, lets the copy start a
// process and kills the copy.
func TestAGuardEndsWhatAKilledTestLeftBehind(t *testing.T) {
	if os.Getenv("RIG_STARTS") == "1" {
		p := startProcess(t, "sleeper", exec.Command("/bin/sh", "-c", "sleep 300 & sleep 300"))
		fmt.Printf("started %d\n", p.pid)
		<-p.exit
		return
	}
	copied := exec.Command(os.Args[0], "-test.run=^TestAGuardEndsWhatAKilledTestLeftBehind$", "-test.v")
	copied.Env = append(os.Environ(), "RIG_STARTS=1")
	out, err := copied.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := copied.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, text, ok := strings.Cut(lines.Text(), "started "); ok {
			pid, _ = strconv.Atoi(text)
			break
		}
	}
	if pid == 0 {
		t.Fatal("the copy started nothing")
	}
	if errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) {
		t.Fatal("what the copy started does not run")
	}
	copied.Process.Kill()
	copied.Wait()
	Eventually(t, 10*time.Second, "the guard to end the group", (&process{pid: pid}).groupGone)
}

func TestSyslogGoesThroughAPrivateRsyslogd(t *testing.T) {
	t.Parallel()
	for _, iso := range []bool{false, true} {
		syslog := StartRsyslog(t, iso)
		p := StartPostfix(t, Conf{Syslog: syslog})
		first := p.WaitLog(5*time.Second, "daemon started")
		if got := strings.Contains(first[:20], "T"); got != iso {
			t.Errorf("iso %v: the line begins %q", iso, first[:20])
		}
		Rotate(t, syslog.File, fmt.Sprintf("kill -HUP %d", syslog.PID()), "rotate 3", "create")
		if _, err := os.Stat(syslog.File + ".1"); err != nil {
			t.Fatal(err)
		}
		p.Reload()
		p.WaitLog(5*time.Second, "reload")
		p.Stop()
	}
}

func TestLogsRotateInEachWay(t *testing.T) {
	t.Parallel()
	p := StartPostfix(t, Conf{})
	p.WaitLog(5*time.Second, "daemon started")
	Rotate(t, p.Log, "", "copytruncate", "rotate 3")
	if text, err := os.ReadFile(p.Log + ".1"); err != nil || !strings.Contains(string(text), "daemon started") {
		t.Fatalf("copytruncate: %v %q", err, text)
	}
	p.LogRotate()
	p.Reload()
	p.WaitLog(5*time.Second, "reload")
}

func TestPrometheusScrapesAndAlertmanagerListens(t *testing.T) {
	t.Parallel()
	p := StartPrometheus(t, time.Second, []string{"127.0.0.1:1"})
	p.WaitFor(20*time.Second, "up", Is(0))
	if a := StartAlertmanager(t).Alerts(); len(a) != 0 {
		t.Errorf("alerts of nobody: %v", a)
	}
}
