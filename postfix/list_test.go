package postfix

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/queue"
)

func decodeAll(decode func(*bufio.Reader, func(*queue.Message) error) error, text string) ([]queue.Message, error) {
	var all []queue.Message
	err := decode(bufio.NewReaderSize(strings.NewReader(text), 64), func(m *queue.Message) error {
		all = append(all, *m)
		return nil
	})
	return all, err
}

const outage = `{"queue_name": "deferred", "queue_id": "4cXyZ12345z1b2c", "arrival_time": 1700000000, "message_size": 4321, "forced_expire": false, "sender": "s@example.org", "recipients": [{"address": "a@x.test", "delay_reason": "connect to mx1.x.test[192.0.2.1]:25: Connection refused"}, {"address": "b@x.test", "delay_reason": "host said: 450 \"later\" (in reply to RCPT TO command)"}]}
{"queue_name": "active", "queue_id": "3F2A61A05B", "arrival_time": 1700000001, "message_size": 10, "sender": "MAILER-DAEMON", "recipients": [{"address": "\u00FCser@x.test", "new": 7}], "later": [1, {"a": null}], "other": "x"}
{"queue_name": "hold", "queue_id": "3F2A61A05C", "arrival_time": 1700000002, "message_size": 0, "forced_expire": true, "sender": "", "recipients": []}
`

func TestDecodeJSON(t *testing.T) {
	want := []queue.Message{
		{ID: "4cXyZ12345z1b2c", Place: queue.Deferred, Arrived: time.Unix(1700000000, 0), Size: 4321, Sender: "s@example.org", Recipients: []queue.Recipient{
			{Address: "a@x.test", Reason: "connect to mx1.x.test[192.0.2.1]:25: Connection refused"}, {Address: "b@x.test", Reason: `host said: 450 "later" (in reply to RCPT TO command)`}}},
		{ID: "3F2A61A05B", Place: queue.Active, Arrived: time.Unix(1700000001, 0), Size: 10, Recipients: []queue.Recipient{{Address: "üser@x.test"}}},
		{ID: "3F2A61A05C", Place: queue.Hold, Arrived: time.Unix(1700000002, 0), Forced: true},
	}
	got, err := decodeAll(decodeJSON, outage)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	// Cut off in the middle: what was whole is told, and the rest is an error.
	cut := strings.Index(outage, "3F2A61A05C")
	if got, err := decodeAll(decodeJSON, outage[:cut]); len(got) != 2 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %d messages, %v", len(got), err)
	}
	if _, err := decodeAll(decodeJSON, "Mail queue is empty\n"); err == nil {
		t.Error("text is taken for JSON")
	}
	if got, err := decodeAll(decodeJSON, ""); len(got) != 0 || err != nil {
		t.Errorf("nothing: %v %v", got, err)
	}
}

// What has two readings is left to encoding/json.
func TestUnusualIsLeftToTheLibrary(t *testing.T) {
	for _, line := range []string{`{"queue_id": "A", "queue_id": "B"}`, `{"queue_id": "A", "Sender": "x"}`, `{"queue_id": "A", "message_size": 1e3}`, `{"queue_id": "A"} x`,
		`{"queue_id": "A", "recipients": [{"address": "a", "address": "b"}]}`, "{\"queue_id\": \"A\", \"sender\": \"\xff\"}"} {
		s := scan{b: []byte(line), d: &decoder{}}
		if m, ok := s.message(); ok {
			t.Errorf("%s is taken for %+v", line, m)
		}
	}
}

// The message of the shape that Postfix writes must not take the slow way.
func TestUsualShapeIsFast(t *testing.T) {
	for line := range strings.Lines(outage) {
		s := scan{b: []byte(strings.TrimSpace(line)), d: &decoder{}}
		if _, ok := s.message(); ok == strings.Contains(line, "later\":") {
			t.Errorf("fast: %v: %s", ok, line)
		}
	}
}

const oldList = `-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
3F2A61A05B*     1234 Sat Nov 21 04:40:17  sender@example.org
                                         a@x.test

4cXyZ12345z1b2c!    7 Thu Dec 31 23:59:59  MAILER-DAEMON
(host mx1.x.test[192.0.2.1] said: 450 4.2.0 (greylisted) (in reply to RCPT TO command))
                                         b@x.test
                                         c@x.test
         (connect to mx2.x.test[192.0.2.2]:25: Connection refused)
                                         d@x.test

3F2A61A05D#      99 Fri Nov 20 00:00:00  x@example.org
(delivery temporarily suspended)
                                         e@x.test

-- 3 Kbytes in 3 Requests.
`

func TestDecodeText(t *testing.T) {
	now := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	got, err := decodeAll(func(r *bufio.Reader, emit func(*queue.Message) error) error { return decodeTextAt(r, emit, now) }, oldList)
	greylisted := "host mx1.x.test[192.0.2.1] said: 450 4.2.0 (greylisted) (in reply to RCPT TO command)"
	want := []queue.Message{
		{ID: "3F2A61A05B", Place: queue.Active, Arrived: time.Date(2026, 11, 21, 4, 40, 17, 0, time.UTC), Size: 1234, Sender: "sender@example.org", Recipients: []queue.Recipient{{Address: "a@x.test"}}},
		{ID: "4cXyZ12345z1b2c", Place: queue.Hold, Arrived: time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC), Size: 7, Recipients: []queue.Recipient{
			{Address: "b@x.test", Reason: greylisted}, {Address: "c@x.test", Reason: greylisted}, {Address: "d@x.test", Reason: "connect to mx2.x.test[192.0.2.2]:25: Connection refused"}}},
		{ID: "3F2A61A05D", Place: queue.Deferred, Forced: true, Arrived: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), Size: 99, Sender: "x@example.org", Recipients: []queue.Recipient{
			{Address: "e@x.test", Reason: "delivery temporarily suspended"}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	if got, err := decodeAll(decodeText, "Mail queue is empty\n"); len(got) != 0 || err != nil {
		t.Errorf("empty: %v %v", got, err)
	}
}

func TestQueueErrors(t *testing.T) {
	for stderr, want := range map[string]error{
		"postqueue: fatal: User nobody(65534) is not allowed to view the mail queue":                                                            ErrNoRights,
		"postqueue: fatal: User nobody(65534) is not allowed to flush the mail queue":                                                           ErrNoRights,
		"postqueue: fatal: Queue report unavailable - mail system is down (Connect to the Postfix showq service: No such file or directory)":    ErrStopped,
		"postqueue: fatal: Cannot flush mail queue - mail system is down":                                                                       ErrStopped,
		"postqueue: warning: x\npostqueue: fatal: Connect to the Postfix showq service: Permission denied":                                      ErrNoRights,
		"postqueue: error: unauthorized configuration directory name: /x\npostqueue: fatal: specify \"alternate_config_directories = /x\" in y": ErrNoRights,
		"postqueue: fatal: Flush service is not configured for destination \"x.test\"":                                                          ErrNotFlushable,
	} {
		inst := Instance{Name: "postfix", ConfigDir: "/etc/postfix"}
		err := explainQueue(&ExitError{Argv: []string{"/usr/sbin/postqueue"}, Code: 69, Stderr: stderr}, inst, "x.test")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "post") {
			t.Errorf("%s: %v", stderr, err)
		}
	}
	if err := explainQueue(nil, Instance{}, ""); err != nil {
		t.Error(err)
	}
}

// A consumer that has enough ends the command, and nothing is read after it.
func TestMessagesStops(t *testing.T) {
	ended := false
	q := Queue{Instances: []Instance{{Name: "a"}, {Name: "b"}}, Run: func(ctx context.Context, c Command) error {
		err := c.Read(strings.NewReader(outage))
		ended = err != nil
		return err
	}}
	n := 0
	for range q.Messages(t.Context()) {
		n++
		break
	}
	if n != 1 || !ended {
		t.Errorf("%d messages, ended: %v", n, ended)
	}
	n = 0
	for m, err := range q.Messages(t.Context()) {
		if err != nil || m.Instance != "a" && m.Instance != "b" {
			t.Error(m, err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d messages", n)
	}
}

// Whatever the scanner takes, encoding/json reads the same way.
func FuzzDecodeJSON(f *testing.F) {
	for line := range strings.Lines(outage) {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"queue_id":"A","Queue_ID":"B","sender":"\ud800","message_size":1e3}`))
	f.Add([]byte(`{"queue_id":"A","queue_id":"B","recipients":null}`))
	f.Add([]byte("{\"queue_id\":\"A\xff\"}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		decodeAll(decodeJSON, string(line))
		line = bytes.TrimSpace(line)
		s := scan{b: line, d: &decoder{}}
		got, ok := s.message()
		if !ok {
			return
		}
		if !json.Valid(line) {
			t.Fatalf("taken, and no JSON: %q", line)
		}
		want, err := slowMessage(line)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%q\n%+v\nencoding/json: %+v %v", line, got, want, err)
		}
	})
}

func FuzzDecodeText(f *testing.F) {
	f.Add(oldList)
	f.Fuzz(func(t *testing.T, text string) {
		got, _ := decodeAll(decodeText, text)
		for _, m := range got {
			if !validID(m.ID) || m.Size < 0 || m.Arrived.After(time.Now().Add(48*time.Hour)) {
				t.Errorf("%+v of %q", m, text)
			}
		}
	})
}

func FuzzConfiguration(f *testing.F) {
	f.Add("a = b\n", "smtp inet n - y - - smtpd -o { a = b }\n", "smtp/inet/a = $b\n", "${a?{x}:{y}} ${{1}<{2}?z} $$ $(b)", "k\tv\n")
	f.Fuzz(func(t *testing.T, parameters, services, overrides, value, table string) {
		m := parseParameters(parameters)
		for name := range m {
			if name == "" || strings.ContainsAny(name, " \t\n=") {
				t.Errorf("a parameter %q", name)
			}
		}
		all := parseServices(services)
		mergeOverrides(all, overrides)
		for _, s := range all {
			if s.Name == "" || s.Program == "" {
				t.Errorf("a service %+v", s)
			}
		}
		m["loop"] = value
		if got := expand(value, func(n string) string { return m[n] }); len(got) > maxExpanded+len(value) {
			t.Errorf("%d bytes", len(got))
		}
		for k := range parseTable(table) {
			if strings.ContainsAny(k, "\t\n") {
				t.Errorf("a key %q", k)
			}
		}
		for _, d := range words(value) {
			if h, err := parseHop(d, "smtp", true); err == nil && (h.Host == "" || h.Port == 0) {
				t.Errorf("%q is %+v", d, h)
			} else if err == nil {
				if again, err := parseHop(h.String(), "smtp", true); err != nil || !strings.Contains(h.Host, ":") && again != h {
					t.Errorf("%q is %+v, which reads back as %+v, %v", d, h, again, err)
				}
			}
		}
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	line := strings.SplitAfter(outage, "\n")[0]
	const n = 1000
	text := []byte(strings.Repeat(line, n))
	for name, decode := range map[string]func(*bufio.Reader, func(*queue.Message) error) error{"scan": decodeJSON, "encoding/json": func(r *bufio.Reader, emit func(*queue.Message) error) error {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return nil
			}
			m, err := slowMessage(line)
			if err != nil {
				return err
			}
			emit(&m)
		}
	}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := decode(bufio.NewReaderSize(bytes.NewReader(text), 64<<10), func(*queue.Message) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
		})
	}
}
