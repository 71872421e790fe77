package alert

import (
	"strings"
	"time"

	"github.com/slack-go/slack"
)

// Limits of Slack (docs.slack.dev/reference/block-kit/blocks, and chat.postMessage on text), counted in characters after escaping.
const (
	slackHeader   = 150
	slackText     = 3000
	slackField    = 2000
	slackFields   = 10
	slackBlocks   = 50
	slackFallback = 3000
)

// slackLayout is a message as Slack shows it. What strangers may have written is only in plain_text objects, which know no links, mentions, channel names or
// formatting; the fallback, which notifications show, is escaped.
type slackLayout struct {
	fallback   string
	blocks     []slack.Block    // headline
	attachment slack.Attachment // the rest, beside a bar in the colour of the state
}

func layout(m message) slackLayout {
	state := stateWord(m)
	l := slackLayout{
		fallback: slackEscape(state+": "+m.notice.Title+firstLine(m.notice.Text), slackFallback),
		blocks:   []slack.Block{slack.NewHeaderBlock(plainText(m.notice.Title, slackHeader))},
	}
	var blocks []slack.Block
	if m.notice.Text != "" {
		blocks = append(blocks, slack.NewSectionBlock(plainText(m.notice.Text, slackText), nil, nil))
	}
	// Two columns, name and value: five facts in one section, since ten fields are the most it takes.
	for facts := m.notice.Facts; len(facts) > 0 && len(blocks) < slackBlocks-2; {
		n := min(len(facts), slackFields/2)
		var fields []*slack.TextBlockObject
		for _, f := range facts[:n] {
			fields = append(fields, nameText(f.Name), plainText(f.Value, slackField))
		}
		blocks = append(blocks, slack.NewSectionBlock(nil, fields, nil))
		facts = facts[n:]
	}
	context := state + " · " + stamp(m.notice.At)
	if !m.notice.At.Equal(m.first.At) {
		context += " · since " + stamp(m.first.At)
	}
	if m.host != "" {
		context += " · " + m.host
	}
	blocks = append(blocks, slack.NewContextBlock("", plainText(context, slackField)))
	l.attachment = slack.Attachment{Color: colour(m), Fallback: l.fallback, Blocks: slack.Blocks{BlockSet: blocks}}
	return l
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// stateWord says in words what the colour says.
func stateWord(m message) string {
	switch {
	case m.event == test:
		return "Test"
	case m.resolved:
		return "Resolved"
	case m.event == reopened:
		return title(m.worst.String()) + " again"
	case m.event == reminder:
		return title(m.worst.String()) + ", still open"
	}
	return title(m.worst.String())
}

func title(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func colour(m message) string {
	switch {
	case m.resolved:
		return "#2e7d32"
	case m.worst == Critical:
		return "#b3261e"
	case m.worst == Warning:
		return "#e09600"
	}
	return "#5f6368"
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if line == "" {
		return ""
	}
	return ". " + line
}

// plainText never is empty, which Slack refuses.
func plainText(s string, max int) *slack.TextBlockObject {
	if s == "" {
		s = "-"
	}
	return slack.NewTextBlockObject(slack.PlainTextType, slackEscape(s, max), false, false)
}

// nameText is the name of a fact, bold if it is made of nothing but letters, digits and harmless marks; else as plain as everything from outside.
func nameText(s string) *slack.TextBlockObject {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" /(),%'-", r))
	}) || strings.TrimSpace(s) != s {
		return plainText(s, slackField)
	}
	return slack.NewTextBlockObject(slack.MarkdownType, "*"+s+"*", false, true)
}

// slackEscape writes the three characters that Slack reads as control characters as entities (docs.slack.dev/messaging/formatting-message-text,
// "Escaping text"), and cuts so that what goes over the wire has at most max characters.
func slackEscape(s string, max int) string {
	var b strings.Builder
	n, fits := 0, 0 // characters written; bytes that leave room for the ellipsis
	for _, r := range s {
		piece := string(r)
		size := 1
		switch r {
		case '&':
			piece, size = "&amp;", 5
		case '<':
			piece, size = "&lt;", 4
		case '>':
			piece, size = "&gt;", 4
		}
		if n+size > max {
			return b.String()[:fits] + "…"
		}
		b.WriteString(piece)
		if n += size; n <= max-1 {
			fits = b.Len()
		}
	}
	return b.String()
}
