package alert

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Duration is a length of time written with its unit: "30s", "4h", "21d".
type Duration = model.Duration

const defaultRepeat = 4 * time.Hour

// Config is the section "alert" of the configuration. Its zero value tells nobody.
type Config struct {
	Slack        *SlackConfig        `yaml:"slack,omitempty"`
	Email        *EmailConfig        `yaml:"email,omitempty"`
	Webhook      *WebhookConfig      `yaml:"webhook,omitempty"`
	Alertmanager *AlertmanagerConfig `yaml:"alertmanager,omitempty"`
	Heartbeat    *HeartbeatConfig    `yaml:"heartbeat,omitempty"`
	Repeat       *Duration           `yaml:"repeat,omitempty"`    // an open critical incident is told again after so long; nil: 4h, 0: never
	Addresses    string              `yaml:"addresses,omitempty"` // "short" (the default) or "full"
	Proxy        string              `yaml:"proxy,omitempty"`     // URL of an HTTP proxy; empty: as the environment says
}

// Filter chooses what a channel is told. Its zero value chooses everything.
type Filter struct {
	Kinds    []Kind   `yaml:"kinds,omitempty,flow"` // only incidents of these kinds; "recovered" comes with "primary_down"
	Severity Severity `yaml:"severity,omitempty"`   // only incidents at least so severe
}

// SlackConfig tells a Slack channel, by an incoming webhook or by a bot. A bot keeps one message an incident and updates it.
type SlackConfig struct {
	WebhookFile string `yaml:"webhook_file,omitempty"` // holds the URL of an incoming webhook
	TokenFile   string `yaml:"token_file,omitempty"`   // holds a bot token (xoxb-...) with the scope chat:write
	Channel     string `yaml:"channel,omitempty"`      // with token_file: the channel's ID, or #name
	API         string `yaml:"api,omitempty"`          // with token_file: base URL of the Web API; https://slack.com/api/ if empty
	Filter      `yaml:",inline"`
}

// EmailConfig sends mail over a smarthost. The local sendmail is never used: in an outage its queue is what the alert is about.
type EmailConfig struct {
	Smarthost    string   `yaml:"smarthost"` // host:port
	From         string   `yaml:"from"`
	To           []string `yaml:"to,flow"`
	User         string   `yaml:"user,omitempty"`
	PasswordFile string   `yaml:"password_file,omitempty"`
	TLS          string   `yaml:"tls,omitempty"` // "starttls" (the default, required), "tls" (from the first byte), "none"
	CA           string   `yaml:"ca,omitempty"`  // PEM file with the authorities to trust; empty: the system's
	Filter       `yaml:",inline"`
}

// WebhookConfig posts JSON to a URL. See [Payload].
type WebhookConfig struct {
	URL        string            `yaml:"url,omitempty"`
	URLFile    string            `yaml:"url_file,omitempty"`    // instead of url, if the URL is a secret
	SecretFile string            `yaml:"secret_file,omitempty"` // signs the body; see SignatureHeader
	TokenFile  string            `yaml:"token_file,omitempty"`  // sent as "Authorization: Bearer ..."
	Headers    map[string]string `yaml:"headers,omitempty"`
	Filter     `yaml:",inline"`
}

// AlertmanagerConfig posts to the API v2 of one Alertmanager or of each member of a cluster.
type AlertmanagerConfig struct {
	URLs         []string `yaml:"urls,flow"` // base URLs: http://alertmanager.example.net:9093
	User         string   `yaml:"user,omitempty"`
	PasswordFile string   `yaml:"password_file,omitempty"`
	TokenFile    string   `yaml:"token_file,omitempty"`
	Filter       `yaml:",inline"`
}

// HeartbeatConfig is a dead man's switch: a URL that is asked for as long as the agent is well. Who is not asked any more raises the alarm.
type HeartbeatConfig struct {
	URL     string   `yaml:"url,omitempty"`
	URLFile string   `yaml:"url_file,omitempty"`
	Every   Duration `yaml:"every,omitempty"`  // 1m if 0
	Method  string   `yaml:"method,omitempty"` // GET (the default) or POST
}

// Enabled tells whether anybody would be told: whether there is at least one channel.
func (c *Config) Enabled() bool {
	return c.Slack != nil || c.Email != nil || c.Webhook != nil || c.Alertmanager != nil
}

func (c *Config) repeat() time.Duration {
	if c.Repeat == nil {
		return defaultRepeat
	}
	return time.Duration(*c.Repeat)
}

// files are all paths of the section.
func (c *Config) files() []*string {
	var files []*string
	if s := c.Slack; s != nil {
		files = append(files, &s.WebhookFile, &s.TokenFile)
	}
	if e := c.Email; e != nil {
		files = append(files, &e.PasswordFile, &e.CA)
	}
	if w := c.Webhook; w != nil {
		files = append(files, &w.URLFile, &w.SecretFile, &w.TokenFile)
	}
	if a := c.Alertmanager; a != nil {
		files = append(files, &a.PasswordFile, &a.TokenFile)
	}
	if h := c.Heartbeat; h != nil {
		files = append(files, &h.URLFile)
	}
	return files
}

// Resolve makes relative paths relative to dir. A name without a slash that is a systemd credential (a file in
// $CREDENTIALS_DIRECTORY) becomes the path of the credential.
func (c *Config) Resolve(dir string) {
	for _, f := range c.files() {
		if *f == "" || filepath.IsAbs(*f) {
			continue
		}
		if p := credential(*f); p != "" {
			*f = p
			continue
		}
		*f = filepath.Join(dir, *f)
	}
}

// Check tells what is wrong with the section, all of it, each with its key and what to type. backedUp are the domains this host is a backup for,
// primaries the host names or addresses of their next hops: mail to the one or over the other would wait in the queue that it tells about.
// No file is read.
func (c *Config) Check(backedUp []string, primaries ...string) error {
	var errs []error
	say := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("alert."+key+": "+format, args...))
	}
	switch c.Addresses {
	case "", "short", "full":
	default:
		say("addresses", "%q is not known: write short or full", c.Addresses)
	}
	if c.Proxy != "" {
		if u, err := url.Parse(c.Proxy); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
			say("proxy", "this is not the URL of a proxy: write http://host:port")
		}
	}
	if c.Repeat != nil && *c.Repeat != 0 && time.Duration(*c.Repeat) < time.Minute {
		say("repeat", "%s is too often: write 1m or more, or 0s for never", c.Repeat)
	}
	if c.Slack != nil {
		c.Slack.check(say)
	}
	if c.Email != nil {
		c.Email.check(say, backedUp, primaries)
	}
	if c.Webhook != nil {
		c.Webhook.check(say)
	}
	if c.Alertmanager != nil {
		c.Alertmanager.check(say)
	}
	if c.Heartbeat != nil {
		c.Heartbeat.check(say)
	}
	return errors.Join(errs...)
}

type say func(key, format string, args ...any)

func (f *Filter) check(say say, section string) {
	for _, k := range f.Kinds {
		if !slices.Contains(Kinds(), k) {
			var names []string
			for _, k := range Kinds() {
				names = append(names, string(k))
			}
			say(section+".kinds", "%q is not a kind: write some of %s", Clean(string(k), 40), strings.Join(names, ", "))
		}
	}
}

func (s *SlackConfig) check(say say) {
	s.Filter.check(say, "slack")
	switch {
	case s.WebhookFile == "" && s.TokenFile == "":
		say("slack", "write webhook_file: FILE (it holds the URL of an incoming webhook), or token_file: FILE and channel: ID")
	case s.WebhookFile != "" && s.TokenFile != "":
		say("slack", "webhook_file and token_file exclude each other: a bot token needs no webhook; remove one")
	case s.TokenFile != "" && s.Channel == "":
		say("slack.channel", "token_file needs a channel: write its ID (C0123456789) or #name")
	case s.WebhookFile != "" && s.Channel != "":
		say("slack.channel", "an incoming webhook posts to the channel it was made for: remove channel, or use token_file")
	}
	if s.API != "" {
		if err := checkURL(s.API, true); err != nil {
			say("slack.api", "%v", err)
		}
	}
}

func (e *EmailConfig) check(say say, backedUp, primaries []string) {
	e.Filter.check(say, "email")
	host, port, err := net.SplitHostPort(e.Smarthost)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		say("email.smarthost", "%q is not host:port: write smtp.example.net:587", Clean(e.Smarthost, 80))
	} else {
		for _, p := range primaries {
			if h, _, err := net.SplitHostPort(p); err == nil {
				p = h
			}
			if sameHost(host, p) {
				say("email.smarthost", "%s is a primary that this host backs up: when it is down the alert could not be sent; use another host", host)
				break
			}
		}
	}
	if _, err := address(e.From); err != nil {
		say("email.from", "%v", err)
	}
	if len(e.To) == 0 {
		say("email.to", "nobody to write to: write to: [ops@example.net]")
	}
	for _, to := range e.To {
		addr, err := address(to)
		if err != nil {
			say("email.to", "%v", err)
			continue
		}
		if d := within(addr[strings.LastIndexByte(addr, '@')+1:], backedUp); d != "" {
			say("email.to", "%s is in a domain this host backs up (%s): in an outage the alert would wait in the queue it tells about; use an address elsewhere", addr, d)
		}
	}
	switch e.TLS {
	case "", "starttls", "tls":
	case "none":
		if e.User != "" && !loopback(host) {
			say("email.tls", "none would send the password in clear to %s: write starttls or tls", Clean(host, 80))
		}
	default:
		say("email.tls", "%q is not known: write starttls, tls or none", Clean(e.TLS, 40))
	}
	if (e.User == "") != (e.PasswordFile == "") {
		say("email", "user and password_file belong together: write both or neither")
	}
}

func (w *WebhookConfig) check(say say) {
	w.Filter.check(say, "webhook")
	checkEither(say, "webhook", w.URL, w.URLFile)
	for name, value := range w.Headers {
		if !validHeaderName(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			say("webhook.headers", "%q is not a header of HTTP: write Name: value, on one line", Clean(name, 60))
		}
	}
	if w.TokenFile != "" && strings.HasPrefix(w.URL, "http://") && !loopbackURL(w.URL) {
		say("webhook.token_file", "http would send the token in clear: write an https URL")
	}
}

func (a *AlertmanagerConfig) check(say say) {
	a.Filter.check(say, "alertmanager")
	if len(a.URLs) == 0 {
		say("alertmanager.urls", "nowhere to send to: write urls: [\"http://alertmanager.example.net:9093\"]")
	}
	for _, u := range a.URLs {
		if err := checkURL(u, false); err != nil {
			say("alertmanager.urls", "%v", err)
		}
	}
	if (a.User == "") != (a.PasswordFile == "") {
		say("alertmanager", "user and password_file belong together: write both or neither")
	}
	if a.User != "" && a.TokenFile != "" {
		say("alertmanager", "user and token_file exclude each other: remove one")
	}
}

func (h *HeartbeatConfig) check(say say) {
	checkEither(say, "heartbeat", h.URL, h.URLFile)
	if h.Every != 0 && time.Duration(h.Every) < time.Second {
		say("heartbeat.every", "%s is too often: write 1s or more", h.Every)
	}
	switch h.Method {
	case "", "GET", "POST":
	default:
		say("heartbeat.method", "%q is not known: write GET or POST", Clean(h.Method, 20))
	}
}

func checkEither(say say, section, u, file string) {
	switch {
	case u == "" && file == "":
		say(section, "write url: https://..., or url_file: FILE if the URL is a secret")
	case u != "" && file != "":
		say(section, "url and url_file exclude each other: remove one")
	case u != "":
		if err := checkURL(u, false); err != nil {
			say(section+".url", "%v", err)
		}
	}
}

// checkURL never quotes the URL: it may be a secret.
func checkURL(s string, clear bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("this is not a URL: write https://host/path")
	}
	if clear && u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("http would send the secret in clear to %s: write an https URL", Clean(u.Hostname(), 80))
	}
	return nil
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && loopback(u.Hostname())
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func address(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || strings.ContainsAny(a.Address, "\r\n\x00") || !strings.Contains(a.Address, "@") {
		return "", fmt.Errorf("%q is not an address: write one like ops@example.net", Clean(s, 80))
	}
	return a.Address, nil
}

// within returns the backed-up domain that d is or lies below, "" if none.
func within(d string, backedUp []string) string {
	d = hostKey(d)
	for _, b := range backedUp {
		if b := hostKey(b); b != "" && (d == b || strings.HasSuffix(d, "."+b)) {
			return b
		}
	}
	return ""
}

func sameHost(a, b string) bool { return hostKey(a) == hostKey(b) }

func hostKey(h string) string {
	h = strings.ToLower(strings.TrimSuffix(strings.Trim(h, "[] "), "."))
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Unmap().String()
	}
	return h
}

func validHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

func (h *HeartbeatConfig) every() time.Duration {
	return time.Duration(cmp.Or(h.Every, Duration(time.Minute)))
}
