package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/test/rig"
)

func instance(t *testing.T, p *rig.Postfix) Instance {
	t.Helper()
	all, err := Detect(t.Context(), Options{ConfigDirs: []string{p.Config}, OnlyThese: true})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0]
}

func load(t *testing.T, p *rig.Postfix) *Config {
	t.Helper()
	c, err := Load(t.Context(), nil, instance(t, p))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, p *rig.Postfix, from string, to ...string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // a daemon that dies at its start leaves smtpd waiting
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		t.Fatal(err)
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt); err != nil {
			t.Fatalf("RCPT %s: %v", rcpt, err)
		}
	}
	w, err := c.Data()
	if err == nil {
		_, err = w.Write([]byte("Subject: x\r\n\r\nx\r\n"))
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// echo is a delivery agent that reports the next hop it was given and defers.
func echo(t *testing.T, dir string, names ...string) []string {
	script := filepath.Join(dir, "echo")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf '<%s>' \"$1\"\nexit 75\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, n := range names {
		lines = append(lines, n+" unix - n n - - pipe flags= user=nobody argv="+script+" ${nexthop}")
	}
	return lines
}

// What trivial-rewrite(8) decided, as a pipe(8) that was handed the mail tells it in the log, is what Route says.
func TestRouteIsWhatPostfixDoes(t *testing.T) {
	rig.Need(t, "postfix")
	recipients := []string{
		"u@relay.test", "Upper@Relay.TEST", "u@sub.relay.test", "u@not.test", "u@other.test", "u@a.other.test", "u@local.test", "u@virtual.test", "u@alias.test",
		"u@keep.test", "u@hop.test", "u@transport.test", "u@both.test", "u@err.test", "u@errtext.test", "u@x.both.test", "u@a.b.dots.test", "u@dots.test",
		"user@addr.test", "user+ext@addr.test", "user+full@addr.test", "other@addr.test", "u@list.test", "u@bracket.test", "postmaster+x@ext.test",
		"u@re.test", "u@sub.re.test", "user+x@re2.test", "moved@relay.test", "moved+x@relay.test", "u@excluded.relay.test", "u@tab.test", "u@sub.tab.test",
	}
	table := []string{
		"keep.test :", "hop.test :[192.0.2.7]:2525", "transport.test xslow:", "both.test xslow:[mx.example.org]", "err.test error:", "errtext.test error:4.3.0 no such thing",
		".both.test xslow:parent", ".dots.test xslow:dots", "user@addr.test xslow:user", "user+full@addr.test xslow:full", "addr.test xslow:domain",
		"list.test xrelay:[192.0.2.1], [192.0.2.2]:2525", "bracket.test :[ipv6:2001:db8::1]:26", "postmaster@ext.test xslow:postmaster",
	}
	for _, conf := range []struct {
		name string
		main []string
	}{
		{"defaults", nil},
		{"relayhost, transport_maps match subdomains", []string{"relayhost = [smart.example.net]:587",
			"parent_domain_matches_subdomains = relay_domains, transport_maps, fast_flush_domains"}},
		{"next hops in main.cf, strict relay_domains", []string{"relay_transport = xrelay:[10.0.0.1]", "default_transport = xsmtp:[10.0.0.2]",
			"parent_domain_matches_subdomains = fast_flush_domains", "recipient_delimiter ="}},
		{"wildcard", []string{"transport_maps = texthash:DIR/transport inline:{*=xslow:any}", "recipient_delimiter = +-"}},
		{"wildcard without transport", []string{"transport_maps = texthash:DIR/wild texthash:DIR/transport"}},
	} {
		t.Run(conf.name, func(t *testing.T) {
			dir := rig.Dir(t)
			for name, lines := range map[string][]string{
				"transport": table, "domains": {"tab.test x", ".dot.tab.test x"}, "wild": {"* :any"}, "relocated": {"moved@relay.test elsewhere"},
				"regexp": {`/^u@re\.test$/ xslow:whole`, `/^re\.test$/ xslow:partial`, `/^user@re2\.test$/ xslow:stripped`},
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			main := []string{
				"relay_transport = xrelay", "default_transport = xsmtp", "local_transport = xlocal:$myhostname", "virtual_transport = xvirtual",
				"relay_domains = !excluded.relay.test, relay.test, keep.test, texthash:DIR/domains", "mydestination = local.test", "virtual_mailbox_domains = virtual.test",
				"virtual_mailbox_maps = static:x", "virtual_alias_domains = alias.test", "virtual_alias_maps =", "recipient_delimiter = +",
				"transport_maps = texthash:DIR/transport, regexp:DIR/regexp", "relocated_maps = texthash:DIR/relocated",
				"local_recipient_maps =", "smtpd_reject_unlisted_recipient = no", "smtpd_recipient_limit = 100", "default_process_limit = 20",
			}
			main = append(main, conf.main...)
			for i := range main {
				main[i] = strings.ReplaceAll(main[i], "DIR", dir)
			}
			p := rig.StartPostfix(t, rig.Conf{Name: "mx2", Dir: dir, Stopped: true, Master: echo(t, dir, "xrelay", "xsmtp", "xlocal", "xvirtual", "xslow")})
			// postconf -e leaves each parameter once. Every daemon warns of one that main.cf has twice, and when that fills the
			// socket of postlogd(8) before it reads it, postlogd waits for itself, and all for postlogd.
			p.Set(main...)
			p.Start()
			r := Resolver{Config: load(t, p)}
			send(t, p, "s@example.org", recipients...)
			for _, rcpt := range recipients {
				// Postfix logs the address as it resolved it, in the case it came in.
				line := p.WaitLog(20*time.Second, `: to=<`+regexp.QuoteMeta(rcpt)+`>,.* status=`)
				rt, err := r.Route(t.Context(), rcpt)
				if err != nil {
					// Nothing but a service that is missing or a hop that cannot be read is an error here.
					t.Errorf("%s: %v", rcpt, err)
					continue
				}
				var did string
				if m := regexp.MustCompile(`relay=(\w+),.* Command output: <(.*)>\)`).FindStringSubmatch(line); m != nil {
					did = m[1] + ":" + m[2]
				} else if m := regexp.MustCompile(`/error\[.*relay=none,.*dsn=([^,]*).*\((.*)\)$`).FindStringSubmatch(line); m != nil {
					did = "error:" + m[2]
				} else {
					t.Fatalf("not understood: %s", line)
				}
				// error(8) takes an enhanced status code off the front of the text.
				said := rt.Transport + ":" + regexp.MustCompile(`^[245]\.\d+\.\d+ `).ReplaceAllString(rt.NextHop, "")
				if rt.Class == ClassAlias {
					did = strings.TrimSuffix(did, " in virtual alias table")
				}
				if !strings.EqualFold(said, did) { // recipients of one next hop in two cases share a delivery
					t.Errorf("%s: we say %s (%s), Postfix did %s", rcpt, said, rt.Source, did)
				}
			}
			if _, err := r.Route(t.Context(), "u@.dots.test"); err == nil {
				t.Error("an address that Postfix refuses (501 5.1.3) has a route")
			}
		})
	}
}

// Where smtp(8) and lmtp(8) really went, as they tell it in the log, is what Route's hops say.
func TestHopsAreWhereSMTPGoes(t *testing.T) {
	rig.Need(t, "postfix")
	a, b, c := rig.Port(t), rig.Port(t), rig.Port(t)
	at := func(format string) string {
		return strings.NewReplacer("A", fmt.Sprint(a), "B", fmt.Sprint(b), "C", fmt.Sprint(c)).Replace(format)
	}
	tests := []struct{ name, hop, service string }{
		{"one", "[127.0.0.1]:A", "relay"}, {"list", "[127.0.0.1]:A, [127.0.0.1]:B [127.0.0.1]:C", "relay"}, {"name", "[localhost]:A", "relay"},
		{"bare", "localhost:A", "relay"}, {"bareip", "127.0.0.1:A", "relay"}, {"fallback", "[127.0.0.1]:A", "withfallback"}, {"lmtp", "inet:127.0.0.1:A", "lmtp"},
		{"lmtpunix", "unix:/no/such/socket", "lmtp"}, {"service", "[127.0.0.1]:lmtp", "relay"}, {"defport", "[127.0.0.1]", "otherport"}, {"port25", "[127.0.0.9]", "relay"},
		{"emptyport", "[127.0.0.1]:", "otherport"}, {"chroot", "mx.example.org", "dns"}, {"nomx", "[mx.example.org]", "dns"}, {"mxport", "mx.example.org:587", "dns"},
		{"dnsoff", "mx.example.org", "relay"}, {"lmtpdns", "mx.example.org", "lmtpdns"},
	}
	dir := rig.Dir(t)
	var lines []string
	for _, test := range tests {
		lines = append(lines, test.name+".test "+test.service+":"+at(test.hop))
	}
	if err := os.WriteFile(filepath.Join(dir, "transport"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := rig.StartPostfix(t, rig.Conf{Name: "mx2", Dir: dir, Main: []string{"transport_maps = texthash:" + dir + "/transport"},
		Master: []string{
			"withfallback unix - - n - - smtp -o smtp_fallback_relay=[127.0.0.1]:" + fmt.Sprint(b),
			"otherport unix - - n - - smtp -o smtp_tcp_port=" + fmt.Sprint(c),
			"dns unix - - y - - smtp -o disable_dns_lookups=no -o smtp_host_lookup=dns",
			"lmtpdns unix - - y - - lmtp -o disable_dns_lookups=no -o lmtp_host_lookup=dns",
		}})
	// In its chroot smtp(8) finds a name server that refuses, so that it says at once what it asked for.
	if err := os.MkdirAll(filepath.Join(p.Queue, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Queue, "etc/resolv.conf"), []byte("nameserver 127.0.0.77\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := Resolver{Config: load(t, p)}
	before := 0
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rcpt := "u@" + test.name + ".test"
			rt, err := r.Route(t.Context(), rcpt)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, h := range slices.Concat(rt.Hops, rt.Fallback) {
				switch {
				case h.Path != "":
					said = append(said, "unix "+h.Path)
				case h.MX:
					said = append(said, "MX "+h.Host)
				case strings.Contains(h.Host, "example"):
					said = append(said, "A "+h.Host)
				default:
					host := h.Host
					if host == "localhost" {
						host = "127.0.0.1"
					}
					said = append(said, fmt.Sprintf("%s %d", host, h.Port))
				}
			}
			send(t, p, "s@example.org", rcpt)
			last := p.WaitLog(20*time.Second, `: to=<`+rcpt+`>,.* status=`)
			var did []string
			connect := regexp.MustCompile(`(?:to=.*\()?connect to [^\[]*\[([^\]]*)\](?::(\d+))?: `)
			asked := regexp.MustCompile(`Name service error for name=(\S+) type=(\S+):`)
			lines := p.Lines()
			since := lines[before:]
			before = len(lines)
			for _, line := range since {
				if strings.Contains(line, "status=") {
					continue
				}
				if m := connect.FindStringSubmatch(line); m != nil && m[2] != "" {
					did = append(did, m[1]+" "+m[2])
				} else if m != nil {
					did = append(did, "unix "+m[1])
				}
			}
			if m := asked.FindStringSubmatch(last); m != nil {
				did = append(did, strings.NewReplacer("AAAA", "A").Replace(m[2])+" "+m[1])
			} else if m := connect.FindStringSubmatch(last); m != nil && len(did) == 0 {
				did = append(did, strings.TrimSpace("unix "+m[1]))
			}
			if test.name == "dnsoff" {
				// With host lookups "native" smtp(8) names no record type.
				if !strings.Contains(last, "mx.example.org") || strings.Contains(last, "type=MX") {
					t.Error(last)
				}
				did = []string{"A mx.example.org"}
			}
			if !slices.Equal(said, did) {
				t.Errorf("we say %q, Postfix tried %q\n%s", said, did, last)
			}
		})
	}
}

// A real queue, listed and flushed, in two instances.
func TestQueueOfPostfix(t *testing.T) {
	rig.Need(t, "postfix")
	dead := rig.Port(t)
	hop := fmt.Sprintf("relay:[127.0.0.1]:%d", dead)
	one := rig.StartPostfix(t, rig.Conf{Name: "one", SyslogName: "postfix-one", LongIDs: true, Main: []string{"relay_domains = x.test", "relay_transport = " + hop, "default_transport = " + hop}})
	two := rig.StartPostfix(t, rig.Conf{Name: "two", SyslogName: "postfix-two", Main: []string{"relay_domains = y.test", "relay_transport = " + hop}})
	send(t, one, "s@example.org", "a@x.test", "b@x.test")
	send(t, one, "", "c@x.test")
	send(t, two, `"we ird"@example.org`, "d@y.test")
	one.WaitHeld(20*time.Second, 2)
	two.WaitHeld(20*time.Second, 1)
	q := Queue{Instances: []Instance{instance(t, one), instance(t, two)}}

	// The traditional listing must tell the same as the JSON one.
	old := Queue{Instances: slices.Clone(q.Instances)}
	for i := range old.Instances {
		old.Instances[i].Version = Version{2, 11, 0}
	}
	lists := map[string][]queue.Message{}
	for name, q := range map[string]*Queue{"-j": &q, "-p": &old} {
		for m, err := range q.Messages(t.Context()) {
			if err != nil {
				t.Fatal(name, err)
			}
			lists[name] = append(lists[name], m)
		}
		slices.SortFunc(lists[name], func(a, b queue.Message) int { return strings.Compare(a.ID, b.ID) })
	}
	if a, b := fmt.Sprint(lists["-j"]), fmt.Sprint(lists["-p"]); a != b {
		t.Errorf("-j and -p differ:\n%s\n%s", a, b)
	}
	got := map[string]string{}
	ids := map[string]string{}
	for _, m := range lists["-j"] {
		var to []string
		for _, r := range m.Recipients {
			to = append(to, r.Address)
			if !strings.Contains(r.Reason, "Connection refused") && !strings.Contains(r.Reason, "delivery temporarily suspended") {
				t.Errorf("reason of %s: %q", r.Address, r.Reason)
			}
		}
		slices.Sort(to)
		got[strings.Join(to, " ")] = fmt.Sprintf("%s %v <%s>", m.Instance, m.Place, m.Sender)
		ids[to[0]] = m.ID
		if age := time.Since(m.Arrived); age < -2*time.Second || age > time.Minute || m.Size < 100 {
			t.Errorf("%v arrived %v ago and has %d bytes", m.ID, age, m.Size)
		}
	}
	for _, want := range [][2]string{{"a@x.test b@x.test", "postfix-one deferred <s@example.org>"}, {"c@x.test", "postfix-one deferred <>"},
		{"d@y.test", `postfix-two deferred <"we ird"@example.org>`}} {
		if got[want[0]] != want[1] {
			t.Errorf("%s: %s, want %s", want[0], got[want[0]], want[1])
		}
	}

	tries := func(p *rig.Postfix, rcpt string) int {
		return strings.Count(strings.Join(p.Lines(), "\n"), "to=<"+rcpt+">")
	}
	again := func(p *rig.Postfix, rcpt string, do func() error) {
		t.Helper()
		before := tries(p, rcpt)
		if err := do(); err != nil {
			t.Fatal(err)
		}
		rig.Eventually(t, 20*time.Second, "another try for "+rcpt, func() bool { return tries(p, rcpt) > before })
	}
	again(one, "a@x.test", func() error {
		return q.Flush(t.Context(), queue.Selection{IDs: []string{ids["a@x.test"], ids["c@x.test"], "0123456789A"}, Instance: "postfix-one"})
	})
	again(two, "d@y.test", func() error { return q.Flush(t.Context(), queue.Selection{Domain: "y.test", Instance: "postfix-two"}) })
	again(one, "c@x.test", func() error { return q.Flush(t.Context(), queue.Selection{All: true}) })
	err := q.Flush(t.Context(), queue.Selection{Domain: "y.test", Instance: "postfix-one"})
	if !errors.Is(err, ErrNotFlushable) || !strings.Contains(err.Error(), "fast_flush_domains = $relay_domains, y.test") {
		t.Errorf("a domain that cannot be flushed: %v", err)
	}
	for _, ids := range [][]string{{"-f"}, {""}, {"x y"}, {"../x"}} {
		if err := q.Flush(t.Context(), queue.Selection{IDs: ids}); err == nil {
			t.Errorf("%q is taken for a queue ID", ids)
		}
	}

	// A Postfix that hangs holds nobody; one that is stopped says so, and the other is still listed.
	one.Freeze()
	q.Timeout = 500 * time.Millisecond
	n, err := count(t.Context(), &q)
	if n != 1 || !errors.Is(err, ErrTimeout) {
		t.Errorf("one of two hangs: %d messages, %v", n, err)
	}
	one.Thaw()
	q.Timeout = 0
	one.Stop()
	q2 := Queue{Instances: q.Instances, Run: asNobody}
	n, err = count(t.Context(), &Queue{Instances: q.Instances})
	if n < 1 || err != nil && !errors.Is(err, ErrStopped) {
		t.Errorf("one of two is stopped: %d messages, %v", n, err)
	}
	if _, err = count(t.Context(), &q2); !errors.Is(err, ErrNoRights) || !strings.Contains(err.Error(), "alternate_config_directories") {
		t.Errorf("a user without rights: %v", err)
	}
	if err := q.Flush(t.Context(), queue.Selection{All: true, Instance: "postfix-one"}); !errors.Is(err, ErrStopped) {
		t.Errorf("flush of a stopped Postfix: %v", err)
	}
}

func asNobody(ctx context.Context, c Command) error {
	c.Argv = append([]string{"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, c.Argv...)
	return Run(ctx, c)
}

func count(ctx context.Context, q *Queue) (int, error) {
	n := 0
	for _, err := range q.Messages(ctx) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func TestDetect(t *testing.T) {
	rig.Need(t, "postfix")
	p := rig.StartPostfix(t, rig.Conf{Name: "mx2", SyslogName: "postfix-mx2", Stopped: true})
	missing := filepath.Join(p.Dir, "none")
	all, err := Detect(t.Context(), Options{ConfigDirs: []string{p.Config, missing, p.Config}, OnlyThese: true})
	if len(all) != 1 || all[0].Name != "postfix-mx2" || all[0].ConfigDir != p.Config || all[0].QueueDir != p.Queue || all[0].DataDir != p.Data || !all[0].Version.AtLeast(2, 10) {
		t.Errorf("%+v", all)
	}
	if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "main.cf") {
		t.Errorf("a directory that is not there: %v", err)
	}
	if _, err := Detect(t.Context(), Options{Postconf: missing}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "apt-get install postfix") {
		t.Errorf("no postconf: %v", err)
	}
}
