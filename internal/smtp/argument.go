package smtp

import (
	"errors"
	"strings"
	"unicode/utf8"
)

func argument(step Step, text string) *Error {
	return &Error{Step: step, Kind: Argument, Err: errors.New(text)}
}

// checkWord refuses what is not one printable word: it goes after EHLO.
func checkWord(step Step, s string) error {
	if s == "" || len(s) > 255 {
		return argument(step, "a name of 1 to 255 octets is needed")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return argument(step, "a space, control or non-ASCII character in a name")
		}
	}
	return nil
}

// checkPath refuses an address that would end its <> early or hold a control character: outside a quoted string no space, angle bracket or
// quote; inside one, each quote and backslash escaped (RFC 5321 section 4.1.2). It does not judge whether the address makes sense.
func checkPath(step Step, s string) error {
	if len(s) > 1024 || !utf8.ValidString(s) {
		return argument(step, "an address of at most 1024 octets in UTF-8 is needed")
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return argument(step, "a control character in an address")
		case quoted && c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return argument(step, "a broken escape in an address")
			}
		case c == '"':
			if !quoted && i != 0 || quoted && (i+1 == len(s) || s[i+1] != '@') {
				return argument(step, "a quote inside an address")
			}
			quoted = !quoted
		case !quoted && (c == ' ' || c == '<' || c == '>' || c == '\\'):
			return argument(step, "a space, angle bracket or backslash in an address")
		}
	}
	if quoted {
		return argument(step, "an open quote in an address")
	}
	return nil
}

// checkParam refuses what is not "KEYWORD" or "KEYWORD=value" (RFC 5321 section 4.1.2, esmtp-param; RFC 6531 section 3.3 for UTF-8).
func checkParam(step Step, s string) error {
	keyword, value, has := strings.Cut(s, "=")
	bad := keyword == "" || has && value == "" || !utf8.ValidString(value)
	for i := range len(keyword) {
		c := keyword[i]
		bad = bad || !(isDigit(c) || c == '-' && i > 0 || c|0x20 >= 'a' && c|0x20 <= 'z')
	}
	for i := range len(value) {
		c := value[i]
		bad = bad || c <= ' ' || c == '=' || c == 0x7f
	}
	if bad {
		return argument(step, "a parameter that is not KEYWORD or KEYWORD=value")
	}
	return nil
}

// Xtext encodes a value (RFC 3461 section 4); XCLIENT, XFORWARD, ORCPT and ENVID use it.
func Xtext(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.Write([]byte{'+', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
