// Package config turns a file, what Postfix says of itself, or nothing into one checked [Config].
//
// Keys are of one word where possible, values carry their unit ("30s", "20GB", "21d"). A key that is not known is an error with its
// line and the nearest key that is. Relative paths are relative to the directory of the file. Secrets are never in the file: it names
// the files they are in.
package config

import (
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sparemx/sparemx/alert"
)

// Duration is a length of time written with its unit: "2s", "15m", "21d".
type Duration = model.Duration

// Mode is what holds the mail.
type Mode string

const (
	Postfix Mode = "postfix" // the backup MX is Postfix; sparemx stands beside it
	Relay   Mode = "relay"   // sparemx is the backup MX
)

// Config is everything that can be set. Load and Detect return checked ones; its zero value is not runnable.
type Config struct {
	Mode     Mode              `yaml:"mode,omitempty"`
	Hostname string            `yaml:"hostname,omitempty"` // our name in EHLO; the host's name if empty
	State    string            `yaml:"state,omitempty"`    // directory for what must survive a restart
	Domains  map[string]Domain `yaml:"domains,omitempty"`
	Web      Web               `yaml:"web"`
	Control  string            `yaml:"control"` // path of the unix socket that the other commands speak to
	Probe    Probe             `yaml:"probe"`
	Postfix  PostfixHost       `yaml:"postfix"`
	Log      Log               `yaml:"log"`
	Queue    Queue             `yaml:"queue"`
	Drain    Drain             `yaml:"drain"`
	Outages  Outages           `yaml:"outages"`
	Metrics  Metrics           `yaml:"metrics"`
	Alert    alert.Config      `yaml:"alert"`

	path   string            // of the file, "" if there was none
	source map[string]string // dotted key -> where its value comes from
}

// Domain is one domain that this host is a backup for.
type Domain struct {
	Primary   Hops   `yaml:"primary,omitempty"`   // in the order to be tried
	Recipient string `yaml:"recipient,omitempty"` // asked for in a probe; postmaster@DOMAIN if empty
}

// Web is the read-only port: metrics, page, API.
type Web struct {
	Listen []string `yaml:"listen"` // addresses; ":19154"
	Config string   `yaml:"config,omitempty"`
}

// Probe is how primaries are asked whether they take mail.
type Probe struct {
	Every   Duration `yaml:"every"`             // while Up
	Retry   Duration `yaml:"retry"`             // after one Bad
	Down    Duration `yaml:"down"`              // while Down
	Fall    int      `yaml:"fall"`              // Bad in a row that make Down
	Rise    int      `yaml:"rise"`              // Good in a row that make Up again
	Timeout Duration `yaml:"timeout"`           // of one probe as a whole
	Control []string `yaml:"control,omitempty"` // host:port of others, to tell "they are down" from "we are cut off"
	Bind    string   `yaml:"bind,omitempty"`    // local address to connect from
}

// PostfixHost is the local Postfix.
type PostfixHost struct {
	Config []string `yaml:"config,omitempty"` // configuration directories; empty: the default instance and those it lists
}

// Log is where the mail log comes from.
type Log struct {
	Source []string `yaml:"source,omitempty"` // a file, "journal", "-"; empty: found from Postfix and the system
	Stall  Duration `yaml:"stall"`            // no line for so long while mail moves: the log is stalled
}

// Queue is how held mail is looked at.
type Queue struct {
	Every   Duration `yaml:"every"`
	Timeout Duration `yaml:"timeout"`
}

// Drain is how held mail is handed on when the primary is back.
type Drain struct {
	Pace   string   `yaml:"pace"`   // "window", "postfix" (a plain flush), "none" (Postfix's own timers)
	Window int      `yaml:"window"` // most messages under way
	Stuck  Duration `yaml:"stuck"`  // nothing moved for so long while the primary is Up: people are told
}

// Outages is what is kept of past outages.
type Outages struct {
	Keep int `yaml:"keep"` // reports
}

// Metrics is what /metrics shows.
type Metrics struct {
	Compat *bool `yaml:"compat"` // the postfix_* families of other exporters
}

// Default returns the configuration of somebody who set nothing.
func Default() *Config {
	compat := true
	sec := func(n int) Duration { return Duration(time.Duration(n) * time.Second) }
	return &Config{
		State:   "/var/lib/sparemx",
		Web:     Web{Listen: []string{":19154"}},
		Control: "/run/sparemx/sparemx.sock",
		Probe:   Probe{Every: sec(30), Retry: sec(2), Down: sec(2), Fall: 3, Rise: 2, Timeout: sec(15)},
		Log:     Log{Stall: sec(900)},
		Queue:   Queue{Every: sec(15), Timeout: sec(60)},
		Drain:   Drain{Pace: "window", Window: 20, Stuck: sec(600)},
		Outages: Outages{Keep: 100},
		Metrics: Metrics{Compat: &compat},
		source:  map[string]string{},
	}
}

// Path returns the file the configuration was read from, "" if there was none.
func (c *Config) Path() string { return c.path }

// StatePath returns the path of a file in the state directory.
func (c *Config) StatePath(elem ...string) string {
	return filepath.Join(append([]string{c.State}, elem...)...)
}

// Override sets a value from a flag that was given, and remembers which.
func (c *Config) Override(key, flag string, value *string, given string) {
	if given != "" {
		*value = given
		c.SetSource(key, flag)
	}
}

// SetSource remembers where the value of a dotted key comes from, for Print.
func (c *Config) SetSource(key, from string) { c.source[key] = from }
