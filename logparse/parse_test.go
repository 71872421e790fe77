package logparse

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

var stampTime = time.Date(2026, 11, 21, 2, 16, 5, 0, time.UTC)

func stamped(form, tag, text string) string {
	switch form {
	case "journal":
		return fmt.Sprintf(stamps[form], text, tag)
	case "journal, bytes":
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(text)), " ", ","), "[]")
		return fmt.Sprintf(stamps[form], list, tag)
	}
	return fmt.Sprintf(stamps[form], tag) + text
}

func TestCorpusInEveryTimeFormat(t *testing.T) {
	var p Parser
	for form := range stamps {
		for _, want := range corpus {
			line := stamped(form, want.tag, want.text)
			var ev Event
			kind := p.Parse([]byte(line), benchNow, &ev)
			if kind != want.kind || ev.Kind != kind {
				t.Errorf("%s: %v, want %v: %s", form, kind, want.kind, line)
				continue
			}
			if !ev.Time.Equal(stampTime) || string(ev.Host) != "mx2" || ev.PID != 4242 || string(ev.Instance)+"/"+string(ev.Path) != want.tag ||
				string(ev.Message) != want.text || string(ev.Service) != want.tag[strings.LastIndexByte(want.tag, '/')+1:] {
				t.Errorf("%s: header %v %s %d %s/%s %q", form, ev.Time, ev.Host, ev.PID, ev.Instance, ev.Path, ev.Message)
			}
			if want.kind == Warning || want.kind == Ignored && want.id == "" || want.kind == Unparsed || want.kind == TLS && ev.TLSBits != [2]int{256, 256} {
				if want.kind == TLS {
					t.Errorf("%s: bits %v", form, ev.TLSBits)
				}
				continue
			}
			if diff := cmp.Diff(fieldsOf(want), fieldsSeen(&ev)); diff != "" {
				t.Errorf("%s: %s\n%s", form, line, diff)
			}
		}
	}
}

func fieldsOf(w corpusLine) map[string]string {
	return compact(w.id, w.from, w.to, w.origTo, w.host, w.ip, w.port, w.delay, w.dsn, w.status, w.reply, w.client, w.clientIP, w.clientPort,
		w.code, w.stage, w.verb, w.newID, w.msgID, w.size, w.nrcpt, w.rank, w.proto, w.helo, w.sasl, w.tls, w.trust, w.cause)
}

func fieldsSeen(e *Event) map[string]string {
	s := func(b []byte) string { return string(b) }
	return compact(s(e.QueueID), s(e.From), s(e.To), s(e.OrigTo), s(e.RelayHost), s(e.RelayIP), e.RelayPort, e.Delay, e.DSN, e.Status, s(e.Reply),
		s(e.ClientName), s(e.ClientIP), e.ClientPort, e.Code, s(e.Stage), s(e.Verb), s(e.NewID), s(e.MsgID), e.Size, e.NRcpt, e.Rank, s(e.Proto),
		s(e.Helo), s(e.SASLMethod), s(e.TLSProto), s(e.TLSTrust), CauseOf(e))
}

func compact(v ...any) map[string]string {
	names := strings.Fields("id from to orig_to relay_host relay_ip relay_port delay dsn status reply client client_ip client_port code stage verb new_id msg_id size nrcpt rank proto helo sasl tls trust cause")
	m := map[string]string{}
	for i, x := range v {
		if s := fmt.Sprint(x); s != "" && s != "0" && s != "0s" && s != "none" {
			m[names[i]] = s
		}
	}
	return m
}

func TestEveryDelayAndStage(t *testing.T) {
	var ev Event
	Parse([]byte("Nov 21 02:16:05 mx2 postfix/smtp[1]: AAAAAA1: to=<a@b>, relay=none, delay=1234.5, delays=0.01/2/30.5/1202, dsn=4.4.1, status=deferred (x)"), benchNow, &ev)
	if want := [4]time.Duration{10 * ms, 2 * time.Second, 30500 * ms, 1202 * time.Second}; ev.Delays != want || ev.Delay != 1234500*ms {
		t.Fatalf("delay %v, delays %v", ev.Delay, ev.Delays)
	}
}

func TestNullSenderIsToldFromNone(t *testing.T) {
	var ev Event
	Parse([]byte("Nov 21 02:16:05 mx2 postfix/qmgr[1]: AAAAAA1: from=<>, size=1, nrcpt=1 (queue active)"), benchNow, &ev)
	if got := string(AppendEventJSON(nil, &ev)); !ev.HasFrom || !strings.Contains(got, `"from":""`) {
		t.Fatal(got)
	}
	Parse([]byte("Nov 21 02:16:05 mx2 postfix/qmgr[1]: AAAAAA1: removed"), benchNow, &ev)
	if got := string(AppendEventJSON(nil, &ev)); ev.HasFrom || strings.Contains(got, "from") {
		t.Fatal(got)
	}
}

func TestWhoseLineItIs(t *testing.T) {
	mine := Parser{Instances: []string{"mailout"}}
	for tag, want := range map[string]bool{
		"postfix/smtpd": true, "postfix-mx2/smtpd": true, "postfixout/edge/smtpd": true, "postfix": true, "mailout/smtp": true,
		"sshd": false, "postfix-exporter": false, "dovecot/smtpd": false, "/smtpd": false, "postfix/": false, "mail/smtp": false, "CRON": false,
	} {
		var ev Event
		if got := mine.Parse([]byte("Nov 21 02:16:05 mx2 "+tag+"[1]: warning: x"), benchNow, &ev) != Foreign; got != want {
			t.Errorf("%s: Postfix's: %v", tag, got)
		}
	}
	var ev Event
	if Parse([]byte("Nov 21 02:16:05 mx2 mailout/smtp[1]: warning: x"), benchNow, &ev) != Foreign {
		t.Error("an instance nobody named was taken")
	}
}

func TestYearsOfStampsWithoutOne(t *testing.T) {
	for _, c := range []struct{ now, stamp, want string }{
		{"2027-01-01T00:00:05Z", "Dec 31 23:59:59", "2026-12-31T23:59:59Z"},
		{"2026-12-31T23:59:58Z", "Jan  1 00:00:01", "2027-01-01T00:00:01Z"}, // the writer's clock is a little ahead
		{"2026-11-21T00:00:00Z", "Nov 22 00:00:01", "2025-11-22T00:00:01Z"}, // more than a day ahead: last year's
		{"2026-11-21T00:00:00Z", "Nov 21 23:59:59", "2026-11-21T23:59:59Z"},
		{"2026-03-01T00:00:00Z", "Feb 29 12:00:00", "2024-02-29T12:00:00Z"},
	} {
		now, _ := time.Parse(time.RFC3339, c.now)
		var p Parser
		for range 2 { // the second time from memory
			var ev Event
			p.Parse([]byte(c.stamp+" mx2 postfix/qmgr[1]: AAAAAA1: removed"), now, &ev)
			if got := ev.Time.Format(time.RFC3339); got != c.want {
				t.Errorf("%s seen at %s is %s, want %s", c.stamp, c.now, got, c.want)
			}
		}
		// The memory must not outlive the year: the same stamp a year on.
		var ev Event
		p.Parse([]byte("Nov 21 02:16:05 mx2 postfix/qmgr[1]: AAAAAA1: removed"), stampTime, &ev)
		p.Parse([]byte("Nov 21 02:16:05 mx2 postfix/qmgr[1]: AAAAAA1: removed"), stampTime.AddDate(1, 0, 0), &ev)
		if ev.Time.Year() != 2027 {
			t.Errorf("remembered year %d", ev.Time.Year())
		}
	}
}

func TestRepeatedLinesAreCounted(t *testing.T) {
	var ev Event
	kind := Parse([]byte("Nov 21 02:16:05 mx2 postfix/smtpd[1]: message repeated 7 times: [ connect from c[192.0.2.7]]"), benchNow, &ev)
	if kind != Connect || ev.Repeat != 7 || string(ev.ClientIP) != "192.0.2.7" {
		t.Fatalf("%v %d %s", kind, ev.Repeat, ev.ClientIP)
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var lines [][]byte
	for form := range stamps {
		if strings.HasPrefix(form, "journal") {
			continue
		}
		for _, c := range corpus {
			lines = append(lines, []byte(stamped(form, c.tag, c.text)))
		}
	}
	var p Parser
	var ev Event
	if n := testing.AllocsPerRun(10, func() {
		for _, line := range lines {
			p.Parse(line, benchNow, &ev)
			CauseOf(&ev)
		}
	}); n != 0 {
		t.Fatalf("%v allocations for %d lines", n, len(lines))
	}
}

// within tells whether b is nil or lies inside line.
func within(line, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	start, at := uintptr(unsafe.Pointer(unsafe.SliceData(line))), uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return at >= start && at+uintptr(len(b)) <= start+uintptr(len(line))
}

func FuzzParse(f *testing.F) {
	for form := range stamps {
		for i, c := range corpus {
			if i%3 == 0 || form == "RFC 3164" {
				f.Add([]byte(stamped(form, c.tag, c.text)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var ev Event
		// What lies behind the line in its buffer must not matter.
		buf := append(bytes.Clone(line), "), status=sent (250 ok) from=<x>"...)
		inside := buf[:len(line)]
		kind := Parse(inside, benchNow, &ev)
		if kind >= numKinds || kind != ev.Kind {
			t.Fatalf("kind %d, %d", kind, ev.Kind)
		}
		got := fieldsSeen(&ev)
		if len(line) > 0 && line[0] != '{' {
			for _, b := range [][]byte{ev.Host, ev.Instance, ev.Service, ev.Path, ev.Message, ev.QueueID, ev.From, ev.To, ev.OrigTo, ev.RelayHost, ev.RelayIP,
				ev.Reply, ev.ClientName, ev.ClientIP, ev.Stage, ev.Verb, ev.Proto, ev.Helo, ev.SASLMethod, ev.NewID, ev.OrigID, ev.MsgID, ev.TLSProto,
				ev.TLSCipher, ev.TLSTrust} {
				if !within(inside, b) {
					t.Fatalf("%q is not part of the line", b)
				}
			}
		}
		if ev.Delay < 0 || ev.Size < 0 || ev.NRcpt < 0 || ev.RelayPort < 0 || ev.PID < 0 {
			t.Fatalf("negative: %+v", ev)
		}
		if object := AppendEventJSON(nil, &ev); !validJSON(object) {
			t.Fatalf("%q", object)
		}
		var alone Event
		if again := Parse(bytes.Clone(line), benchNow, &alone); again != kind || !cmp.Equal(got, fieldsSeen(&alone)) {
			t.Fatalf("another answer for a copy: %v %v", kind, again)
		}
	})
}

func TestJournalFieldsOfEveryShape(t *testing.T) {
	for field, want := range map[string]string{
		`"warning: a"`:       "warning: a",
		`[119,97]`:           "wa",
		`["warning: b","c"]`: "warning: b",
		`[[119,97],[98]]`:    "wa",
		`null`:               "",
		`[300]`:              "",
		strings.Repeat("[", 5000) + "1" + strings.Repeat("]", 5000): "",
	} {
		var ev Event
		kind := Parse([]byte(`{"SYSLOG_IDENTIFIER":"postfix/smtpd","MESSAGE":`+field+`,"__REALTIME_TIMESTAMP":"1795227365000000"}`), benchNow, &ev)
		if kind == Foreign || strings.Trim(string(ev.Message), "\x00") != want {
			t.Errorf("%.30s: %v %q", field, kind, ev.Message)
		}
	}
	var ev Event
	for _, broken := range []string{`{"SYSLOG_IDENTIFIER":"postfix/smtpd","MESSAGE":"x`, `{`, `{}`, `{"MESSAGE":"x"}`} {
		if Parse([]byte(broken), benchNow, &ev) != Foreign {
			t.Errorf("%s is a line of Postfix", broken)
		}
	}
}
