package alert

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"550 no\r\nsuch user":         "550 no  such user",
		"\x1b[31mred":                 `\x1b[31mred`,
		"a\u202eb\u200bc":             `a\u202eb\u200bc`,
		"\xff\xfe":                    "\ufffd\ufffd",
		"a\U000e0041":                 `a\U000e0041`,
		"long and longer and longest": "long and longer and l…",
	} {
		if got := Clean(in, 22); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestShortAddress(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.org": "al…@example.org", "<ab@example.org>": "a…@example.org", "": "<>", "<>": "<>", "root": "ro…",
		`"a@b"@example.org`: `"a…@example.org`,
	} {
		if got := ShortAddress(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"550 5.1.1 <bob@example.org>: user bob@example.org unknown": "550 5.1.1 <bo…@example.org>: user bo…@example.org unknown",
		"a @ b, @, x@":                         "a @ b, @, x@",
		"müller@example.org,carol@example.net": "mü…@example.org,ca…@example.net",
	} {
		if got := shorten(in); got != want || shorten(got) != want {
			t.Errorf("%q: %q, then %q; want %q", in, got, shorten(got), want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("550 5.1.1 <bob@example.org>: \x1b[0m<!channel> & \r\n\u202e", 40)
	f.Fuzz(func(t *testing.T, s string, max int) {
		max %= 5000
		one := Clean(s, max)
		if Clean(one, max) != one {
			t.Fatalf("not stable: %q", one)
		}
		for _, text := range []string{one, strings.ReplaceAll(CleanText(s, max), "\n", ""), ShortAddress(s), shorten(one)} {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q shows what does not print", text)
			}
		}
		if n := utf8.RuneCountInString(one); n > max && max >= 0 {
			t.Fatalf("%d characters, %d asked", n, max)
		}
		if limit := max%3000 + 10; limit > 0 {
			esc := slackEscape(s, limit)
			if utf8.RuneCountInString(esc) > limit || strings.ContainsAny(esc, "<>") {
				t.Fatalf("%q, limit %d", esc, limit)
			}
			rest := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(esc)
			if strings.Contains(rest, "&") {
				t.Fatalf("half an entity in %q", esc)
			}
		}
	})
}

func FuzzOutbox(f *testing.F) {
	f.Add([]byte(`{"schema":1,"incidents":[null,{"id":"a","first":{"kind":"loss"},"told":{"slack":null,"x":{}}}]}`))
	if data, err := os.ReadFile("testdata/outbox.json"); err == nil {
		f.Add(data)
	}
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decodeBook(data, now)
		if err != nil {
			return
		}
		size := 0
		for _, i := range b.incidents {
			size += i.size()
			for _, name := range Channels() {
				s := b.plan(i, name, &Filter{}, traits{updates: true, refresh: time.Minute}, time.Hour, now)
				if s.event != "" && s.event != test {
					i.message(name, "h", s, false, now)
				}
			}
		}
		if len(b.incidents) > maxNotices || size > maxBytes || len(b.ended) > maxEnded {
			t.Fatalf("%d incidents, %d bytes, %d ended", len(b.incidents), size, len(b.ended))
		}
		again, err := json.Marshal(savedBook{1, b.muted, b.incidents, b.ended})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeBook(again, now); err != nil {
			t.Fatal(err)
		}
	})
}
