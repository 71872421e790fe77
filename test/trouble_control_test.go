package test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// The control socket: for its owner and its group alone; one left by an agent that is gone is replaced; a second agent is refused; and
// each command says what to type when there is nobody to speak to.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick, Stopped: true})

	for _, command := range [][]string{{"status"}, {"status", "--json"}} {
		if out, code, stderr := agent.Run(command...); code != 3 || out != "" || !strings.Contains(stderr, "no agent answers at "+agent.Control+": start it with `sparemx run`") {
			t.Errorf("%v without an agent: exit %d, %q %q", command, code, out, stderr)
		}
	}
	for _, command := range []string{"healthcheck", "drain", "reload"} {
		if _, code, stderr := agent.Run(command); code == 0 || !strings.Contains(stderr, "sparemx run") {
			t.Errorf("%s without an agent: exit %d, %q", command, code, stderr)
		}
	}

	// A socket that an agent left when it was killed.
	left, err := net.Listen("unix", agent.Control)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	agent.Start()
	waitState(t, agent, 15*time.Second, "up")
	info, err := os.Stat(agent.Control)
	if err != nil || info.Mode().Perm() != 0o660 || info.Mode()&os.ModeSocket == 0 {
		t.Fatalf("the socket: %v, %v", info.Mode(), err)
	}
	if out, code, _ := agent.Run("healthcheck"); code != 0 || !strings.Contains(out, "sparemx runs") {
		t.Errorf("healthcheck: exit %d, %s", code, out)
	}
	rig.Eventually(t, 15*time.Second, "healthcheck --ready", func() bool { _, code, _ := agent.Run("healthcheck", "--ready"); return code == 0 })

	// Another user has no right, and is told whom to ask.
	stderr, code := under(t, as(t), "status", "--control="+agent.Control)
	if code != 3 || !strings.Contains(stderr, "no right to speak to the agent at "+agent.Control) || !strings.Contains(stderr, "usermod -aG") {
		t.Errorf("another user: exit %d, %s", code, stderr)
	}
	if stderr, code := under(t, as(t), "reload", "--control="+agent.Control); code == 0 {
		t.Errorf("another user may reload: %s", stderr)
	}

	// A second agent is refused, and the first is left alone.
	second := filepath.Join(rig.Dir(t), "state")
	out, code, stderr := cli(t, nil, "run", "--config.file="+agent.Config, "--state="+second, "--control="+agent.Control, "--web.listen-address=127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, "an agent answers at "+agent.Control+": stop it, or write another control: path") {
		t.Errorf("a second agent: exit %d\n%s%s", code, out, stderr)
	}
	// Nor at the same state directory with a socket of its own: two would write over each other.
	out, code, stderr = cli(t, nil, "run", "--config.file="+agent.Config, "--state="+agent.State, "--control="+filepath.Join(filepath.Dir(second), "other.sock"), "--web.listen-address=127.0.0.1:0")
	if code == 0 || !strings.Contains(stderr, agent.State) || !strings.Contains(stderr, "--state") {
		t.Errorf("a second agent in the same state directory: exit %d\n%s%s", code, out, stderr)
	}
	waitState(t, agent, 5*time.Second, "up")
	if _, code, stderr := agent.Run("status"); code != 0 {
		t.Errorf("status after a second agent was refused: exit %d, %s", code, stderr)
	}

	// The port is taken: said, and nothing is left behind.
	out, code, stderr = cli(t, nil, "run", "--config.file="+agent.Config, "--state="+second, "--control="+filepath.Join(filepath.Dir(second), "third.sock"), "--web.listen-address="+agent.Addr)
	if code == 0 || !strings.Contains(out+stderr, "address already in use") || !strings.Contains(stderr, "--web.listen-address") {
		t.Errorf("the port is taken: exit %d\n%s%s", code, out, stderr)
	}

	// Killed, its socket stays behind; the commands see that nobody answers, and the next agent takes its place.
	agent.Kill9()
	if _, code, stderr := agent.Run("status"); code != 3 || !strings.Contains(stderr, "no agent answers") {
		t.Errorf("status after a kill: exit %d, %s", code, stderr)
	}
	if _, code, _ := agent.Run("healthcheck"); code == 0 {
		t.Error("healthcheck of a killed agent: exit 0")
	}
	agent.Start()
	waitState(t, agent, 15*time.Second, "up")
	agent.Stop()
	if _, err := os.Stat(agent.Control); !os.IsNotExist(err) {
		t.Errorf("the socket is left after an orderly end: %v", err)
	}
}

// Something else answers at the socket, or nothing ever: the commands end, with a reason.
func TestSomethingElseAtTheSocket(t *testing.T) {
	t.Parallel()
	dir := rig.Dir(t)
	silent := filepath.Join(dir, "silent.sock")
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	plain := file(t, "plain.sock", "no socket\n")
	if _, code, stderr := cli(t, nil, "status", "--control="+plain); code != 3 || !strings.Contains(stderr, plain) {
		t.Errorf("a plain file: exit %d, %s", code, stderr)
	}
	if _, code, stderr := cli(t, nil, "status", "--control="+strings.Repeat("x", 200)); code != 3 || stderr == "" {
		t.Errorf("a path too long for a socket: exit %d, %s", code, stderr)
	}
	start := time.Now()
	if _, code, stderr := cli(t, nil, "status", "--control="+silent); code != 3 || !strings.Contains(stderr, silent) || time.Since(start) > 20*time.Second {
		t.Errorf("one that says nothing: exit %d after %v, %s", code, time.Since(start), stderr)
	}
}
