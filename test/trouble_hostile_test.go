package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert/alerttest"
	"github.com/sparemx/sparemx/test/rig"
)

// rss is the resident memory of a process in bytes (proc(5), VmRSS).
func rss(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// hostileLines are n lines as nobody should log them: some are no lines of Postfix, some look like them and hold what does not belong
// there, and each would be a new message, service, reply, code or client.
func hostileLines(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	junk := func(max int) string {
		b := make([]byte, r.IntN(max))
		for i := range b {
			if b[i] = byte(r.Uint32()); b[i] == '\n' {
				b[i] = 0
			}
		}
		return string(b)
	}
	var b bytes.Buffer
	for i := range n {
		id := fmt.Sprintf("%016X", r.Uint64())[:8+r.IntN(6)]
		switch r.IntN(12) {
		case 0:
			b.WriteString(junk(300))
		case 1:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix/%s[%d]: %s: %s", junk(20), i, id, junk(100))
		case 2, 3, 4:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix/smtp[%d]: %s: to=<u%d@d%d.test>, relay=none, delay=%s, delays=1/2/3/4, dsn=4.%d.%d, status=deferred (%s)",
				i, id, i, i, junk(5), r.IntN(999), r.IntN(999), junk(40))
		case 5, 6:
			fmt.Fprintf(&b, "2026-11-21T06:03:43.%06d+00:00 mx2 postfix/smtpd[%d]: %s: client=h%d.test[192.0.2.%d]", i%1000000, i, id, i, i%256)
		case 7:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix/qmgr[%d]: %s: from=<\x1b[2J%s@x>, size=%d, nrcpt=%d (queue active)", i, id, junk(20), r.Int64(), r.Int64())
		case 8:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix/svc%d/smtpd[%d]: NOQUEUE: reject: RCPT from x[%s]: %d 5.%d.%d <%s>: x; to=<u@d%d.test>", i, i, junk(8), r.IntN(1000), r.IntN(1000), r.IntN(1000), junk(30), i)
		case 9:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix%d/smtp[%d]: Trusted TLS connection established to %s: TLSv1.%d with cipher C%d (%d/%d bits)", i, i, junk(9), r.IntN(99), i, r.IntN(1e6), r.IntN(1e6))
		case 10:
			fmt.Fprintf(&b, "Nov 21 06:03:43 mx2 postfix/smtp[%d]: %s: to=<u@example.org>, relay=none, delay=9e999, delays=-1/1e99/NaN/4, dsn=5.1.1, status=bounced (%s)", i, id, junk(9))
		case 11:
			b.WriteString("Nov 21 06:03:43 mx2 postfix/")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// hostileLoad is how many hostile lines a running agent is given, and hostileRSS how much memory it may have after them, in bytes. The
// agent under test has the race detector in it, which takes 5 to 10 times the memory; without it the bound is 150 MB.
const (
	hostileLoad = 1_000_000
	hostileRSS  = 900 << 20
	plainRSS    = 150 << 20
)

// A million hostile lines into the log of a running agent: it does not fall over, its memory and its series are bounded, and mail that goes
// through between them is counted.
func TestAMillionHostileLines(t *testing.T) {
	t.Parallel()
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	log := filepath.Join(rig.Dir(t), "mail.log")
	if err := os.WriteFile(log, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "log: { source: [" + log + "] }\n"})
	waitState(t, agent, 15*time.Second, "up")
	rig.Eventually(t, 10*time.Second, "the log to be open", func() bool {
		up, _ := agent.Metrics().Sum("sparemx_log_source_up")
		return up == 1
	})
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const block = 100_000
	lines := 0
	put := func(b []byte) {
		t.Helper()
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(b, []byte("\n"))
	}
	series := func() int { return strings.Count(get(t, agent, "/metrics"), "\n") }
	early, peak := 0, 0
	// Seldom: a scrape costs more than many lines.
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	read := func() {
		t.Helper()
		for limit := time.Now().Add(2 * time.Minute); ; <-tick.C {
			peak = max(peak, rss(t, agent.PID()))
			n, _ := agent.Metrics().Sum("sparemx_log_lines_total")
			if n >= float64(lines)-5 { // a line may be empty
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("%v of %d lines were read", n, lines)
			}
		}
	}
	for i := range hostileLoad / block {
		put(hostileLines(block, uint64(i)))
		if i == 1 {
			put(append(bytes.Repeat([]byte("x"), 40<<20), '\n')) // one line of 40 MB
			put(bytes.Repeat([]byte("\x00"), 1<<20))
			put([]byte("\n"))
		}
		if i == 2 {
			read()
			early = series()
		}
	}
	read()
	if n := series(); n > early+early/10 {
		t.Errorf("%d lines of metrics after %d hostile lines, %d after all: they grow", early, 3*block, n)
	}
	bound := plainRSS
	if os.Getenv("SPAREMX_RACE") != "0" {
		bound = hostileRSS
	}
	t.Logf("resident memory at most %d MB, %d lines of metrics", peak>>20, series())
	if peak > bound {
		t.Errorf("resident memory grew to %d MB, the bound is %d MB", peak>>20, bound>>20)
	}
	text := get(t, agent, "/metrics")
	for _, stranger := range []string{"192.0.2.", "u@", ".test", "\x1b", "svc1"} {
		if strings.Contains(text, stranger) {
			t.Errorf("%q is in /metrics", stranger)
		}
	}
	put([]byte("Nov 21 06:03:43 mx2 postfix/smtp[1]: 4ABCDEF01: to=<a@example.org>, relay=mx1[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n"))
	agent.WaitMetric(15*time.Second, func(n float64) bool { return n >= 1 }, "sparemx_deliveries_total", "result", "delivered")
	goesOn(t, agent, primary)
}

// poison is what a hostile primary answers: a terminal's escapes, markup, marks that turn the direction of writing, forged lines, length.
const poison = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script><!channel>\u202Egpj.exe\u2066 & \"quoted\" \x00\x7f"

// A primary that answers with hostile text, in the greeting and to every recipient: it is shown to people, harmless, and is in no label.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 10_000)
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	slack, hook, smarthost := alerttest.NewSlack(t), alerttest.NewWebhook(t), alerttest.NewSMTP(t, false)
	secret := file(t, "slack", slack.Webhook+"\n")
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + fmt.Sprintf(`
alert:
  slack: { webhook_file: %s }
  webhook: { url: "%s" }
  email: { smarthost: "%s", from: sparemx@example.net, to: [ops@example.net], ca: %s }
`, secret, hook.URL, smarthost.Addr, smarthost.CA)})
	waitState(t, agent, 15*time.Second, "up")
	var truth rig.Truth
	primary.Set(rig.Behaviour{RCPT: "450 4.3.0 " + poison + "\r\n"})
	backup.Inject(rig.Load{N: 5, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 5)
	primary.Set(rig.Behaviour{Greeting: "554 5.3.0 " + poison + long})
	waitState(t, agent, 20*time.Second, "down")
	agent.WaitMetric(10*time.Second, rig.Is(5), "sparemx_queue_held_messages")
	rig.Eventually(t, 30*time.Second, "every channel to be told", func() bool {
		return len(hook.Requests()) > 0 && len(slack.Calls()) > 0 && len(smarthost.Mails()) > 0
	})

	harmless := func(where, text string, markup bool) {
		t.Helper()
		for _, bad := range []string{"\x1b", "\x07", "\x00", "\x7f", "\u202e", "\u2066"} {
			if strings.Contains(text, bad) {
				t.Errorf("%q is in %s", bad, where)
			}
		}
		if markup && (strings.Contains(text, "<script>alert") || strings.Contains(text, "<!channel>")) {
			t.Errorf("markup is in %s", where)
		}
		if strings.Contains(text, strings.Repeat("A", 1000)) {
			t.Errorf("the whole of a reply of 10 kB is in %s", where)
		}
	}
	page := get(t, agent, "/")
	harmless("the page", page, true)
	screen, _, _ := agent.Run("status")
	harmless("status", screen, false)
	asJSON, _, _ := agent.Run("status", "--json")
	harmless("status --json", asJSON, false)
	outages, _, _ := agent.Run("outages")
	harmless("outages", outages, false)
	queue, _, _ := agent.Run("queue")
	harmless("queue", queue, false)
	probe, _, perr := agent.Run("probe")
	harmless("probe", probe+perr, false)
	metrics := get(t, agent, "/metrics")
	harmless("/metrics", metrics, true)
	for _, word := range []string{"owned", "alert(1)", "quoted", "user1@"} {
		if strings.Contains(metrics, word) {
			t.Errorf("%q is in /metrics", word)
		}
	}
	for _, c := range slack.Calls() {
		harmless("Slack", fmt.Sprintf("%+v", c), true)
	}
	for _, r := range hook.Requests() {
		harmless("the webhook", string(r.Body), false)
	}
	for _, m := range smarthost.Mails() {
		harmless("a mail", m.Data, false)
		if _, body, ok := strings.Cut(m.Data, "text/html"); ok && strings.Contains(body, "<script>") {
			t.Error("markup is in the HTML part of a mail")
		}
	}
	harmless("the agent's log", logged(t, agent), false)
	if !strings.Contains(page+screen+asJSON, "554") {
		t.Error("nobody was shown what the primary answered: the test has shown nothing")
	}
}

// Secrets are in files; what they hold is in nothing that the agent writes or shows, at the most talkative level too, nor in what it
// says when a channel fails.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	const token, word, hookpath = "xoxb-1111-s3cr3ttoken", "s3cr3tpassword", "s3cr3tpath"
	gone := "127.0.0.1:" + strconv.Itoa(rig.Port(t)) // nobody listens: the channel fails, and says so
	// Whoever is told refuses, and quotes all that it was sent.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "refused: %s %s", r.URL, r.Header.Get("Authorization"))
	}))
	t.Cleanup(echo.Close)
	far := strings.TrimPrefix(echo.URL, "http://")
	slack := file(t, "slack", "http://"+far+"/services/"+hookpath+"\n")
	password := file(t, "password", word+"\n")
	url := file(t, "url", "http://user:"+word+"@"+far+"/"+hookpath+"?key="+token+"\n")
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + fmt.Sprintf(`
alert:
  slack: { webhook_file: %s }
  webhook: { url_file: %s }
  email: { smarthost: "%s", from: sparemx@example.net, to: [ops@example.net], user: sparemx, password_file: %s }
`, slack, url, gone, password)})
	waitState(t, agent, 15*time.Second, "down")
	rig.Eventually(t, 30*time.Second, "every channel to have failed", func() bool {
		for _, c := range []string{"slack", "webhook", "email"} {
			if n, _ := agent.Metrics().Sum("sparemx_alerts_total", "channel", c, "result", "failed"); n == 0 {
				return false
			}
		}
		return true
	})
	seen := map[string]string{"the log": "", "/metrics": get(t, agent, "/metrics"), "the page": get(t, agent, "/")}
	for _, command := range [][]string{{"status"}, {"status", "--json"}, {"config", "print"}, {"config", "check"}, {"notify", "test"}, {"outages", "--json"}} {
		out, _, stderr := agent.Run(command...)
		seen["sparemx "+strings.Join(command, " ")] = out + stderr
	}
	seen["the log"] = logged(t, agent)
	for where, text := range seen {
		for _, s := range []string{token, word, hookpath} {
			if strings.Contains(text, s) {
				t.Errorf("%q is in %s:\n%.2000s", s, where, text)
			}
		}
	}
	if !strings.Contains(seen["sparemx config print"], password) {
		t.Error("config print does not name the file of the password: the test has shown nothing")
	}
	// Nor in an error about the files themselves.
	for _, content := range []string{"://" + word, "http://" + word + " x/\x7f"} {
		bad := file(t, "bad", content)
		path := file(t, "sparemx.yml", beside(backup)+"alert: { webhook: { url_file: "+bad+" } }\n")
		if out, code, stderr := cli(t, nil, "notify", "test", "--config.file="+path); code == 0 || strings.Contains(out+stderr, word) {
			t.Errorf("%q: exit %d, %s%s", content, code, out, stderr)
		}
	}
}
