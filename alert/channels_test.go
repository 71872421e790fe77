package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert/alerttest"
)

func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func alerts(t *testing.T, c Config, dir string) *Alerts {
	t.Helper()
	if err := c.Check([]string{"example.org"}, "mx1.example.org"); err != nil {
		t.Fatal(err)
	}
	a, err := New(c, dir, "mx2.example.net")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var began = time.Date(2026, 3, 2, 14, 3, 7, 0, time.UTC)

func primaryDown() Notice {
	return Notice{
		Kind: PrimaryDown, Key: "primary_down/mx1.example.org", Severity: Critical, At: began,
		Title: "mx1.example.org takes no mail",
		Text:  "Mail for example.org and example.net is held here until it does. Nothing is lost; the oldest message would bounce on 23 March.",
		Facts: []Fact{
			{"Since", "2026-03-02 14:03:07 UTC"}, {"Failing at", "connect"}, {"Reason", "dial tcp 192.0.2.25:25: connection refused"},
			{"Domains", "example.org, example.net"}, {"Held", "0 messages"}, {"Last good", "2026-03-02 14:02:41 UTC"},
		},
		Labels: map[string]string{"primary": "mx1.example.org"},
	}
}

func recovered() Notice {
	return Notice{
		Kind: Recovered, Key: "primary_down/mx1.example.org", Resolved: true, At: began.Add(2*time.Hour + 11*time.Minute),
		Title: "mx1.example.org takes mail again; all 412 messages delivered",
		Text:  "Down for 2h 9m. The queue was empty 1m 32s after it came back.",
		Facts: []Fact{
			{"From", "2026-03-02 14:03:07 UTC"}, {"To", "2026-03-02 16:12:35 UTC"}, {"Detected after", "6s"}, {"Accepted", "413"},
			{"Delivered", "412"}, {"Bounced", "1: 4WQ2xk0Zb1z3Fr5 to <bob@example.org>: 550 5.1.1 User unknown"}, {"Still held", "0"},
			{"Delay p50 / p95 / max", "1h 4m / 2h 1m / 2h 9m"}, {"First delivery after", "2.1s"}, {"Time to empty", "1m 32s"},
			{"On Postfix's own timers", "67m"},
		},
		Labels: map[string]string{"primary": "mx1.example.org"},
	}
}

func TestSlackWebhook(t *testing.T) {
	s := alerttest.NewSlack(t)
	a := alerts(t, Config{Slack: &SlackConfig{WebhookFile: secretFile(t, s.Webhook)}}, "")
	run(t, a)
	s.Answer(alerttest.Reply{Status: 500, Body: "oops"}) // and it comes a second later all the same
	a.Notify(primaryDown())
	s.Wait(t, 2)
	a.Notify(recovered())
	s.Wait(t, 3)
	calls := s.Calls()
	down, up := calls[1], calls[2]
	if down.Blocks[0].Text.Text != "mx1.example.org takes no mail" || down.Attachments[0].Color != "#b3261e" {
		t.Fatalf("%+v", down)
	}
	if up.Attachments[0].Color != "#2e7d32" || !strings.HasPrefix(up.Text, "Resolved: mx1.example.org takes mail again") {
		t.Fatalf("%+v", up)
	}
	if name := up.Attachments[0].Blocks[2].Fields[0]; name.Type != "mrkdwn" || name.Text != "*Bounced*" {
		t.Fatalf("%+v", name)
	}
	if got := up.Attachments[0].Blocks[2].Fields[1].Text; got != "1: 4WQ2xk0Zb1z3Fr5 to &lt;bo…@example.org&gt;: 550 5.1.1 User unknown" {
		t.Fatalf("the bounced fact reads %q", got)
	}
}

func TestSlackBotKeepsOneMessageOverARestart(t *testing.T) {
	s := alerttest.NewSlack(t)
	dir := t.TempDir()
	c := Config{Slack: &SlackConfig{TokenFile: secretFile(t, "xoxb-very-secret-token"), Channel: "#mail", API: s.API}}
	a := alerts(t, c, dir)
	stop := run(t, a)
	a.Notify(primaryDown())
	s.Wait(t, 1)
	stop()

	a = alerts(t, c, dir)
	run(t, a)
	a.Notify(recovered())
	s.Wait(t, 3)
	calls := s.Calls()
	post, change, reply := calls[0], calls[1], calls[2]
	if post.Method != "chat.postMessage" || post.Channel != "#mail" || post.Token != "xoxb-very-secret-token" {
		t.Fatalf("first call %+v", post)
	}
	if change.Method != "chat.update" || change.TS != "1700000000.000001" || change.Channel != "C0123456789" || change.Attachments[0].Color != "#2e7d32" {
		t.Fatalf("second call %+v", change)
	}
	if reply.Method != "chat.postMessage" || reply.ThreadTS != change.TS || !reply.Broadcast || len(reply.Blocks) != 0 {
		t.Fatalf("third call %+v", reply)
	}
}

func TestSlackBotPostsAgainWhenTheMessageIsGone(t *testing.T) {
	s := alerttest.NewSlack(t)
	bot := &slackBot{config: SlackConfig{TokenFile: secretFile(t, "xoxb-token"), Channel: "C1", API: s.API}, client: http.DefaultClient}
	i := newIncident(bound(primaryDown(), began), began)
	m := i.message("slack", "h", step{event: resolved}, false, began)
	m.ref = "C0123456789 1700000000.000099 x"
	r, err := bot.send(t.Context(), m)
	if err != nil || !strings.HasPrefix(r.ref, "C0123456789 1700000000.000001 ") {
		t.Fatal(r, err)
	}
}

func TestSlackBotDoesNotUpdateTwiceWhenOnlyTheReplyFailed(t *testing.T) {
	s := alerttest.NewSlack(t)
	a := alerts(t, Config{Slack: &SlackConfig{TokenFile: secretFile(t, "xoxb-token"), Channel: "C1", API: s.API}}, "")
	run(t, a)
	a.Notify(primaryDown())
	s.Wait(t, 1)
	s.Answer(alerttest.Reply{Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"ok":true,"channel":"C0123456789","ts":"1700000000.000001"}`},
		alerttest.Reply{Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	a.Notify(recovered())
	s.Wait(t, 4)
	var methods []string
	for _, c := range s.Calls() {
		methods = append(methods, c.Method)
	}
	if got := strings.Join(methods, " "); got != "chat.postMessage chat.update chat.postMessage chat.postMessage" {
		t.Fatal(got)
	}
}

const hostile = "<!channel> <!here> @here <@U123> <https://evil.example.com|click> *b* _i_ `c` &lt;!everyone&gt; \x1b[31m\u202e \r\nBcc: victim@example.com\r\n.\r\n"

func hostileNotice(n int) Notice {
	text := strings.Repeat(hostile, n)
	notice := Notice{Kind: Stuck, Key: "stuck/" + text, Severity: Warning, Title: text, Text: text, Labels: map[string]string{"primary": text, "a b": "x"}}
	for range 50 {
		notice.Facts = append(notice.Facts, Fact{text, text})
	}
	return notice
}

func TestHostileTextInSlack(t *testing.T) {
	for _, n := range []int{1, 200} {
		s := alerttest.NewSlack(t) // refuses what is outside Slack's limits
		a := alerts(t, Config{Slack: &SlackConfig{WebhookFile: secretFile(t, s.Webhook)}}, "")
		run(t, a)
		a.Notify(hostileNotice(n))
		s.Wait(t, 1)
		c := s.Calls()[0]
		if len(c.Blocks) == 0 {
			t.Fatal("no blocks")
		}
		var all []*alerttest.SlackText
		for _, b := range append(c.Blocks, c.Attachments[0].Blocks...) {
			if b.Text != nil {
				all = append(all, b.Text)
			}
			all = append(append(all, b.Fields...), b.Elements...)
		}
		for _, text := range append(all, &alerttest.SlackText{Type: "plain_text", Text: c.Text}, &alerttest.SlackText{Type: "plain_text", Text: c.Attachments[0].Fallback}) {
			if text.Type != "plain_text" || strings.ContainsAny(text.Text, "<>\x1b\u202e") {
				t.Fatalf("%s %q", text.Type, text.Text)
			}
		}
		waitFor(t, func() bool { return a.Status().Channels[0].Sent[Stuck] == 1 })
		if e := a.Status().Channels[0].LastError; e != "" {
			t.Fatal(e)
		}
	}
}

func TestHostileTextInEmail(t *testing.T) {
	s := alerttest.NewSMTP(t, false)
	a := alerts(t, emailConfig(t, s), "")
	run(t, a)
	a.Notify(hostileNotice(20))
	m := s.Wait(t, 1)[0]
	msg, err := mail.ReadMessage(strings.NewReader(m.Data))
	if err != nil {
		t.Fatal(err)
	}
	if len(msg.Header["Bcc"]) > 0 || len(m.To) != 1 {
		t.Fatalf("a header was injected: %v", msg.Header)
	}
	for line := range strings.SplitSeq(m.Data, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\x1b\n\r") {
			t.Fatalf("line of %d bytes: %q", len(line), line)
		}
	}
	_, html := bodies(t, m.Data)
	if strings.Contains(html, "<!") && strings.Count(html, "<!") > 1 || strings.Contains(html, "<https") || strings.Contains(html, "href") {
		t.Fatal(html)
	}
}

func emailConfig(t *testing.T, s *alerttest.SMTP) Config {
	return Config{Email: &EmailConfig{Smarthost: s.Addr, From: "sparemx@mx2.example.net", To: []string{"ops@example.com"},
		User: "relay", PasswordFile: secretFile(t, "mail-password-7"), CA: s.CA}}
}

func bodies(t *testing.T, data string) (text, html string) {
	t.Helper()
	msg, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			return text, html
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
			text = strings.ReplaceAll(string(body), "\r\n", "\n")
		} else {
			html = string(body)
		}
	}
}

func TestEmail(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		s := alerttest.NewSMTP(t, implicit)
		c := emailConfig(t, s)
		if implicit {
			c.Email.TLS = "tls"
		}
		a := alerts(t, c, "")
		stop := run(t, a)
		a.Notify(primaryDown())
		s.Wait(t, 1)
		a.Notify(recovered())
		mails := s.Wait(t, 2)
		stop()
		var heads []mail.Header
		for _, m := range mails {
			if m.From != "sparemx@mx2.example.net" || len(m.To) != 1 || m.To[0] != "ops@example.com" || !m.TLS || m.Auth != "relay:mail-password-7" {
				t.Fatalf("envelope %+v", m)
			}
			msg, err := mail.ReadMessage(strings.NewReader(m.Data))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := msg.Header.Date(); err != nil || msg.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Fatalf("headers %v, %v", msg.Header, err)
			}
			heads = append(heads, msg.Header)
		}
		if heads[0].Get("Message-Id") == "" || heads[1].Get("References") != heads[0].Get("Message-Id") || heads[1].Get("Message-Id") == heads[0].Get("Message-Id") {
			t.Fatalf("threading: %v, %v", heads[0], heads[1])
		}
		if heads[0].Get("Subject") != "[Critical] mx1.example.org takes no mail" {
			t.Fatal(heads[0].Get("Subject"))
		}
		text, html := bodies(t, mails[1].Data)
		if !strings.Contains(text, "Delivered:               412\n") || !strings.Contains(text, "to <bo…@example.org>: 550") || !strings.Contains(html, "&lt;bo…@example.org&gt;") {
			t.Fatalf("%s\n%s", text, html)
		}
	}
}

func TestEmailOneRefusedRecipientDoesNotSilenceTheOthers(t *testing.T) {
	s := alerttest.NewSMTP(t, false)
	s.Reply = func(verb, line string) string {
		if verb == "RCPT" && strings.Contains(line, "gone@") {
			return "550 5.1.1 no such user"
		}
		return ""
	}
	c := emailConfig(t, s)
	c.Email.To = []string{"gone@example.com", "ops@example.com"}
	a := alerts(t, c, "")
	run(t, a)
	a.Notify(primaryDown())
	s.Wait(t, 1)
	waitFor(t, func() bool { return a.Status().Channels[0].Sent[PrimaryDown] == 1 })
	if e := a.Status().Channels[0].LastError; !strings.Contains(e, "5.1.1 no such user") {
		t.Fatalf("the warning reads %q", e)
	}
}

func TestEmailIsNotSentTwiceToWhoHasIt(t *testing.T) {
	s := alerttest.NewSMTP(t, false)
	n := 0
	s.Reply = func(verb, line string) string {
		if verb == "RCPT" && strings.Contains(line, "later@") {
			if n++; n == 1 {
				return "450 4.2.0 greylisted"
			}
		}
		return ""
	}
	c := emailConfig(t, s)
	c.Email.To = []string{"ops@example.com", "later@example.com"}
	a := alerts(t, c, "")
	run(t, a)
	a.Notify(primaryDown())
	mails := s.Wait(t, 2)
	if mails[0].To[0] != "ops@example.com" || mails[1].To[0] != "later@example.com" {
		t.Fatalf("%v", mails)
	}
	waitFor(t, func() bool { return a.Status().Channels[0].Sent[PrimaryDown] == 1 })
	if n := len(s.Mails()); n != 2 {
		t.Fatalf("%d mails", n)
	}
}

// waitFor polls what has no event of its own.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it did not come so")
		}
	}
}

func TestWebhook(t *testing.T) {
	s := alerttest.NewWebhook(t)
	a := alerts(t, Config{Webhook: &WebhookConfig{URL: s.URL + "/hook", SecretFile: secretFile(t, "sign-me"), TokenFile: secretFile(t, "tok-en-1"),
		Headers: map[string]string{"X-Team": "mail"}}}, "")
	run(t, a)
	a.Notify(primaryDown())
	s.Wait(t, 1)
	s.Answer(alerttest.Reply{Status: 503, Header: http.Header{"Retry-After": {"1"}}})
	a.Notify(recovered())
	reqs := s.Wait(t, 3)
	var p []Payload
	for _, r := range reqs {
		mac := hmac.New(sha256.New, []byte("sign-me"))
		mac.Write(r.Body)
		if r.Header.Get(SignatureHeader) != "sha256="+hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("Authorization") != "Bearer tok-en-1" || r.Header.Get("X-Team") != "mail" {
			t.Fatalf("headers %v", r.Header)
		}
		var one Payload
		if err := json.Unmarshal(r.Body, &one); err != nil || one.ID != r.Header.Get("Idempotency-Key") {
			t.Fatal(err, string(r.Body))
		}
		p = append(p, one)
	}
	if p[0].Schema != 1 || p[0].Event != "opened" || p[0].Severity != Critical || p[0].Labels["primary"] != "mx1.example.org" || p[0].Host != "mx2.example.net" {
		t.Fatalf("%+v", p[0])
	}
	if p[2].Event != "resolved" || p[2].Incident != p[0].Incident || !p[2].Opened.Equal(began) || p[1].ID != p[2].ID || p[2].ID == p[0].ID {
		t.Fatalf("%+v", p[1:])
	}
}

func TestAlertmanagerShape(t *testing.T) {
	good, dead := alerttest.NewAlertmanager(t), alerttest.NewAlertmanager(t)
	dead.Answer(alerttest.Reply{Status: 500}, alerttest.Reply{Status: 500})
	a := alerts(t, Config{Alertmanager: &AlertmanagerConfig{URLs: []string{dead.URL + "/", good.URL}, User: "u", PasswordFile: secretFile(t, "am-password")}}, "")
	run(t, a)
	a.Notify(primaryDown())
	good.Wait(t, 1)
	waitFor(t, func() bool { return a.Status().Channels[0].Sent[PrimaryDown] == 1 })
	if e := a.Status().Channels[0].LastError; !strings.Contains(e, "not told to all") || !strings.Contains(e, "500") {
		t.Fatalf("%q", e)
	}
	a.Notify(recovered())
	reqs := good.Wait(t, 2)
	var sets [2][]amAlert
	for i := range sets {
		if err := json.Unmarshal(reqs[i].Body, &sets[i]); err != nil {
			t.Fatal(err)
		}
		if user, pass, _ := (&http.Request{Header: reqs[i].Header}).BasicAuth(); user != "u" || pass != "am-password" {
			t.Fatal(user, pass)
		}
	}
	open, end := sets[0][0], sets[1][0]
	if got := fmt.Sprint(open.Labels); got != "map[alertname:SparemxPrimaryDown instance:mx2.example.net primary:mx1.example.org severity:critical]" || fmt.Sprint(end.Labels) != got {
		t.Fatal(open.Labels, end.Labels)
	}
	if !open.EndsAt.After(time.Now()) || end.EndsAt.After(time.Now()) || !open.StartsAt.Equal(began) {
		t.Fatal(open, end)
	}
}

func TestAlertmanagerEndsTheAlertOfTheOldSeverity(t *testing.T) {
	i := newIncident(bound(Notice{Kind: Age, Key: "age/a", Severity: Warning, Title: "75%"}, began), began)
	i.told("alertmanager").Severity = Warning
	i.Worst = Critical
	got := amAlerts(i.message("alertmanager", "h", step{event: raised}, false, began.Add(time.Hour)))
	if len(got) != 2 || got[0].Labels["severity"] != "critical" || got[1].Labels["severity"] != "warning" || got[1].EndsAt.After(began.Add(time.Hour)) {
		t.Fatalf("%+v", got)
	}
}

func TestHeartbeatOnlyWhileWell(t *testing.T) {
	s := alerttest.NewWebhook(t)
	a := alerts(t, Config{Heartbeat: &HeartbeatConfig{URLFile: secretFile(t, s.URL+"/ping/heart-secret"), Every: Duration(time.Second), Method: "POST"}}, "")
	well := make(chan bool, 10)
	for _, w := range []bool{false, true, false} {
		well <- w
	}
	asked := 0
	done := make(chan struct{})
	a.Well = func() bool {
		if asked++; asked == 4 {
			close(done)
		}
		select {
		case w := <-well:
			return w
		default:
			return false
		}
	}
	run(t, a)
	<-done
	if n := len(s.Requests()); n != 1 {
		t.Fatalf("%d heartbeats, want 1", n)
	}
	waitFor(t, func() bool { return a.Status().Heartbeat.Held })
	if h := a.Status().Heartbeat; h.LastSent.IsZero() || h.LastError != "" {
		t.Fatalf("%+v", h)
	}
}

func TestTest(t *testing.T) {
	s, w := alerttest.NewSlack(t), alerttest.NewWebhook(t)
	w.Answer(alerttest.Reply{Status: 302, Header: http.Header{"Location": {s.URL}}})
	smtp := alerttest.NewSMTP(t, false)
	c := emailConfig(t, smtp)
	c.Slack = &SlackConfig{WebhookFile: secretFile(t, s.Webhook), Filter: Filter{Kinds: []Kind{Loss}}}
	c.Webhook = &WebhookConfig{URL: w.URL}
	a := alerts(t, c, "")
	results := a.Test(t.Context())
	if len(results) != 3 || !results[0].OK || !results[1].OK || results[2].OK {
		t.Fatalf("%+v", results)
	}
	if !strings.Contains(results[1].Detail, "queued as 4TESTQUEUE") || results[0].Detail != "200 OK" {
		t.Fatalf("%+v", results)
	}
	if !strings.Contains(results[2].Error, "redirects are not followed") || len(s.Requests()) != 1 {
		t.Fatalf("%+v", results[2])
	}
}

// TestSecretsAreNeverShown walks the ways in which a channel can fail and looks for each secret in each thing that people or logs see.
func TestSecretsAreNeverShown(t *testing.T) {
	const hook, token, pass, sign, bearer, beat = "hooksecret0123456789", "xoxb-token-secret-1", "mail-password-7", "sign-secret-22", "bearer-secret-33", "heart-secret-44"
	secrets := []string{hook, token, pass, sign, bearer, beat, "T0000SECRET", base64.StdEncoding.EncodeToString([]byte("\x00relay\x00" + pass)), "X-Secret-Value"}
	json := http.Header{"Content-Type": {"application/json"}}
	ways := map[string]alerttest.Reply{
		"echo 500":  {Status: 500, Echo: true},
		"echo 400":  {Status: 400, Echo: true},
		"echo 404":  {Status: 404, Echo: true},
		"redirect":  {Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/" + hook}}},
		"api error": {Status: 200, Header: json, Body: `{"ok":false,"error":"` + token + `"}`},
		"not json":  {Status: 418, Header: json, Echo: true},
		"bad limit": {Status: 429, Header: http.Header{"Retry-After": {token}}, Echo: true},
	}
	check := func(t *testing.T, target, smarthost, ca string) {
		c := Config{
			Slack:        &SlackConfig{WebhookFile: secretFile(t, target+"/services/T0000SECRET/B0000SECRET/"+hook)},
			Webhook:      &WebhookConfig{URLFile: secretFile(t, target+"/x?key="+hook), SecretFile: secretFile(t, sign), TokenFile: secretFile(t, bearer), Headers: map[string]string{"X-S": "X-Secret-Value"}},
			Alertmanager: &AlertmanagerConfig{URLs: []string{strings.Replace(target, "//", "//u:"+pass+"@", 1)}, TokenFile: secretFile(t, bearer)},
			Email:        &EmailConfig{Smarthost: smarthost, From: "a@example.net", To: []string{"b@example.com"}, User: "relay", PasswordFile: secretFile(t, pass), CA: ca},
			Heartbeat:    &HeartbeatConfig{URLFile: secretFile(t, target+"/"+beat)},
		}
		bot := c
		bot.Slack = &SlackConfig{TokenFile: secretFile(t, token), Channel: "C1", API: target + "/api/"}
		for _, c := range []Config{c, bot} {
			a := alerts(t, c, "")
			var log bytes.Buffer
			a.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			a.Well = func() bool { return true }
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			results := a.Test(ctx)
			cancel()
			failed := 0
			for _, r := range results {
				if !r.OK {
					failed++
				}
			}
			if failed == 0 {
				t.Error("nothing failed")
			}
			stop := run(t, a)
			a.Notify(primaryDown())
			waitFor(t, func() bool {
				s := a.Status()
				for _, c := range s.Channels {
					if c.LastTry.IsZero() {
						return false
					}
				}
				return s.Heartbeat.LastError != "" || !s.Heartbeat.LastSent.IsZero()
			})
			stop()
			shown := fmt.Sprintf("%+v\n%+v\n%s", results, a.Status(), log.String())
			if h := a.Status().Heartbeat; h != nil {
				shown += h.LastError
			}
			for _, secret := range secrets {
				if strings.Contains(shown, secret) {
					t.Errorf("%q is shown in\n%s", secret, shown)
				}
			}
		}
	}
	for name, reply := range ways {
		t.Run(name, func(t *testing.T) {
			s := alerttest.NewWebhook(t)
			for range 200 {
				s.Answer(reply)
			}
			smtp := alerttest.NewSMTP(t, false)
			smtp.Reply = func(verb, line string) string {
				if verb == "AUTH" {
					return "535 5.7.8 " + line + " " + pass
				}
				return ""
			}
			check(t, s.URL, smtp.Addr, smtp.CA)
		})
	}
	t.Run("refused", func(t *testing.T) { check(t, "http://127.0.0.1:1", "127.0.0.1:1", "") })
	t.Run("no host", func(t *testing.T) { check(t, "http://127.0.0.1:99999", "127.0.0.1:1", "") })
}

func TestSecretsAreReadAgain(t *testing.T) {
	s := alerttest.NewWebhook(t)
	file := secretFile(t, s.URL+"/one-secret")
	a := alerts(t, Config{Webhook: &WebhookConfig{URLFile: file}}, "")
	a.Test(t.Context())
	if err := os.WriteFile(file, []byte(s.URL+"/two-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Test(t.Context())
	if r := s.Requests(); r[0].Path != "/one-secret" || r[1].Path != "/two-secret" {
		t.Fatal(r)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(file))
	c := Config{Webhook: &WebhookConfig{URLFile: "secret"}, Slack: &SlackConfig{WebhookFile: "other"}}
	c.Resolve("/etc/sparemx")
	if c.Webhook.URLFile != file || c.Slack.WebhookFile != "/etc/sparemx/other" {
		t.Fatal(c.Webhook.URLFile, c.Slack.WebhookFile)
	}
}
