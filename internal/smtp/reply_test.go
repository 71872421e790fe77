package smtp

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in, want string
		lines    int
	}{
		{"220 mx.test ESMTP\r\n", "220 mx.test ESMTP", 1},
		{"250\r\n", "250", 1},
		{"250 ok\n", "250 ok", 1},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", "550 5.1.1 no such user", 2},
		{"550 4.1.1 wrong class\r\n", "550 4.1.1 wrong class", 1},
		{"450 4.7.1\r\n", "450 4.7.1", 1},
		{"250-a\r\n251 b\r\n", "251 a b", 2},
		{"250 \x1b[31m\xff\r\n", "250  [31m?", 1},
		{"250 " + strings.Repeat("x", 5000) + "\r\n", "250 " + strings.Repeat("x", 300) + "...", 1},
	} {
		r, err := readReply(bufio.NewReader(strings.NewReader(c.in)))
		if err != nil || strings.ReplaceAll(r.String(), "  ", " ") != strings.ReplaceAll(c.want, "  ", " ") || len(r.Lines) != c.lines {
			t.Errorf("%.60q: got %q, %v; want %q", c.in, r, err, c.want)
		}
	}
	for _, in := range []string{"", "\r\n", "25\r\n", "250x\r\n", "abc def\r\n", "000 x\r\n", "150 x\r\n", "600 x\r\n", "250 cut", "250-a\r\n", "250-a\r\n\r\n250 b\r\n", strings.Repeat("250-a\r\n", 1000),
		strings.Repeat("9", 1<<20)} {
		if r, err := readReply(bufio.NewReader(strings.NewReader(in))); err == nil {
			t.Errorf("%.40q: got %v, want an error", in, r)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("250-mx.test\r\n250 SIZE 100\r\nrest"))
	f.Add([]byte("550 5.1.1 no\n"))
	f.Add([]byte("421-\x00\xff\r\r\n421 \r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := readReply(bufio.NewReader(bytes.NewReader(in)))
		slow, slowErr := readReply(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(in)), 16))
		if (err == nil) != (slowErr == nil) || r.String() != slow.String() {
			t.Fatalf("depends on how it is cut: %v %v, %v %v", r, err, slow, slowErr)
		}
		if err != nil {
			if r.Code != 0 {
				t.Fatalf("%v beside %v", r, err)
			}
			return
		}
		if r.Code < 200 || r.Code > 599 || len(r.Lines) < 1 || len(r.Lines) > maxReplyLines {
			t.Fatalf("%+v", r)
		}
		for _, l := range r.Lines {
			if len(l) > maxLine || strings.Contains(l, "\n") {
				t.Fatalf("line %q", l)
			}
		}
		if r.Enhanced != "" && (r.Enhanced[0] != byte('0'+r.Code/100)) {
			t.Fatalf("%d with %s", r.Code, r.Enhanced)
		}
		s := r.String()
		if len(s) > 330 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("shown as %q", s)
		}
	})
}

// FuzzCommand: what is accepted as a path and parameter is one line, in which the first > outside quotes ends the address.
func FuzzCommand(f *testing.F) {
	f.Add("a@b", "SIZE=1")
	f.Add(`"x> y"@b`, "A")
	f.Add("a@b>\r\nDATA", "=")
	f.Fuzz(func(t *testing.T, address, param string) {
		line, err := pathCommand(StepMAIL, "MAIL FROM:<", address, []string{param})
		if err != nil {
			return
		}
		if strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("%q", line)
		}
		quoted, rest := false, line[len("MAIL FROM:<"):]
		for i := 0; i < len(rest); i++ {
			switch {
			case quoted && rest[i] == '\\':
				i++
			case rest[i] == '"':
				quoted = !quoted
			case rest[i] == '>' && !quoted:
				if rest[:i] != address || rest[i:] != "> "+param || strings.Contains(param, " ") {
					t.Fatalf("%q %q became %q", address, param, line)
				}
				return
			}
		}
		t.Fatalf("%q has no end", line)
	})
}
