package logparse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sparemx/sparemx/queue"
)

// told is a tracker that writes down what it reports, and reads lines "hh:mm:ss service text" of one day.
type told struct {
	Tracker
	news []string
	all  []queue.Outcome
}

func newTold() *told {
	r := &told{}
	r.hook()
	return r
}

func (r *told) hook() {
	at := func(t time.Time) string { return t.UTC().Format("15:04:05") }
	r.OnArrival = func(a queue.Arrival) {
		r.news = append(r.news, fmt.Sprintf("arrival %s %s/%s <%s> %s %d %d", at(a.At), a.Instance, a.ID, a.Sender, a.Client, a.Size, a.Recipients))
	}
	r.OnOutcome = func(o queue.Outcome) {
		r.all = append(r.all, o)
		arrived := "?"
		if !o.Arrived.IsZero() {
			arrived = at(o.Arrived)
		}
		r.news = append(r.news, fmt.Sprintf("%v %s/%s <%s> %s from %s first=%v", o.Result, o.Instance, o.ID, o.Recipient, o.Domain, arrived, o.First))
	}
	r.OnEnd = func(e queue.End) {
		arrived := "?"
		if !e.Arrived.IsZero() {
			arrived = at(e.Arrived)
		}
		r.news = append(r.news, fmt.Sprintf("end %d %s/%s from %s", e.Kind, e.Instance, e.ID, arrived))
	}
	r.OnRequeue = func(_ time.Time, instance, old, id string) {
		r.news = append(r.news, fmt.Sprintf("requeue %s/%s %s", instance, old, id))
	}
}

func (r *told) read(lines string) {
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		stamp, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		tag, text, _ := strings.Cut(rest, " ")
		var ev Event
		Parse([]byte("Nov 21 "+stamp+" mx2 "+tag+"[1]: "+text), benchNow, &ev)
		r.Track(&ev)
	}
}

func (r *told) want(t *testing.T, news ...string) {
	t.Helper()
	if diff := cmp.Diff(news, r.news); diff != "" {
		t.Error(diff)
	}
	r.news = nil
}

const oneMessage = `
	02:00:00 postfix/smtpd AAAAAA1: client=c.example.org[192.0.2.7]
	02:00:01 postfix/cleanup AAAAAA1: message-id=<1@x>
	02:00:02 postfix/qmgr AAAAAA1: from=<s@example.net>, size=100, nrcpt=2 (queue active)
	02:00:03 postfix/smtp AAAAAA1: to=<a@Example.ORG>, relay=none, delay=3, delays=1/1/1/0, dsn=4.4.1, status=deferred (connect to mx[192.0.2.1]:25: Connection refused)
	02:00:03 postfix/smtp AAAAAA1: to=<b@example.org>, relay=mx[192.0.2.1]:25, delay=3, delays=1/1/1/0, dsn=2.0.0, status=sent (250 ok)
	02:10:00 postfix/qmgr AAAAAA1: from=<s@example.net>, size=100, nrcpt=2 (queue active)
	02:10:01 postfix/error AAAAAA1: to=<a@Example.ORG>, relay=none, delay=601, delays=600/1/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: x)
	02:20:00 postfix/qmgr AAAAAA1: from=<s@example.net>, size=100, nrcpt=2 (queue active)
	02:20:01 postfix/smtp AAAAAA1: to=<a@Example.ORG>, relay=mx[192.0.2.1]:25, delay=1201, delays=1200/0/0/1, dsn=2.0.0, status=sent (250 ok)
	02:20:01 postfix/qmgr AAAAAA1: removed`

var oneMessageNews = []string{
	"arrival 02:00:00 postfix/AAAAAA1 <s@example.net> c.example.org[192.0.2.7] 100 2",
	"deferred postfix/AAAAAA1 <a@Example.ORG> example.org from 02:00:00 first=true",
	"delivered postfix/AAAAAA1 <b@example.org> example.org from 02:00:00 first=true",
	"deferred postfix/AAAAAA1 <a@Example.ORG> example.org from 02:00:00 first=false",
	"delivered postfix/AAAAAA1 <a@Example.ORG> example.org from 02:00:00 first=false",
	"end 1 postfix/AAAAAA1 from 02:00:00",
}

func TestTrackOneMessage(t *testing.T) {
	r := newTold()
	r.read(oneMessage)
	r.want(t, oneMessageNews...)
	o := r.all[1]
	if o.NextHop != "mx:25" || o.Service != "smtp" || o.Code.String() != "2.0.0" || o.Reply != "250 ok" || o.Age != 3*time.Second || r.all[0].NextHop != "" ||
		r.all[2].Cause != queue.CauseSuspended || r.all[0].Cause != queue.CauseRefused {
		t.Fatalf("%+v", r.all)
	}
}

func TestTrackLinesReadTwice(t *testing.T) {
	r := newTold()
	r.read(oneMessage)
	r.news = nil
	r.read(oneMessage) // all of it, after the end
	for _, news := range r.news {
		if strings.HasPrefix(news, "arrival") || strings.HasPrefix(news, "end") || strings.Contains(news, "first=true") {
			t.Errorf("told twice: %s", news)
		}
	}
	r = newTold()
	half := strings.Join(strings.SplitAfter(oneMessage, "\n")[:6], "")
	r.read(half)
	var state bytes.Buffer
	if err := r.Save(&state); err != nil {
		t.Fatal(err)
	}
	again := newTold()
	if err := again.Load(&state); err != nil {
		t.Fatal(err)
	}
	again.read(half) // the position was older than the state
	again.news = nil
	again.read(strings.TrimPrefix(oneMessage, half))
	again.want(t, oneMessageNews[3:]...)
}

func TestTrackIDsThatRecur(t *testing.T) {
	r := newTold()
	r.read(oneMessage)
	r.news = nil
	r.read(`
		03:00:00 postfix/smtpd AAAAAA1: client=d[192.0.2.8]
		03:00:00 postfix/qmgr AAAAAA1: from=<>, size=7, nrcpt=1 (queue active)
		04:00:00 postfix/smtpd AAAAAA1: client=e[192.0.2.9]
		04:00:00 postfix/qmgr AAAAAA1: from=<>, size=8, nrcpt=1 (queue active)
		05:00:00 postfix/qmgr AAAAAA1: from=<>, size=9, nrcpt=1 (queue active)
		06:00:00 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=2, delays=1/1/0/0, dsn=4.4.1, status=deferred (x)
		06:00:01 postfix-mx2/qmgr AAAAAA1: removed
		06:00:02 postfix/postsuper AAAAAA1: removed`)
	r.want(t,
		"arrival 03:00:00 postfix/AAAAAA1 <> d[192.0.2.8] 7 1",
		"arrival 04:00:00 postfix/AAAAAA1 <> e[192.0.2.9] 8 1",                          // a new beginning; the end of the one before was not seen
		"arrival 05:00:00 postfix/AAAAAA1 <>  9 1",                                      // another size
		"deferred postfix/AAAAAA1 <a@example.org> example.org from 05:59:58 first=true", // far younger than what is known
		"end 1 postfix-mx2/AAAAAA1 from ?",                                              // another instance's
		"end 2 postfix/AAAAAA1 from 05:59:58",
	)
	if s := r.Stats(); s.Superseded != 3 {
		t.Errorf("%+v", s)
	}
}

func TestTrackFromTheMiddle(t *testing.T) {
	r := newTold()
	r.read(`
		02:00:10 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=3600, delays=3599/1/0/0, dsn=4.4.1, status=deferred (x)
		02:00:11 postfix/qmgr AAAAAA1: removed`)
	r.want(t, "deferred postfix/AAAAAA1 <a@example.org> example.org from 01:00:10 first=true", "end 1 postfix/AAAAAA1 from 01:00:10")
}

func TestTrackExpiry(t *testing.T) {
	r := newTold()
	r.read(`
		02:00:00 postfix/smtpd AAAAAA1: client=d[192.0.2.8]
		02:00:00 postfix/qmgr AAAAAA1: from=<s@x>, size=7, nrcpt=2 (queue active)
		02:00:00 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.1, status=deferred (x)
		02:00:00 postfix/smtp AAAAAA1: to=<b@example.org>, relay=mx[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (x)
		03:00:00 postfix/qmgr AAAAAA1: from=<s@x>, status=expired, returned to sender
		03:00:00 postfix/qmgr AAAAAA1: from=<s@x>, status=expired, returned to sender
		03:00:01 postfix/qmgr AAAAAA1: removed
		04:00:00 postfix/qmgr BBBBBB1: from=<s@x>, status=force-expired, returned to sender`)
	r.want(t,
		"arrival 02:00:00 postfix/AAAAAA1 <s@x> d[192.0.2.8] 7 2",
		"deferred postfix/AAAAAA1 <a@example.org> example.org from 02:00:00 first=true",
		"delivered postfix/AAAAAA1 <b@example.org> example.org from 02:00:00 first=true",
		"expired postfix/AAAAAA1 <a@example.org> example.org from 02:00:00 first=false",
		"end 1 postfix/AAAAAA1 from 02:00:00",
		"expired postfix/BBBBBB1 <>  from ? first=false",
	)
}

func TestTrackRequeue(t *testing.T) {
	r := newTold()
	r.read(`
		02:00:00 postfix/smtpd AAAAAA1: client=d[192.0.2.8]
		02:00:00 postfix/qmgr AAAAAA1: from=<s@x>, size=7, nrcpt=1 (queue active)
		02:00:00 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.1, status=deferred (x)
		03:00:00 postfix/postsuper AAAAAA1: requeued
		03:00:00 postfix/pickup BBBBBB2: uid=102 from=<s@x> orig_id=AAAAAA1
		03:00:00 postfix/cleanup BBBBBB2: message-id=<1@x>
		03:00:00 postfix/qmgr BBBBBB2: from=<s@x>, size=9, nrcpt=1 (queue active)
		03:00:00 postfix/smtp BBBBBB2: to=<a@example.org>, relay=mx[192.0.2.1]:25, delay=3600, delays=3600/0/0/0, dsn=2.0.0, status=sent (x)
		03:00:01 postfix/qmgr BBBBBB2: removed`)
	r.want(t,
		"arrival 02:00:00 postfix/AAAAAA1 <s@x> d[192.0.2.8] 7 1",
		"deferred postfix/AAAAAA1 <a@example.org> example.org from 02:00:00 first=true",
		"requeue postfix/AAAAAA1 BBBBBB2",
		"delivered postfix/BBBBBB2 <a@example.org> example.org from 02:00:00 first=false",
		"end 1 postfix/BBBBBB2 from 02:00:00",
	)
}

func TestTrackLocalMailThatLayInMaildrop(t *testing.T) {
	r := newTold()
	r.read(`
		02:00:00 postfix/pickup AAAAAA1: uid=0 from=<root>
		02:00:00 postfix/qmgr AAAAAA1: from=<root@x>, size=7, nrcpt=1 (queue active)
		02:00:01 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=3601, delays=3600/1/0/0, dsn=4.4.1, status=deferred (x)
		01:59:00 postfix/smtp AAAAAA1: to=<a@example.org>, relay=none, delay=10, delays=9/1/0/0, dsn=4.4.1, status=deferred (x)`)
	r.want(t,
		"arrival 02:00:00 postfix/AAAAAA1 <root@x>  7 1",
		"deferred postfix/AAAAAA1 <a@example.org> example.org from 02:00:00 first=true",
		"deferred postfix/AAAAAA1 <a@example.org> example.org from 01:58:50 first=false", // a line of the ID's earlier message, read late
	)
}

func TestTrackRequeueOfMailNeverActive(t *testing.T) {
	r := newTold()
	r.read(`
		02:00:00 postfix/smtpd AAAAAA1: client=d[192.0.2.8]
		02:00:00 postfix/smtpd AAAAAA1: hold: RCPT from d[192.0.2.8]: <a@example.org>: Recipient address wait; from=<s@x> to=<a@example.org> proto=SMTP helo=<d>
		03:00:00 postfix/postsuper AAAAAA1: requeued
		03:00:00 postfix/pickup BBBBBB2: uid=102 from=<s@x> orig_id=AAAAAA1
		03:00:00 postfix/qmgr BBBBBB2: from=<s@x>, size=9, nrcpt=1 (queue active)`)
	r.want(t, "arrival 02:00:00 postfix/BBBBBB2 <s@x> d[192.0.2.8] 9 1")
}

func TestTrackProbesHaveNoOutcome(t *testing.T) {
	r := newTold()
	r.read(`02:00:00 postfix/smtp AAAAAA1: to=<a@example.org>, relay=mx[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=5.1.1, status=undeliverable (x)`)
	r.want(t)
}

func TestTrackerIsBounded(t *testing.T) {
	r := &Tracker{Max: 100, MaxRecipients: 3, MaxAge: time.Hour}
	var first int
	r.OnOutcome = func(o queue.Outcome) {
		if o.First {
			first++
		}
	}
	ev := Event{Instance: []byte("postfix"), Delay: time.Second}
	for i := range 5000 {
		ev.Kind, ev.Time, ev.QueueID = QueueActive, stampTime.Add(time.Duration(i)*time.Second), fmt.Appendf(nil, "%06X", i)
		r.Track(&ev)
		ev.Kind, ev.Status = Delivery, Deferred
		for k := range 5 {
			ev.To = fmt.Appendf(nil, "r%d@d%d.example", k, i)
			r.Track(&ev)
		}
	}
	if s := r.Stats(); s.Tracked != 100 || s.Recipients != 300 || s.Evicted != 4900 || s.Arrivals != 5000 || first != 15000 {
		t.Fatalf("%+v, first %d", s, first)
	}
	ev = Event{Kind: QueueActive, Instance: ev.Instance, QueueID: []byte("FFFFFF"), Time: stampTime.Add(48 * time.Hour)}
	for range 200 {
		r.Track(&ev)
	}
	if s := r.Stats(); s.Tracked != 1 || s.Aged != 99 && s.Aged != 100 {
		t.Fatalf("aged: %+v", s)
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	r := newTold()
	r.read(strings.Join(strings.SplitAfter(oneMessage, "\n")[:6], ""))
	var state bytes.Buffer
	r.Save(&state)
	for i := range state.Len() {
		for _, bad := range [][]byte{state.Bytes()[:i], append(append(bytes.Clone(state.Bytes()[:i]), state.Bytes()[i]^0x41), state.Bytes()[i+1:]...)} {
			known := newTold()
			known.read("02:00:00 postfix/smtpd CCCCCC1: client=d[192.0.2.8]")
			if err := known.Load(bytes.NewReader(bad)); err == nil || known.Stats().Tracked != 1 {
				t.Fatalf("byte %d: %v, %+v", i, err, known.Stats())
			}
		}
	}
}

func FuzzTracker(f *testing.F) {
	f.Add([]byte(oneMessage))
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08"))
	f.Fuzz(func(t *testing.T, script []byte) {
		r := &Tracker{Max: 8, MaxRecipients: 4, MaxAge: time.Hour}
		open := map[string]int{} // arrivals less ends of each ID
		var unseen int
		r.OnArrival = func(a queue.Arrival) { open[a.Instance+a.ID] = 1 }
		r.OnEnd = func(e queue.End) {
			if open[e.Instance+e.ID] == 0 {
				unseen++
			}
			open[e.Instance+e.ID] = 0
		}
		kinds := []Kind{Client, MessageID, QueueActive, Delivery, Removed, ExpiredLine, DeletedLine, Requeued, Pickup, HeldLine, Canceled, Delivery}
		now := stampTime
		for ; len(script) >= 3; script = script[3:] {
			a, b, c := script[0], script[1], script[2]
			now = now.Add(time.Duration(c&7) * time.Second * time.Duration(1+int(c>>3)*int(c>>3)))
			ev := Event{Kind: kinds[int(a)%len(kinds)], Time: now, Instance: []byte("postfix"), Path: []byte("smtp"), QueueID: fmt.Appendf(nil, "AAAA%02X", b&15),
				To: fmt.Appendf(nil, "r%d@x.test", b>>4), Size: int64(b >> 6), Status: Status(a>>4) % numStatuses, Delay: time.Duration(c) * time.Second}
			if a&16 != 0 {
				ev.OrigID = fmt.Appendf(nil, "AAAA%02X", c&15)
			}
			before := r.Stats()
			r.Track(&ev)
			s := r.Stats()
			if s.Tracked > 8 || s.Ended > 1 || s.Recipients > 8*recipientsPerMax+4 || s.Tracked+s.Ended != len(r.book) || s.Ends > s.Arrivals+uint64(unseen) {
				t.Fatalf("%+v, %d in the book", s, len(r.book))
			}
			r.Track(&ev) // the same line again
			if twice := r.Stats(); ev.Kind != Delivery && (twice.Arrivals != s.Arrivals || twice.Ends != s.Ends) {
				t.Fatalf("%v told twice: %+v, %+v, %+v", ev.Kind, before, s, twice)
			}
		}
		var one, two bytes.Buffer
		loaded := &Tracker{Max: 8, MaxRecipients: 4}
		if err := r.Save(&one); err != nil {
			t.Fatal(err)
		}
		if err := loaded.Load(bytes.NewReader(one.Bytes())); err != nil {
			t.Fatal(err)
		}
		if loaded.Save(&two); !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Fatal("saved, loaded and saved differs")
		}
	})
}

func FuzzTrackerLoad(f *testing.F) {
	r := newTold()
	r.read(oneMessage + "\n02:00:00 postfix/smtpd CCCCCC1: client=d[192.0.2.8]")
	var state bytes.Buffer
	r.Save(&state)
	f.Add(state.Bytes()[len(saveMagic) : state.Len()-4])
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		whole := append([]byte(saveMagic), body...)
		whole = binary.BigEndian.AppendUint32(whole, crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli)))
		r := newTold()
		r.Max = 16
		err := r.Load(bytes.NewReader(whole))
		if s := r.Stats(); s.Tracked > 16 || s.Ended > 2 || err != nil && s.Tracked+s.Ended != 0 || s.Tracked+s.Ended != len(r.book) {
			t.Fatalf("%v: %+v", err, s)
		}
		r.read(oneMessage) // whatever was loaded, it goes on
	})
}
