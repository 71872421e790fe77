package alert

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestCheckSaysWhatToType(t *testing.T) {
	backedUp := []string{"Example.org", "example.net."}
	for _, c := range []struct{ yaml, want string }{
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: [ops@example.org]}`, "alert.email.to: ops@example.org is in a domain this host backs up (example.org): in an outage the alert would wait in the queue it tells about; use an address elsewhere"},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: ["Ops <ops@lists.EXAMPLE.net>"]}`, "alert.email.to: ops@lists.EXAMPLE.net is in a domain this host backs up"},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: ["ops@notexample.org"]}`, ""},
		{`email: {smarthost: "MX1.example.org.:25", from: a@x.test, to: [b@x.test]}`, "alert.email.smarthost: MX1.example.org. is a primary"},
		{`email: {smarthost: "192.0.2.25:25", from: a@x.test, to: [b@x.test]}`, "alert.email.smarthost: 192.0.2.25 is a primary"},
		{`email: {smarthost: "smtp.example.com", from: a@x.test, to: [b@x.test]}`, `"smtp.example.com" is not host:port: write smtp.example.net:587`},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: []}`, "alert.email.to: nobody to write to"},
		{`email: {smarthost: "smtp.example.com:587", from: "a@x.test\r\nBcc: b@x.test", to: [b@x.test]}`, "alert.email.from"},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: [b@x.test], tls: none, user: u, password_file: f}`, "in clear"},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: [b@x.test], tls: maybe}`, "write starttls, tls or none"},
		{`email: {smarthost: "smtp.example.com:587", from: a@x.test, to: [b@x.test], user: u}`, "user and password_file belong together"},
		{`slack: {}`, "write webhook_file: FILE"},
		{`slack: {token_file: a}`, "alert.slack.channel: token_file needs a channel"},
		{`slack: {webhook_file: a, token_file: b, channel: c}`, "remove one"},
		{`slack: {token_file: a, channel: c, api: "http://slack.example.com/api/"}`, "in clear"},
		{`slack: {webhook_file: a, kinds: [primary_up]}`, `alert.slack.kinds: "primary_up" is not a kind: write some of primary_down`},
		{`webhook: {}`, "alert.webhook: write url"},
		{`webhook: {url: "ftp://secret-in-url"}`, "alert.webhook.url: this is not a URL: write https://host/path"},
		{`webhook: {url: "https://h/p", headers: {"X Y": z}}`, "alert.webhook.headers"},
		{`alertmanager: {urls: []}`, "alert.alertmanager.urls: nowhere to send to"},
		{`heartbeat: {url: "https://h/p", every: 10ms}`, "alert.heartbeat.every"},
		{`addresses: none`, "write short or full"},
		{`repeat: 1s`, "write 1m or more, or 0s for never"},
		{`repeat: 0s`, ""},
		{`slack: {webhook_file: /a, severity: warning, kinds: [primary_down, loss]}`, ""},
	} {
		var cfg Config
		if err := yaml.Unmarshal([]byte(c.yaml), &cfg); err != nil {
			t.Fatalf("%s: %v", c.yaml, err)
		}
		err := cfg.Check(backedUp, "mx1.example.org", "192.0.2.25:2525")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.yaml, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %q", c.yaml, err, c.want)
		case err != nil && strings.Contains(err.Error(), "secret-in-url"):
			t.Errorf("%v quotes a URL", err)
		}
	}
}

func TestConfigKeys(t *testing.T) {
	const text = `slack:
    token_file: /etc/sparemx/slack
    channel: C0123
    severity: warning
repeat: 8h
`
	var c Config
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if c.Slack.Severity != Warning || c.repeat().Hours() != 8 {
		t.Fatalf("%+v", c)
	}
	if err := yaml.Unmarshal([]byte("slack: {severity: loud}"), &c); err == nil || !strings.Contains(err.Error(), "write info, warning or critical") {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(c)
	if err != nil || strings.Contains(string(out), "email") {
		t.Fatal(string(out), err)
	}
}
