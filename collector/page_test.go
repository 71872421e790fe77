package collector

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// ofTheMoment are families whose value is another at each scrape: their numbers are taken out.
var ofTheMoment = regexp.MustCompile(`(?m)^(sparemx_queue_(?:oldest_message_age|expiry)_seconds\{.*\}) .*$`)

func sorted(text string) []string {
	return slices.Sorted(strings.Lines(ofTheMoment.ReplaceAllString(text, "$1 x")))
}

// ofRegistry is the text that client_golang makes of what its registry gathers, with all of its checks.
func ofRegistry(t *testing.T, c *Collector) string {
	t.Helper()
	families, err := c.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestTheTextIsThatOfTheRegistry(t *testing.T) {
	ps := []probes.Primary{{Name: "mx1", Domains: []string{"example.org", "example.net"}}, {Name: "odd\"\\\n", Domains: []string{"c.test"}}}
	c := full(ps)
	check := func(what string) {
		t.Helper()
		got, _ := text(t, c)
		if d := cmp.Diff(sorted(ofRegistry(t, c)), sorted(got)); d != "" {
			t.Fatalf("%s: registry -, ours +\n%s", what, d)
		}
	}
	check("at the start")
	for i := range 3000 {
		c.ObserveOutcome(outcomeOf(i))
	}
	for _, n := range []uint64{999_999, 1_000_000, 1_234_567, 1 << 60} { // from a million on a number has an exponent
		c.tally.connects[svcSMTPD] = n
		check(fmt.Sprint(n, " lines"))
	}
	feed(c, `postfix/pipe[1]: 4F1AB2C3: to=<a@example.org>, relay=dovecot, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (ok)`,
		`postfix/smtpd[1]: Anonymous TLS connection established from a[192.0.2.1]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)`)
	c.ObserveProbe("mx1", probes.Result{Verdict: probes.Good})
	check("new series")
	c.SetPrimaries(ps[:1])
	check("set again")
}

// TestOneTextForManyPages scrapes at the same time: a page serves one scrape.
func TestOneTextForManyPages(t *testing.T) {
	c := full(primaries("example.org"))
	first, _ := text(t, c)
	h := c.Handler()
	done := make(chan string)
	for range 6 {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			done <- w.Body.String()
		}()
	}
	for range 6 {
		if d := cmp.Diff(sorted(first), sorted(<-done)); d != "" {
			t.Fatal(d)
		}
	}
}

func TestPrimariesThatGoLeaveThePage(t *testing.T) {
	c := full(primaries("example.org"))
	text(t, c)
	c.SetPrimaries([]probes.Primary{{Name: "mx9", Domains: []string{"other.test"}}})
	body, _ := text(t, c)
	if strings.Contains(body, `domain="example.org"`) || strings.Contains(body, `primary="mx1"`) || !strings.Contains(body, `primary="mx9"`) {
		t.Error("the old ones are still shown, or the new one is not")
	}
}

func TestGzip(t *testing.T) {
	c := full(primaries("example.org"))
	plain, _ := text(t, c)
	h := c.Handler()
	for _, accept := range []string{"gzip", "deflate, gzip;q=0.5", "GZIP ; q=1"} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatalf("%s: %v", accept, err)
		}
		got, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(sorted(plain), sorted(string(got))); d != "" || w.Header().Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %s", accept, d)
		}
	}
	for _, accept := range []string{"", "identity", "gzip;q=0", "br"} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Encoding"); got != "" {
			t.Errorf("%q is answered in %s", accept, got)
		}
	}
}

func TestOneFamilyByName(t *testing.T) {
	c := full(primaries("example.org"))
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics?name[]=sparemx_blind", nil))
	if got := w.Body.String(); strings.Count(got, "# TYPE") != 1 || !strings.Contains(got, "\nsparemx_blind 0\n") {
		t.Error(got)
	}
}

func outcomeOf(i int) queue.Outcome {
	return queue.Outcome{
		Service: "postfix/smtp", Domain: []string{"example.org", "example.net", "else.test"}[i%3], Result: queue.Results()[i%4],
		Age: time.Duration(i) * 1234567 * time.Microsecond, Stages: [4]time.Duration{time.Duration(i) * time.Millisecond, 0, time.Duration(i), time.Hour},
	}
}
