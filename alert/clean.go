package alert

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes one line of at most max characters that is safe to show on a terminal, in a log and in a message: line ends, tabs and
// odd spaces become a space, and what does not print (control characters, escape sequences, direction overrides, zero-width
// characters) is written as an escape such as \x1b. Markup of a particular channel is not its business. Clean(Clean(s)) is Clean(s).
func Clean(s string, max int) string {
	return clean(s, max, false)
}

// CleanText is Clean that keeps line ends.
func CleanText(s string, max int) string {
	return strings.TrimRight(clean(strings.ReplaceAll(s, "\r\n", "\n"), max, true), "\n")
}

func clean(s string, max int, lines bool) string {
	if max <= 0 {
		return ""
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		piece := string(r)
		switch {
		case lines && r == '\n':
		case r == '\n', r == '\r', r == '\t', unicode.Is(unicode.Z, r):
			piece = " "
		case unicode.IsPrint(r):
		case r < 0x100:
			piece = fmt.Sprintf(`\x%02x`, r)
		case r < 0x10000:
			piece = fmt.Sprintf(`\u%04x`, r)
		default:
			piece = fmt.Sprintf(`\U%08x`, r)
		}
		b.WriteString(piece)
		if n += utf8.RuneCountInString(piece); n > max {
			return cut(b.String(), max)
		}
	}
	return b.String()
}

// cut returns s with at most max characters, the last of them "…" if something was cut.
func cut(s string, max int) string {
	if utf8.RuneCountInString(s) <= max {
		return s
	}
	n := 0
	for i := range s {
		if n == max-1 {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// ShortAddress is an address as it is shown by default: "alice@example.org" becomes "al…@example.org", the null sender "<>".
func ShortAddress(addr string) string {
	addr = Clean(strings.Trim(addr, "<>"), 320)
	if addr == "" {
		return "<>"
	}
	at := strings.LastIndexByte(addr, '@')
	local, domain := addr, ""
	if at >= 0 {
		local, domain = addr[:at], addr[at:]
	}
	keep := 2
	if utf8.RuneCountInString(local) <= 2 {
		keep = 1
	}
	runes := []rune(local)
	return string(runes[:min(keep, len(runes))]) + "…" + domain
}

// shorten replaces every address in a text by its short form. What looks like an address is enough: a word before an @ and a word after it.
func shorten(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	var b strings.Builder
	for {
		at := strings.IndexByte(s, '@')
		if at < 0 {
			return b.String() + s
		}
		start := at
		for start > 0 {
			r, size := utf8.DecodeLastRuneInString(s[:start])
			if !inLocal(r) {
				break
			}
			start -= size
		}
		if start == at && at > 0 && s[at-1] == '"' { // a quoted local part (RFC 5321 section 4.1.2)
			if open := strings.LastIndexByte(s[:at-1], '"'); open >= 0 {
				start = open
			}
		}
		end := at + 1
		for end < len(s) {
			r, size := utf8.DecodeRuneInString(s[end:])
			if !inDomain(r) {
				break
			}
			end += size
		}
		b.WriteString(s[:start])
		if start == at || end == at+1 {
			b.WriteString(s[start:end])
		} else {
			b.WriteString(ShortAddress(s[start:end]))
		}
		s = s[end:]
	}
}

// inLocal holds for what RFC 5322 section 3.2.3 calls atext, the dot, and all beyond ASCII (RFC 6531), but not for the ellipsis of
// an address that is short already.
func inLocal(r rune) bool {
	return r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r) || r < 0x80 && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

func inDomain(r rune) bool {
	return r == '.' || r == '-' || r == '[' || r == ']' || r == ':' || unicode.IsLetter(r) || unicode.IsDigit(r)
}
