package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a reply. RFC 5321 section 4.5.3.1.5 gives a line 512 octets; servers exceed it with URLs and error reports, so more is read
// (Postfix's line_length_limit is 2048), what exceeds a line's bound is dropped, and what exceeds a reply's bound ends the conversation.
const (
	maxLine       = 2048      // octets kept of a line's text
	maxReplyLines = 128       // lines of a reply
	maxReplyBytes = 64 * 1024 // octets of a reply, those dropped too
)

// Reply is what the server said. Its text comes from strangers: raw, possibly not UTF-8, to be cleaned where it is shown; [Reply.String] does.
type Reply struct {
	Code     int      // 200 to 599; 0: none
	Enhanced string   // "5.1.1" (RFC 3463) when the text begins with one of the code's class, else ""
	Lines    []string // text after the code of each line, the enhanced code left in
}

// Positive tells whether the server agreed: 2yz, or 3yz to DATA.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Text is the whole text in one line, without the enhanced codes. It is raw.
func (r Reply) Text() string {
	parts := make([]string, 0, len(r.Lines))
	for _, l := range r.Lines {
		if r.Enhanced != "" {
			l = strings.TrimPrefix(l, r.Enhanced)
		}
		if l = strings.TrimSpace(l); l != "" {
			parts = append(parts, l)
		}
	}
	return strings.Join(parts, " ")
}

// String is the reply in one line for people: printable, at most 300 octets of text.
func (r Reply) String() string {
	if r.Code == 0 {
		return "no reply"
	}
	s := fmt.Sprint(r.Code)
	if r.Enhanced != "" {
		s += " " + r.Enhanced
	}
	if text := Clean(r.Text(), 300); text != "" {
		s += " " + text
	}
	return s
}

// Clean makes a stranger's text fit to show in a line: control and unprintable characters become a space or "?", and what exceeds limit
// octets becomes "...".
func Clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ':
			return ' '
		case r == 0x7f, r == 0xfffd, r >= 0x80 && r < 0xa0, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '?' // bidirectional overrides change how the rest of a line reads
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// errMalformed is wrapped by what the server sends that is no reply.
var errMalformed = errors.New("not an SMTP reply")

// readReply reads one reply. Lines may end in a bare LF and the last line's code counts, as in Postfix (smtp_chat.c, smtp_chat_resp): a
// sloppy server takes mail too. It reads no octet beyond the reply's end but what r buffers.
func readReply(r *bufio.Reader) (Reply, error) {
	var rep Reply
	left := maxReplyBytes
	for {
		line, err := readLine(r, &left)
		if err != nil {
			return Reply{}, err
		}
		if len(rep.Lines) == maxReplyLines {
			return Reply{}, fmt.Errorf("%w: more than %d lines", errMalformed, maxReplyLines)
		}
		if len(line) < 3 || !isDigit(line[0]) || !isDigit(line[1]) || !isDigit(line[2]) || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return Reply{}, fmt.Errorf("%w: %q", errMalformed, Clean(line, 80))
		}
		code := int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
		if code < 200 || code > 599 {
			return Reply{}, fmt.Errorf("%w: code %d", errMalformed, code)
		}
		rep.Code = code
		rep.Lines = append(rep.Lines, strings.TrimRight(line[min(4, len(line)):], "\r"))
		if len(line) == 3 || line[3] == ' ' {
			rep.Enhanced = enhanced(rep.Lines[len(rep.Lines)-1], line[0])
			return rep, nil
		}
	}
}

// readLine reads to LF, keeps at most maxLine octets, and takes all it read from *left.
func readLine(r *bufio.Reader, left *int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", fmt.Errorf("%w: longer than %d octets", errMalformed, maxReplyBytes)
		}
		if keep := maxLine - len(line); keep > 0 {
			line = append(line, part[:min(keep, len(part))]...)
		}
		switch {
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case err == io.EOF && (len(part) > 0 || len(line) > 0):
			return "", io.ErrUnexpectedEOF
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}

// enhanced returns the status code text begins with, if it is of the same class (RFC 2034 section 4).
func enhanced(text string, class byte) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) < 5 || len(word) > 9 || word[0] != class || word[1] != '.' {
		return ""
	}
	subject, detail, ok := strings.Cut(word[2:], ".")
	if !ok || !isNumber(subject) || !isNumber(detail) {
		return ""
	}
	return word
}

func isNumber(s string) bool {
	if len(s) < 1 || len(s) > 3 {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
