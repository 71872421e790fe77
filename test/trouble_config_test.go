package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// What is wrong in a file, and each of its lines, is said with what to type, and nothing starts.
func TestABadConfigurationFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "mode: postfix\nprobe:\n  evry: 30s\n", `:3: unknown key "evry" under probe: did you mean "every"?`},
		{"wrong value", "probe: { every: 30 }\n", `:1: probe.every: "30" is not a length of time: write it with its unit, like 30s`},
		{"out of range", "probe: { fall: 0 }\n", "probe.fall: 0 is out of range: from 1 to 100"},
		{"not YAML", "a: [\n", ":1: "},
		{"binary", "\x00\xff\xfe\x00", ": "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := file(t, "sparemx.yml", c.text)
			for _, command := range [][]string{{"run"}, {"config", "check"}, {"config", "print"}, {"status"}} {
				out, code, stderr := cli(t, nil, append([]string{"--config.file=" + path}, command...)...)
				if code != 1 && code != 2 || !strings.HasPrefix(stderr, "sparemx: "+path) || !strings.Contains(stderr, c.want) || strings.Contains(out+stderr, "goroutine") {
					t.Errorf("%v: exit %d, %q; want %q", command, code, stderr, c.want)
				}
			}
		})
	}
	if _, code, stderr := cli(t, nil, "run", "--config.file=/nonexistent/sparemx.yml"); code == 0 || !strings.Contains(stderr, "--config.file") {
		t.Errorf("a file that is not there: exit %d, %s", code, stderr)
	}
	if _, code, stderr := cli(t, nil, "run", "--web.listen-adress=:1"); code != 2 || !strings.Contains(stderr, "--help") {
		t.Errorf("a flag that is not known: exit %d, %s", code, stderr)
	}
}

// A machine without Postfix, or with the wrong directory: what to type, and no agent.
func TestNoPostfix(t *testing.T) {
	t.Parallel()
	dir := rig.Dir(t)
	wrong := file(t, "sparemx.yml", "mode: postfix\npostfix: { config: ["+dir+"] }\n")
	out, code, stderr := cli(t, nil, "run", "--config.file="+wrong, "--state="+filepath.Join(dir, "state"))
	if code != 1 || !strings.Contains(stderr, dir) || !strings.Contains(stderr, "main.cf") {
		t.Errorf("a directory without main.cf: exit %d\n%s%s", code, out, stderr)
	}

	rig.Need(t, "unshare")
	argv := inNamespace(`
		for dir in /usr/sbin /sbin; do
			if [ -e $dir/postconf ]; then mount --bind "$1" $dir/postconf; fi
		done
		shift; exec "$@"`, "/dev/null")
	a := rig.StartAgent(t, rig.AgentConf{Stopped: true})
	stderr, code = under(t, argv, "run", "--state="+a.State, "--control="+a.Control, "--web.listen-address="+a.Addr)
	if code != 1 || !strings.Contains(stderr, "Postfix not found") || !strings.Contains(stderr, "apt-get install postfix") {
		t.Errorf("a machine without Postfix: exit %d\n%s", code, stderr)
	}
}

// Domains without a next hop are said, with what to type; the others work.
func TestADomainWithoutANextHop(t *testing.T) {
	t.Parallel()
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "domains: { example.org: {}, example.edu: {} }\n"})
	rig.Eventually(t, 10*time.Second, "the domain to be named", func() bool {
		return strings.Contains(logged(t, agent), "domain example.edu has no next hop: write under domains:")
	})
	told(t, agent, "domain example.edu has no next hop: write under domains:")
	goesOn(t, agent, primary)
	if out, code, _ := agent.Run("config", "check"); code != 0 || !strings.Contains(out, "example.edu") {
		t.Errorf("config check: exit %d\n%s", code, out)
	}

	// The same for a domain that Postfix itself relays to nobody.
	backup.Set("relay_domains = example.org, example.net")
	table := filepath.Join(backup.Dir, "transport")
	text, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(table, append(text, "example.net error:nobody\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	second := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick})
	told(t, second, "example.net", "transport_maps")
	waitState(t, second, 15*time.Second, "up")
}

// Reloading a bad file keeps what works and says why; a good one swaps the primaries. Counters go on, no line of the log is lost or read
// twice meanwhile, and an open outage goes on.
func TestReload(t *testing.T) {
	t.Parallel()
	org, net := rig.StartSink(t, rig.Behaviour{}), rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": org.Addr, "example.net": net.Addr})
	only := "domains: { example.org: {} }\n"
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + only})
	waitState(t, agent, 15*time.Second, "up")
	if ok, _ := agent.Metrics().Sum("sparemx_config_last_reload_successful"); ok != 1 {
		t.Errorf("sparemx_config_last_reload_successful at the start: %v", ok)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(agent.Config, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	put(beside(backup) + "probe: { evry: 1s }\n")
	if _, code, stderr := agent.Run("status"); code == 0 || !strings.Contains(stderr, "evry") {
		t.Errorf("status with a bad file: exit %d, %s", code, stderr)
	}
	agent.Reload()
	rig.Eventually(t, 10*time.Second, "the reason in the log", func() bool {
		return strings.Contains(logged(t, agent), "the old configuration stays") && strings.Contains(logged(t, agent), `did you mean \"every\"?`)
	})
	agent.WaitMetric(5*time.Second, rig.Is(0), "sparemx_config_last_reload_successful")
	agent.WaitMetric(5*time.Second, rig.Is(1), "sparemx_config_reloads_total", "result", "failed")
	waitState(t, agent, 5*time.Second, "up")
	// The file may be bad in a way that only Postfix knows.
	put("mode: postfix\npostfix: { config: [/nonexistent] }\n" + quick)
	if _, code, stderr := agent.Run("reload"); code != 1 || !strings.Contains(stderr, "/nonexistent") {
		t.Errorf("sparemx reload: exit %d, %s", code, stderr)
	}
	goesOn(t, agent, org)

	// An outage, and lines without pause while the configuration is swapped several times.
	org.Down()
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	const rounds, each = 6, 30
	done := make(chan error, 1)
	go func() {
		for range rounds {
			if err := rig.Inject(backup.Addr, rig.Load{N: each, To: "user%d@example.org", Conns: 1}, &truth); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := 1; i < rounds; i++ {
		rig.Eventually(t, 20*time.Second, "mail to come in", func() bool { return truth.Len() >= i*each/2 })
		put(beside(backup) + quick + []string{only, ""}[i%2])
		if out, code, stderr := agent.Run("reload"); code != 0 {
			t.Fatalf("sparemx reload: exit %d, %s%s", code, out, stderr)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	backup.WaitHeld(20*time.Second, rounds*each)
	agent.WaitMetric(10*time.Second, rig.Is(1), "sparemx_config_last_reload_successful")
	if n := len(agent.Metrics()["sparemx_primary_up"].GetMetric()); n != 2 {
		t.Errorf("%d primaries after the last reload, want 2", n)
	}
	agent.WaitMetric(15*time.Second, rig.Is(1), "sparemx_primary_state", "state", "down")
	if all := reports(t, agent); len(all) < 1 || all[0].State != "down" {
		t.Errorf("the outage over the reloads: %+v", all)
	}

	org.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: rounds * each, Delivered: rounds * each}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	if d := truth.Diff(org.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
	// The counters against the lines of the log itself.
	for result, status := range map[string]string{"delivered": "status=sent", "deferred": "status=deferred"} {
		n := 0
		for _, line := range backup.Lines() {
			n += strings.Count(line, status)
		}
		agent.WaitMetric(10*time.Second, rig.Is(float64(n)), "sparemx_deliveries_total", "result", result)
	}
}
