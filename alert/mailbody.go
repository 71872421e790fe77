package alert

import (
	"html"
	"strings"
	"unicode/utf8"
)

// mailText is the body for people who read mail as text.
func mailText(m message) string {
	var b strings.Builder
	b.WriteString(m.notice.Title + "\n")
	if m.notice.Text != "" {
		b.WriteString("\n" + m.notice.Text + "\n")
	}
	width := 0
	for _, f := range m.notice.Facts {
		width = max(width, utf8.RuneCountInString(f.Name))
	}
	for n, f := range m.notice.Facts {
		if n == 0 {
			b.WriteString("\n")
		}
		b.WriteString(f.Name + ":" + strings.Repeat(" ", width-utf8.RuneCountInString(f.Name)+1) + f.Value + "\n")
	}
	b.WriteString("\n-- \n" + footer(m) + "\n")
	return b.String()
}

// mailHTML is the same as a table. It holds no link, image or script.
func mailHTML(m message) string {
	esc := html.EscapeString
	var b strings.Builder
	b.WriteString(`<!DOCTYPE html><html><body style="font-family:sans-serif;font-size:14px">` + "\n")
	b.WriteString(`<h2 style="border-left:6px solid ` + colour(m) + `;padding-left:10px;font-size:17px">` + esc(m.notice.Title) + "</h2>\n")
	if m.notice.Text != "" {
		b.WriteString(`<p style="white-space:pre-wrap">` + esc(m.notice.Text) + "</p>\n")
	}
	if len(m.notice.Facts) > 0 {
		b.WriteString("<table>\n")
		for _, f := range m.notice.Facts {
			b.WriteString(`<tr><td style="color:#5f6368;padding-right:16px;vertical-align:top">` + esc(f.Name) + "</td><td>" + esc(f.Value) + "</td></tr>\n")
		}
		b.WriteString("</table>\n")
	}
	b.WriteString(`<p style="color:#5f6368">` + esc(footer(m)) + "</p>\n</body></html>\n")
	return b.String()
}

func footer(m message) string {
	s := stateWord(m) + " at " + stamp(m.notice.At)
	if !m.notice.At.Equal(m.first.At) {
		s += ", open since " + stamp(m.first.At)
	}
	s += "\nsparemx"
	if m.host != "" {
		s += " on " + m.host
	}
	return s + ", incident " + m.incident + " (" + m.notice.Key + ")"
}
