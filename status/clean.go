package status

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text from strangers safe to show on one line: control characters (ESC among them), invisible ones and those that
// turn the direction of writing are written as escapes, line breaks as spaces, combining marks dropped, and it is cut at maxText characters.
// What it returns it leaves as it is.
func clean(s string) string { return cleanTo(s, maxText) }

// said is clean for sentences of our own, which may quote strangers: what to type comes last in them, and is not to be cut off.
func said(s string) string { return cleanTo(s, maxSaid) }

func cleanTo(s string, most int) string {
	plain := len(s) <= most
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	n := 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		var out string
		switch {
		case r == utf8.RuneError && size == 1:
			out = fmt.Sprintf(`\x%02x`, s[i])
		case r == '\n' || r == '\t' || r == '\r':
			out = " "
		case unicode.In(r, unicode.Mn, unicode.Me):
		case r == ' ' || unicode.IsPrint(r) && !unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			out = string(r)
		case r <= 0xff:
			out = fmt.Sprintf(`\x%02x`, r)
		default:
			out = fmt.Sprintf(`\u{%x}`, r)
		}
		i += size
		w := utf8.RuneCountInString(out)
		if n+w > most-3 && i < len(s) {
			b.WriteString("...")
			break
		}
		n += w
		b.WriteString(out)
	}
	return b.String()
}

// cells is how many columns of a terminal s takes; wide characters of East Asian scripts and pictographs take two.
func cells(s string) (n int) {
	for _, r := range s {
		n++
		if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
			r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd) {
			n++
		}
	}
	return n
}

// fit cuts s to width columns and fills it up.
func fit(s string, width int) string {
	return cut(s, width) + strings.Repeat(" ", max(0, width-cells(cut(s, width))))
}

// cut cuts s to width columns; what is cut shows.
func cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if cells(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if w := cells(string(r)); n+w > width-1 {
			return s[:i] + "~"
		} else {
			n += w
		}
	}
	return s
}

// wrap breaks s at spaces into lines of at most width columns, at most most of them.
func wrap(s string, width, most int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = word
		case cells(line)+1+cells(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	if lines = append(lines, line); len(lines) > most {
		lines[most-1] += " ..."
		lines = lines[:most]
	}
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	return lines
}
