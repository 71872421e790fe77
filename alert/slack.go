package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/slack-go/slack"
)

// slackHook posts to an incoming webhook: one message for each thing to tell, since a webhook's message cannot be changed.
type slackHook struct {
	config SlackConfig
	client *http.Client
}

func (*slackHook) name() string      { return "slack" }
func (s *slackHook) filter() *Filter { return &s.config.Filter }
func (*slackHook) traits() traits    { return traits{} }

func (s *slackHook) send(ctx context.Context, m message) (receipt, error) {
	target, err := readSecret(s.config.WebhookFile)
	if err == nil {
		err = checkURL(target, true)
	}
	if err != nil {
		return receipt{}, &trouble{what: Clean("alert.slack.webhook_file: "+err.Error(), 300)}
	}
	var red redactor
	red.hideURL(target)
	l := layout(m)
	no := false
	msg := slack.WebhookMessage{Text: l.fallback, UnfurlLinks: &no, UnfurlMedia: &no}
	if !m.plain {
		msg.Blocks, msg.Attachments = &slack.Blocks{BlockSet: l.blocks}, []slack.Attachment{l.attachment}
	}
	body, err := json.Marshal(msg)
	if err != nil {
		return receipt{}, &trouble{what: Clean(err.Error(), 300), refused: true}
	}
	// The library's own PostWebhook does not show the reason that Slack gives in the body ("invalid_blocks", "no_service").
	detail, err := ask(ctx, s.client, http.MethodPost, target, http.Header{"Content-Type": {"application/json"}}, body, &red)
	return receipt{detail: detail}, err
}

// slackBot keeps one message an incident by the Web API: chat.postMessage, then chat.update of the same message; an end, a reminder or worse news is
// also a reply in its thread that the channel sees, because a change of a message calls nobody.
type slackBot struct {
	config SlackConfig
	client *http.Client
}

func (*slackBot) name() string      { return "slack" }
func (s *slackBot) filter() *Filter { return &s.config.Filter }
func (*slackBot) traits() traits    { return traits{updates: true} }

func (s *slackBot) send(ctx context.Context, m message) (receipt, error) {
	token, err := readSecret(s.config.TokenFile)
	if err != nil {
		return receipt{ref: m.ref}, &trouble{what: Clean("alert.slack.token_file: "+err.Error(), 300)}
	}
	var red redactor
	red.hide(token)
	base := slack.APIURL
	if s.config.API != "" {
		base = strings.TrimSuffix(s.config.API, "/") + "/"
	}
	api := slack.New(token, slack.OptionHTTPClient(s.client), slack.OptionAPIURL(base))

	l := layout(m)
	show := []slack.MsgOption{slack.MsgOptionText(l.fallback, false), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl()}
	if m.plain {
		show = append(show, slack.MsgOptionDisableMarkdown())
	} else {
		show = append(show, slack.MsgOptionBlocks(l.blocks...), slack.MsgOptionAttachments(l.attachment))
	}
	ref := parseSlackRef(m.ref)
	if ref.ts == "" {
		return s.post(ctx, api, m, show, &red)
	}
	if ref.shown != m.id { // the message itself, unless an attempt before this one came so far
		_, _, _, err = api.UpdateMessageContext(ctx, ref.channel, ref.ts, show...)
		if tr := slackTrouble(err, &red); tr != nil {
			if tr.gone {
				return s.post(ctx, api, m, show, &red)
			}
			return receipt{ref: m.ref}, tr
		}
		ref.shown = m.id
	}
	if m.event == update {
		return receipt{ref: ref.String(), detail: "updated " + ref.ts}, nil
	}
	reply := []slack.MsgOption{slack.MsgOptionText(l.fallback, false), slack.MsgOptionTS(ref.ts), slack.MsgOptionBroadcast(),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl(), slack.MsgOptionDisableMarkdown()}
	_, ts, err := api.PostMessageContext(ctx, ref.channel, reply...)
	if tr := slackTrouble(err, &red); tr != nil {
		return receipt{ref: ref.String()}, tr
	}
	return receipt{ref: ref.String(), detail: "updated " + ref.ts + ", replied " + Clean(ts, 40)}, nil
}

func (s *slackBot) post(ctx context.Context, api *slack.Client, m message, show []slack.MsgOption, red *redactor) (receipt, error) {
	channel, ts, err := api.PostMessageContext(ctx, s.config.Channel, show...)
	if tr := slackTrouble(err, red); tr != nil {
		return receipt{}, tr
	}
	ref := slackRef{Clean(channel, 40), Clean(ts, 40), m.id}
	if ref.channel == "" || ref.ts == "" || strings.ContainsRune(ref.channel+ref.ts, ' ') {
		return receipt{detail: "posted; the answer names no message"}, nil
	}
	return receipt{ref: ref.String(), detail: "posted " + ref.ts}, nil
}

// slackRef names the message of an incident and the news it shows.
type slackRef struct{ channel, ts, shown string }

func (r slackRef) String() string { return r.channel + " " + r.ts + " " + r.shown }

func parseSlackRef(s string) slackRef {
	f := strings.Split(s, " ")
	if len(f) != 3 {
		return slackRef{}
	}
	return slackRef{f[0], f[1], f[2]}
}

// slackTrouble sorts the errors of Slack's Web API (docs.slack.dev/reference/methods/chat.postMessage, chat.update, "Errors").
func slackTrouble(err error, red *redactor) *trouble {
	if err == nil {
		return nil
	}
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var answer slack.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		return &trouble{what: fmt.Sprintf("Slack asks to wait %s", limited.RetryAfter), after: min(max(limited.RetryAfter, 0), maxPatience)}
	case errors.As(err, &status):
		return &trouble{what: "Slack answered " + red.text(status.Status), refused: refusal(status.Code)}
	case errors.As(err, &answer):
		t := &trouble{what: "Slack answered " + red.text(answer.Err)}
		switch answer.Err {
		case "message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found", "cannot_reply_to_message":
			t.gone = true
		case "invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_too_long", "msg_blocks_too_long", "no_text", "invalid_arguments", "too_many_attachments":
			t.refused = true
		case "not_in_channel", "channel_not_found":
			t.what += ": invite the bot to the channel (/invite @name), and check alert.slack.channel"
		case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired":
			t.what += ": write a valid bot token into the file of alert.slack.token_file"
		case "missing_scope":
			t.what += ": give the bot the scope chat:write"
		}
		return t
	}
	return &trouble{what: "Slack: " + red.error(err)}
}
