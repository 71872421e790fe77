package logparse

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func validJSON(b []byte) bool { return json.Valid(b) && utf8.Valid(b) && bytes.IndexByte(b, '\n') < 0 }

func replayed(t testing.TB, mtime time.Time, logs ...io.Reader) Summary {
	t.Helper()
	r := NewReplay(ReplayOptions{Location: time.UTC, OnEvent: func(ev *Event) {
		if b := AppendEventJSON(nil, ev); !validJSON(b) {
			t.Fatalf("not JSON: %q", b)
		}
	}})
	for i, log := range logs {
		if err := r.ReadFile(fmt.Sprint("log ", i), mtime, log); err != nil {
			t.Fatal(err)
		}
	}
	return r.Summary()
}

func realLog(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "logs", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var realLogs = []string{"01-shortids-outage-recovery.log", "02-longids-tls-syslogname-recovery-by-retry.log", "05-postscreen.log", "06-every-agent.log", "07-every-agent-longids.log"}

// TestReplayAgainstPlainCounts counts the real logs once more with nothing but regular expressions, as one would with grep.
func TestReplayAgainstPlainCounts(t *testing.T) {
	for _, name := range realLogs {
		t.Run(name, func(t *testing.T) {
			log := realLog(t, name)
			sum := replayed(t, stampTime.Add(time.Hour), bytes.NewReader(log))
			count := func(re string) uint64 { return uint64(len(regexp.MustCompile(`(?m)`+re).FindAll(log, -1))) }
			for what, c := range map[string][2]uint64{
				"lines":       {sum.Lines, count(`\n`)},
				"postfix":     {sum.PostfixLines, count(`^.{15} \S+ postfix[^ ]*\[\d+\]: `)},
				"unparsed":    {sum.Unparsed, 0},
				"sent":        {sum.Deliveries.Sent, count(` status=sent \(`)},
				"deferred":    {sum.Deliveries.Deferred, count(` status=deferred \(`)},
				"bounced":     {sum.Deliveries.Bounced, count(` status=bounced \(`)},
				"expired":     {sum.Deliveries.Expired, count(` status=(force-)?expired, `)},
				"suspended":   {sum.Deferrals["suspended"], count(` status=deferred \(delivery temporarily suspended`)},
				"rejects":     {sum.Rejects, count(`(smtpd|postscreen)\[\d+\]: \w+: reject: `)},
				"connections": {sum.Connections, count(`smtpd\[\d+\]: connect from `)},
				"smtp sent":   {sumService(sum, func(s string) bool { return strings.HasSuffix(s, "/smtp") }).Sent, count(`/smtp\[\d+\]: .* status=sent \(`)},
				"error":       {sumService(sum, func(s string) bool { return strings.HasSuffix(s, "/error") }).Deferred, count(`/error\[\d+\]: .* status=deferred \(`)},
			} {
				if c[0] != c[1] {
					t.Errorf("%s: %d, by plain count %d", what, c[0], c[1])
				}
			}
			// Messages: one for each ID that became active, one more for each time it did so again after "removed".
			var messages uint64
			active := map[string]bool{}
			for line := range strings.Lines(string(log)) {
				f := strings.Fields(line)
				if len(f) < 7 || !strings.Contains(f[4], "/qmgr[") {
					continue
				}
				if strings.HasSuffix(line, "(queue active)\n") && !active[f[5]] {
					messages++
					active[f[5]] = true
				} else if f[6] == "removed" {
					delete(active, f[5])
				}
			}
			if sum.Messages != messages {
				t.Errorf("messages: %d, by plain count %d", sum.Messages, messages)
			}
			var domains, services Tally
			for _, d := range sum.Domains {
				domains.Sent, domains.Deferred, domains.Bounced = domains.Sent+d.Sent, domains.Deferred+d.Deferred, domains.Bounced+d.Bounced
			}
			services = sumService(sum, func(string) bool { return true })
			all := sum.Deliveries
			if services != all || domains.Sent != all.Sent || domains.Deferred != all.Deferred || domains.Bounced != all.Bounced {
				t.Errorf("in all %+v, by service %+v, by domain %+v", all, services, domains)
			}
		})
	}
}

func sumService(s Summary, in func(string) bool) (sum Tally) {
	for name, t := range s.ByService {
		if in(name) {
			sum.Sent, sum.Deferred, sum.Bounced, sum.Expired = sum.Sent+t.Sent, sum.Deferred+t.Deferred, sum.Bounced+t.Bounced, sum.Expired+t.Expired
		}
	}
	return sum
}

// TestPeerFaultIsoStamps: the same log with the stamps of Debian 12 gives the same sums; a known peer drops every line of it.
func TestPeerFaultIsoStamps(t *testing.T) {
	for _, name := range realLogs {
		log := realLog(t, name)
		iso := regexp.MustCompile(`(?m)^Nov (\d\d) (\S+) `).ReplaceAll(log, []byte("2026-11-${1}T${2}.000000+00:00 "))
		a, _ := json.Marshal(replayed(t, stampTime.Add(time.Hour), bytes.NewReader(log)))
		b, _ := json.Marshal(replayed(t, stampTime.Add(time.Hour), bytes.NewReader(iso)))
		if !bytes.Equal(a, b) {
			t.Errorf("%s:\n%s\n%s", name, a, b)
		}
	}
}

func TestReplayPackedAndCRLF(t *testing.T) {
	log := realLog(t, realLogs[0])
	want, _ := json.Marshal(replayed(t, stampTime.Add(time.Hour), bytes.NewReader(log)))
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(bytes.TrimSuffix(bytes.ReplaceAll(log, []byte("\n"), []byte("\r\n")), []byte("\r\n")))
	w.Close()
	got, _ := json.Marshal(replayed(t, stampTime.Add(time.Hour), bytes.NewReader(z.Bytes())))
	if !bytes.Equal(got, want) {
		t.Fatalf("%s\n%s", got, want)
	}
	damaged := NewReplay(ReplayOptions{})
	if err := damaged.ReadFile("x.gz", stampTime, bytes.NewReader(z.Bytes()[:z.Len()/2])); err == nil || damaged.Summary().Lines == 0 {
		t.Fatalf("half an archive: %v, %d lines", err, damaged.Summary().Lines)
	}
}

func TestReplayVeryLongLines(t *testing.T) {
	long := "Nov 21 02:16:05 mx2 postfix/smtp[1]: AAAAAA1: to=<a@b.test>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (" + strings.Repeat("x", 3<<20) + ")\n"
	short := "Nov 21 02:16:06 mx2 postfix/smtp[1]: AAAAAA1: to=<a@b.test>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (ok)"
	sum := replayed(t, stampTime, strings.NewReader(long+strings.Repeat("y", 2<<20)+"\n"+short))
	if sum.Lines != 3 || sum.PostfixLines != 2 || sum.Unparsed != 1 || sum.ForeignLines != 1 || sum.Deliveries.Sent != 1 {
		t.Fatalf("%+v", sum)
	}
}

func TestReplayYearsBackwards(t *testing.T) {
	var log strings.Builder
	for _, stamp := range []string{"Nov  3 00:00:00", "Jan  5 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:01"} {
		log.WriteString(stamp + " mx2 postfix/qmgr[1]: AAAAAA1: removed\n")
	}
	mtime := time.Date(2027, 1, 1, 0, 0, 2, 0, time.UTC)
	var got []string
	r := NewReplay(ReplayOptions{Location: time.UTC, OnEvent: func(ev *Event) { got = append(got, ev.Time.Format(time.DateTime)) }})
	if err := r.ReadFile("log", mtime, strings.NewReader(log.String())); err != nil {
		t.Fatal(err)
	}
	want := "[2025-11-03 00:00:00 2026-01-05 00:00:00 2026-12-31 23:59:59 2027-01-01 00:00:00 2026-12-31 23:59:59 2027-01-01 00:00:01]"
	if fmt.Sprint(got) != want {
		t.Fatalf("%v\nwant %v", got, want)
	}
	if s := r.Summary(); *s.First != "2025-11-03T00:00:00Z" || *s.Last != "2027-01-01T00:00:01Z" {
		t.Fatal(*s.First, *s.Last)
	}
}

func TestReplaySaysHowToUnpack(t *testing.T) {
	err := NewReplay(ReplayOptions{}).ReadFile("maillog.xz", stampTime, strings.NewReader("\xfd7zXZ\x00rest"))
	if err == nil || !strings.Contains(err.Error(), "xzcat") {
		t.Fatal(err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte("Nov 21 02:16:05 mx2 postfix/qmgr[1]: AAAAAA1: from=<>, size=1, nrcpt=1 (queue active)\r\nJan  1 00:00:00 x\n\n"))
	f.Add([]byte("Dec 31 02:16:05 mx2 postfix/smtp[1]: AAAAAA1: to=<a@b>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (ok)\nJan 1"))
	f.Fuzz(func(t *testing.T, log []byte) {
		if bytes.HasPrefix(log, []byte("\x1f\x8b")) || packer(log) != "" {
			return
		}
		r := NewReplay(ReplayOptions{Location: time.UTC})
		if err := r.ReadFile("log", stampTime, bytes.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		s := r.Summary()
		want := uint64(bytes.Count(log, []byte("\n")))
		if len(log) > 0 && log[len(log)-1] != '\n' {
			want++
		}
		if s.Lines != want || s.PostfixLines+s.ForeignLines != s.Lines || s.Unparsed > s.PostfixLines || s.Messages > s.PostfixLines {
			t.Fatalf("%+v, want %d lines", s, want)
		}
		if b, err := json.Marshal(r); err != nil || !validJSON(b) {
			t.Fatal(err)
		}
	})
}
