package collector

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

var start = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func primaries(domains ...string) []probes.Primary {
	return []probes.Primary{{Name: "mx1", Domains: domains}}
}

// full is a Collector with every source set.
func full(ps []probes.Primary) *Collector {
	snap := &queue.Snapshot{
		At: start, Total: queue.Count{Messages: 2, Bytes: 30}, Oldest: start, Ages: queue.NewHistogram(queue.AgeBounds()),
		Cells:  map[queue.Cell]queue.Count{{Instance: "postfix", Domain: ps[0].Domains[0], Place: queue.Deferred}: {Messages: 2, Bytes: 30}},
		Places: map[queue.Place]*queue.PlaceView{},
	}
	c := New(Config{Primaries: ps, Start: start, Version: "1", Revision: "r", Mode: "postfix", Sources: Sources{
		Primaries: func() (all []probes.PrimaryStatus) {
			for _, p := range ps {
				all = append(all, probes.PrimaryStatus{Primary: p, State: probes.Up, Since: start, Last: probes.Result{NotAfter: start.AddDate(1, 0, 0)}})
			}
			return all
		},
		Blind:    func() probes.BlindStatus { return probes.BlindStatus{} },
		Queue:    func() *queue.Snapshot { return snap },
		Scan:     func() queue.ScanStatus { return queue.ScanStatus{Success: true} },
		Lifetime: func() time.Duration { return 5 * 24 * time.Hour },
		Logs: func() []Log {
			return []Log{{Name: "file:/var/log/mail.log", Stats: logparse.SourceStats{Readable: logparse.ReadableYes}}}
		},
		Tracker: func() logparse.TrackerStats { return logparse.TrackerStats{} },
		Outages: func() []*outage.Report {
			return []*outage.Report{{Primary: ps[0].Name, From: start, Drain: queue.Progress{State: queue.DrainRunning, ETA: time.Minute, Left: 1}}}
		},
		Alerts: func() alert.Status {
			return alert.Status{Channels: []alert.ChannelStatus{{Name: "slack"}}, Heartbeat: &alert.HeartbeatStatus{}}
		},
	}})
	return c
}

// text scrapes c and returns the exposition, and its samples by "name{labels}".
func text(t testing.TB, c *Collector) (string, map[string]string) {
	t.Helper()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	samples := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			samples[line[:i]] = strings.TrimSpace(line[i+1:])
		}
	}
	return w.Body.String(), samples
}

func feed(c *Collector, lines ...string) {
	now := start
	tr := logparse.Tracker{OnOutcome: c.ObserveOutcome, OnArrival: c.ObserveArrival}
	var ev logparse.Event
	for _, l := range lines {
		logparse.Parse([]byte("2026-11-21T01:00:00.000000+00:00 mx2 "+l), now, &ev)
		c.ObserveEvent(&ev)
		tr.Track(&ev)
	}
}

func want(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
}

func TestEveryFamilyOfTheCatalogIsShown(t *testing.T) {
	c := full(primaries("example.org"))
	feed(c, `postfix/pipe[1]: 4F1AB2C3: to=<a@example.org>, relay=dovecot, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (ok)`,
		`postfix/smtpd[1]: Anonymous TLS connection established from a[192.0.2.1]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`,
		`postfix/smtp[1]: Trusted TLS connection established to b[192.0.2.2]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`)
	body, _ := text(t, c)
	for _, name := range Families() {
		if !strings.Contains(body, "# TYPE "+name+" ") {
			t.Errorf("%s is not shown", name)
		}
	}
	if n := strings.Count(body, "# TYPE "); n != len(Families()) {
		t.Errorf("%d families shown, %d in the catalog", n, len(Families()))
	}
}

// TestNumbers has counts made by hand from the lines beside them.
func TestNumbers(t *testing.T) {
	c := full(primaries("example.org"))
	feed(c,
		`postfix/smtpd[1]: connect from a.example.net[192.0.2.1]`,
		`postfix/smtpd[1]: 4F1AB2C3: client=a.example.net[192.0.2.1]`,
		`postfix/cleanup[2]: 4F1AB2C3: message-id=<x@a.example.net>`,
		`postfix/qmgr[3]: 4F1AB2C3: from=<s@a.example.net>, size=2226, nrcpt=2 (queue active)`,
		`postfix/smtpd[1]: disconnect from a.example.net[192.0.2.1] ehlo=1 mail=1 rcpt=2 data=1 quit=1 commands=6`,
		`postfix/relay/smtp[4]: 4F1AB2C3: to=<u@example.org>, relay=mx1[192.0.2.9]:25, delay=3.5, delays=0.5/1/1.5/0.5, dsn=2.0.0, status=sent (250 ok)`,
		`postfix/smtp[4]: 4F1AB2C3: to=<v@other.test>, relay=none, delay=3.5, delays=0.5/1/2/0, dsn=4.4.1, status=deferred (connect to mx1[192.0.2.9]:25: Connection refused)`,
		`postfix/error[5]: 4F1AB2C3: to=<v@other.test>, relay=none, delay=9, delays=8/1/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx1[192.0.2.9]:25: Connection refused)`,
		`postfix-out/retry[6]: 5F1AB2C3: to=<w@example.org>, relay=none, delay=9, delays=8/1/0/0, dsn=4.3.0, status=deferred (delivery temporarily suspended: x)`,
		`postfix/smtp[4]: connect to mx1[192.0.2.9]:25: Connection timed out`,
		`postfix/submission/smtpd[1]: NOQUEUE: reject: RCPT from b[192.0.2.3]: 550 5.1.1 <n@example.org>: Recipient address rejected: User unknown; from=<x@y.test> to=<n@example.org> proto=ESMTP helo=<b>`,
		`postfix/smtpd[1]: lost connection after DATA from b[192.0.2.3]`,
		`postfix/postscreen[7]: CONNECT from [192.0.2.5]:55 to [192.0.2.6]:25`,
		`postfix/postscreen[7]: PREGREET 11 after 0.1 from [192.0.2.5]:55: EHLO x\r\n`,
		`postfix/postscreen[7]: PASS OLD [192.0.2.5]:55`,
		`postfix/qmgr[3]: 4F1AB2C3: removed`,
		`sshd[9]: Accepted publickey for root`,
	)
	_, got := text(t, c)
	want(t, got, map[string]string{
		// deferrals of error and retry count in ours; the old family is smtp alone
		`sparemx_deliveries_total{result="deferred",service="error"}`: "1",
		`sparemx_deliveries_total{result="deferred",service="retry"}`: "1",
		`sparemx_deliveries_total{result="deferred",service="smtp"}`:  "1",
		`sparemx_deliveries_total{result="delivered",service="smtp"}`: "1",
		`sparemx_deferrals_total{cause="suspended"}`:                  "2",
		`sparemx_deferrals_total{cause="refused"}`:                    "1",
		`postfix_smtp_messages_processed_total{status="deferred"}`:    "1",
		`postfix_smtp_messages_processed_total{status="sent"}`:        "1",
		`postfix_smtp_messages_processed_total{status="bounced"}`:     "0",
		`postfix_smtp_deferred_messages_total`:                        "1",
		`postfix_smtp_status_deferred`:                                "1",
		`postfix_smtp_deferred_messages_by_dsn_total{dsn="4.4.1"}`:    "1",
		`postfix_smtp_connection_timed_out_total`:                     "1",
		// the stages are told apart: 0.5+0.5, 1+1, 1.5+2, 0.5+0
		`postfix_smtp_delivery_delay_seconds_sum{stage="before_queue_manager"}`:    "1",
		`postfix_smtp_delivery_delay_seconds_sum{stage="queue_manager"}`:           "2",
		`postfix_smtp_delivery_delay_seconds_sum{stage="connection_setup"}`:        "3.5",
		`postfix_smtp_delivery_delay_seconds_sum{stage="transmission"}`:            "0.5",
		`sparemx_delivery_age_seconds_sum`:                                         "3.5",
		`sparemx_domain_deliveries_total{domain="example.org",result="delivered"}`: "1",
		`sparemx_domain_deliveries_total{domain="example.org",result="deferred"}`:  "1",
		`sparemx_domain_deliveries_total{domain="other",result="deferred"}`:        "2",
		`postfix_qmgr_messages_inserted_size_bytes_sum`:                            "2226",
		`postfix_qmgr_messages_inserted_receipients_sum`:                           "2",
		`postfix_qmgr_messages_removed_total`:                                      "1",
		`postfix_cleanup_messages_processed_total`:                                 "1",
		`postfix_smtpd_connects_total`:                                             "1",
		`postfix_smtpd_disconnects_total`:                                          "1",
		`postfix_smtpd_messages_processed_total{sasl_method="NONE"}`:               "1",
		`postfix_smtpd_messages_rejected_total{code="550"}`:                        "1",
		`postfix_smtpd_messages_rejected_total{code="450"}`:                        "0",
		`postfix_smtpd_connections_lost_total{after_stage="DATA"}`:                 "1",
		`postfix_postscreen_connects_total`:                                        "1",
		`postfix_postscreen_tests_failed_total{test="PREGREET"}`:                   "1",
		`postfix_postscreen_passes_total{type="old"}`:                              "1",
		`sparemx_rejects_total{code="5xx",service="smtpd"}`:                        "1",
		`sparemx_arrivals_total`:                                                   "1",
		`sparemx_arrivals_bytes_total`:                                             "2226",
		`sparemx_log_lines_total`:                                                  "17",
		`sparemx_log_foreign_lines_total`:                                          "1",
		`sparemx_queue_messages{domain="example.org",place="deferred"}`:            "2",
		`sparemx_queue_messages{domain="other",place="hold"}`:                      "0",
	})
}

// TestQuietAndEmpty: a quiet log is up, and an empty queue reads 0.
func TestQuietAndEmpty(t *testing.T) {
	c := New(Config{Sources: Sources{
		Queue: func() *queue.Snapshot { return &queue.Snapshot{} },
		Scan:  func() queue.ScanStatus { return queue.ScanStatus{Success: true} },
		Logs: func() []Log {
			return []Log{{Name: "journal", Stats: logparse.SourceStats{Readable: logparse.ReadableYes}}, {Name: "file:/x", Stats: logparse.SourceStats{Readable: logparse.ReadableNo}}}
		},
	}})
	_, got := text(t, c)
	want(t, got, map[string]string{
		`postfix_up{path="journal"}`: "1", `postfix_up{path="file:/x"}`: "0", `postfix_up{path="queue"}`: "1",
		`postfix_showq_queue_depth{queue="deferred"}`: "0", `postfix_showq_message_size_bytes_count{queue="deferred"}`: "0",
		`sparemx_queue_held_messages`: "0", `postfix_smtp_deferred_messages_total`: "0",
	})
	body, _ := text(t, New(Config{NoCompat: true}))
	if strings.Contains(body, "postfix_") {
		t.Error("the compatibility families are there though they are off")
	}
	if strings.Contains(body, "sparemx_queue_held_messages") {
		t.Error("0 messages held before any scan: that is not known")
	}
}

func TestDiverted(t *testing.T) {
	c := full(primaries("example.org"))
	text(t, c) // learns that mx1 is up since start
	o := queue.Outcome{Domain: "example.org", Result: queue.Delivered, First: true, Arrived: start.Add(time.Minute)}
	c.ObserveOutcome(o)
	o.First = false // a second attempt
	c.ObserveOutcome(o)
	o.First, o.Arrived = true, start.Add(-time.Minute) // came while it was down
	c.ObserveOutcome(o)
	o.Domain, o.Arrived = "elsewhere.test", start.Add(time.Minute)
	c.ObserveOutcome(o)
	_, got := text(t, c)
	want(t, got, map[string]string{`sparemx_diverted_recipients_total{domain="example.org"}`: "1"})
}

func TestHistogramIsThatOfPrometheus(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x", Buckets: compatDelayBounds[:], NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 1000})
	ours := newHistogram(compatDelayBounds[:])
	for i := range 5000 {
		v := float64(rng.IntN(1_000_000)) / 1000
		switch {
		case i%10 == 0:
			v = 0
		case i%7 == 0:
			v = float64(uint64(1)<<rng.IntN(30)) / 1024 // on a bound
		}
		theirs.Observe(v)
		ours.observe(v)
	}
	var m dto.Metric
	if err := theirs.Write(&m); err != nil {
		t.Fatal(err)
	}
	got := ours.show(New(Config{Start: start}))
	m.Histogram.CreatedTimestamp = got.CreatedTimestamp
	if d := cmp.Diff(m.Histogram, got, protocmp.Transform()); d != "" {
		t.Errorf("theirs -, ours +\n%s", d)
	}
	if got.GetSchema() != 3 || len(got.GetBucket()) != len(compatDelayBounds) {
		t.Errorf("schema %d, %d classic buckets", got.GetSchema(), len(got.GetBucket()))
	}
}

func TestProtobufHasBothKindsOfBuckets(t *testing.T) {
	c := full(primaries("example.org"))
	feed(c, `postfix/smtp[4]: 4F1AB2C3: to=<u@example.org>, relay=mx1[192.0.2.9]:25, delay=3.5, delays=0.5/1/1.5/0.5, dsn=2.0.0, status=sent (250 ok)`)
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/vnd.google.protobuf") {
		t.Fatalf("type %q", got)
	}
	all, err := c.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "sparemx_delivery_delay_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			if len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 {
				t.Errorf("%d classic buckets, %d native spans", len(h.GetBucket()), len(h.GetPositiveSpan()))
			}
			return
		}
	}
	t.Error("no such family")
}

// TestStrangersMakeNoSeries feeds what a stranger, or a forged line, could choose.
func TestStrangersMakeNoSeries(t *testing.T) {
	c := full(primaries("example.org"))
	var ev logparse.Event
	for i := range 1_000_000 {
		x := fmt.Appendf(nil, "x%d", i)
		u := bytes.ToUpper(x)
		ev = logparse.Event{
			Kind: logparse.Kind(i % 40), Service: x, Verb: x, Stage: x, SASLMethod: x, TLSTrust: x, TLSProto: x, TLSCipher: u, TLSBits: [2]int{i, i},
			Code: i, RelayHost: x, Reply: x, Message: x, Instance: x, Status: logparse.Status(i % 9), Rank: i, Size: int64(i), TLSClient: i%2 == 0,
			DSN: queue.Code{Class: uint8(i % 7), Subject: uint16(i % 1000), Detail: uint16(i / 1000)},
		}
		if i%3 == 0 {
			ev.Service = []byte([]string{"smtp", "smtpd", "pipe", "cleanup", "postscreen", "qmgr"}[i/3%6])
		}
		c.ObserveEvent(&ev)
		if i%10 == 0 {
			c.ObserveOutcome(queue.Outcome{Service: string(x), Domain: string(x), Result: queue.Result(i / 10 % 6), Code: ev.DSN, Cause: queue.Cause(i % 256), Reply: string(x)})
		}
	}
	body, got := text(t, c)
	t.Log(len(got), "samples")
	if len(got) > 4000 {
		t.Errorf("%d samples", len(got))
	}
	if strings.Contains(body, `"x1`) {
		t.Errorf("a stranger's word is a label value")
	}
}

// hanging is a queue whose holder never answers.
type hanging struct{}

func (hanging) Messages(ctx context.Context) iter.Seq2[queue.Message, error] {
	return func(func(queue.Message, error) bool) { select {} }
}
func (hanging) Flush(context.Context, queue.Selection) error { return nil }

func TestAHangingQueueDoesNotHangAScrape(t *testing.T) {
	s := &queue.Scanner{Queue: hanging{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := New(Config{Sources: Sources{Queue: s.Latest, Scan: s.Status}})
	_, got := text(t, c)
	want(t, got, map[string]string{"sparemx_queue_scan_success": "0"})
	cancel()
	<-done
}

func TestReloadKeepsCounts(t *testing.T) {
	c := full(primaries("example.org", "example.net"))
	for _, d := range []string{"example.org", "example.net", "x.test"} {
		c.ObserveOutcome(queue.Outcome{Domain: d, Result: queue.Delivered})
	}
	c.ObserveTransition("mx1", probes.Transition{From: probes.Up, To: probes.Down})
	c.SetPrimaries([]probes.Primary{{Name: "mx2", Domains: []string{"new.test"}}, {Name: "mx1", Domains: []string{"example.net"}}})
	_, got := text(t, c)
	want(t, got, map[string]string{
		`sparemx_domain_deliveries_total{domain="example.net",result="delivered"}`: "1",
		`sparemx_domain_deliveries_total{domain="new.test",result="delivered"}`:    "0",
		`sparemx_domain_deliveries_total{domain="other",result="delivered"}`:       "1",
		`sparemx_outages_total{primary="mx1"}`:                                     "1",
		`sparemx_outages_total{primary="mx2"}`:                                     "0",
	})
}

// require stops the test when a program is not installed, and fails it where everything is required.
func require(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("SPAREMX_REQUIRE") != "" {
			t.Fatalf("%s is required and not installed", program)
		}
		t.Skipf("%s is not installed", program)
	}
	return path
}

func TestPromtoolHasNothingToSay(t *testing.T) {
	c := full(primaries("example.org"))
	feed(c, `postfix/pipe[1]: 4F1AB2C3: to=<a@example.org>, relay=dovecot, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (ok)`)
	body, _ := text(t, c)
	cmd := exec.Command(require(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

func BenchmarkObserveEvent(b *testing.B) {
	for name, line := range map[string]string{
		"delivery":   `postfix/relay/smtp[4]: 4F1AB2C3: to=<u@example.org>, relay=mx1[192.0.2.9]:25, delay=3.5, delays=0.5/1/1.5/0.5, dsn=2.0.0, status=sent (250 ok)`,
		"connect":    `postfix/smtpd[1]: connect from a.example.net[192.0.2.1]`,
		"tls":        `postfix/smtpd[1]: Anonymous TLS connection established from a[192.0.2.1]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`,
		"active":     `postfix/qmgr[3]: 4F1AB2C3: from=<s@a.example.net>, size=2226, nrcpt=2 (queue active)`,
		"disconnect": `postfix/smtpd[1]: disconnect from a.example.net[192.0.2.1] ehlo=1 mail=1 rcpt=2 data=1 quit=1 commands=6`,
	} {
		b.Run(name, func(b *testing.B) {
			c := full(primaries("example.org"))
			var ev logparse.Event
			logparse.Parse([]byte("2026-11-21T01:00:00.000000+00:00 mx2 "+line), start, &ev)
			b.ReportAllocs()
			for b.Loop() {
				c.ObserveEvent(&ev)
			}
		})
	}
}

func BenchmarkScrape200Domains(b *testing.B) {
	for _, n := range []int{1, 200} {
		b.Run(fmt.Sprintf("primaries=%d", n), func(b *testing.B) {
			var ps []probes.Primary
			for i := range n {
				p := probes.Primary{Name: fmt.Sprintf("mx%d.example.net", i)}
				for j := range 200 / n {
					p.Domains = append(p.Domains, fmt.Sprintf("d%d-%d.test", i, j))
				}
				ps = append(ps, p)
			}
			c := full(ps)
			h := c.Handler()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
			}
		})
	}
}

func TestCiphersAreBounded(t *testing.T) {
	c := full(primaries("example.org"))
	for i := range 10_000 {
		c.ObserveEvent(&logparse.Event{
			Kind: logparse.TLS, Service: []byte("smtpd"), TLSTrust: []byte("Anonymous"), TLSProto: []byte("TLSv1.3"),
			TLSCipher: fmt.Appendf(nil, "CIPHER%d", i), TLSBits: [2]int{256, 256},
		})
	}
	_, got := text(t, c)
	rows, sum := 0, 0
	for k, v := range got {
		if strings.HasPrefix(k, "postfix_smtpd_tls_connections_total{") {
			var n int
			fmt.Sscan(v, &n)
			rows, sum = rows+1, sum+n
		}
	}
	if rows > maxTLSRows+1 || sum != 10_000 {
		t.Errorf("%d rows for %d connections", rows, sum)
	}
}
