package postfix

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of what is asked of postconf and postmap.
const (
	askLimit  = 15 * time.Second
	maxOutput = 8 << 20
)

// Config is the configuration of one instance as its daemons would read it now. It does not change; load a new one.
type Config struct {
	Instance Instance

	run      Runner
	raw      map[string]string // as written or by default, not expanded
	expanded map[string]string // nil before Postfix 2.10
	explicit map[string]bool
	services []Service
	known    answers // nil but in a copy that is good for one run of BackedUp
}

// Load asks postconf for the whole configuration of an instance, in five processes of some 10 ms. run nil: [Run].
func Load(ctx context.Context, run Runner, inst Instance) (*Config, error) {
	if run == nil {
		run = Run
	}
	c := &Config{Instance: inst, run: run}
	ask := func(args ...string) (string, error) {
		argv := append([]string{inst.command("postconf"), "-c", inst.ConfigDir}, args...)
		return output(ctx, run, askLimit, maxOutput, "", argv...)
	}
	text, err := ask()
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", inst.ConfigDir, err)
	}
	c.raw = parseParameters(text)
	if text, err = ask("-n"); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", inst.ConfigDir, err)
	}
	c.explicit = map[string]bool{}
	for name := range parseParameters(text) {
		c.explicit[name] = true
	}
	if text, err = ask("-x"); err == nil {
		c.expanded = parseParameters(text)
	} else if !isUsage(err) {
		return nil, fmt.Errorf("configuration of %s: %w", inst.ConfigDir, err)
	}
	if text, err = ask("-M"); err != nil {
		return nil, fmt.Errorf("services of %s: %w", inst.ConfigDir, err)
	}
	c.services = parseServices(text)
	if text, err = ask("-P"); err == nil {
		mergeOverrides(c.services, text)
	} else if !isUsage(err) {
		return nil, fmt.Errorf("services of %s: %w", inst.ConfigDir, err)
	}
	c.Instance.fill(c)
	return c, nil
}

// isUsage tells whether a postconf does not know the option it was given: it exits 1 with "usage:" or "invalid option".
func isUsage(err error) bool {
	var e *ExitError
	return errors.As(err, &e) && (strings.Contains(e.Stderr, "usage:") || strings.Contains(e.Stderr, "invalid option") || strings.Contains(e.Stderr, "unrecognized option"))
}

// parseParameters reads "name = value" lines. A line that begins with blank continues the one before it ("-f").
func parseParameters(text string) map[string]string {
	m := make(map[string]string, strings.Count(text, "\n"))
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			if last != "" {
				m[last] = strings.TrimSpace(m[last] + " " + strings.TrimSpace(line))
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			last = ""
			continue
		}
		m[name], last = strings.TrimSpace(value), name
	}
	return m
}

// Get returns the effective, expanded value of a main.cf parameter, "" when there is none.
func (c *Config) Get(name string) string {
	if v, ok := c.expanded[name]; ok {
		return v
	}
	return expand(c.raw[name], c.rawValue)
}

// Raw returns a parameter as main.cf or the default says it, with its $names.
func (c *Config) Raw(name string) string { return c.raw[name] }

// Known tells whether this Postfix has such a parameter.
func (c *Config) Known(name string) bool { _, ok := c.raw[name]; return ok }

// Explicit tells whether main.cf sets the parameter.
func (c *Config) Explicit(name string) bool { return c.explicit[name] }

// Version is the instance's mail_version.
func (c *Config) Version() Version { return c.Instance.Version }

func (c *Config) rawValue(name string) string { return c.raw[name] }

// For returns the effective value of a parameter in one service of master.cf:
// For("smtp", "inet", "smtpd_relay_restrictions"). Parameters that refer to one the service overrides with "-o" follow it.
// For a service that does not exist it is what Get returns.
func (c *Config) For(service, kind, name string) string {
	s, ok := c.Service(service, kind)
	if !ok || len(s.Overrides) == 0 {
		return c.Get(name)
	}
	look := func(n string) string {
		if v, ok := s.Overrides[n]; ok {
			return v
		}
		if n == "service_name" && c.Instance.Version.AtLeast(3, 0) {
			return s.Name // global/mail_params.c: set by each daemon
		}
		return c.raw[n]
	}
	return expand(look(name), look)
}

// Bool reads a yes/no value.
func (c *Config) Bool(name string) bool { return strings.EqualFold(c.Get(name), "yes") }

// Duration reads a time value: "5d", "300s", "1h"; unit is of a bare number and depends on the parameter (postconf(5)).
func (c *Config) Duration(name string, unit time.Duration) (time.Duration, error) {
	d, err := parseDuration(c.Get(name), unit)
	if err != nil {
		return 0, fmt.Errorf("%s = %s: %w: postconf -e '%s = TIME'", name, c.Get(name), err, name)
	}
	return d, nil
}

// parseDuration reads a time as global/conv_time.c does: digits and one of s m h d w.
func parseDuration(s string, unit time.Duration) (time.Duration, error) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("not a time")
	}
	switch s[i:] {
	case "":
	case "s", "S":
		unit = time.Second
	case "m", "M":
		unit = time.Minute
	case "h", "H":
		unit = time.Hour
	case "d", "D":
		unit = 24 * time.Hour
	case "w", "W":
		unit = 7 * 24 * time.Hour
	default:
		return 0, fmt.Errorf("not a time")
	}
	if n > int64((1<<63-1)/unit) {
		return 0, fmt.Errorf("time too long")
	}
	return time.Duration(n) * unit, nil
}

// table says where a table's name is looked for by postmap when it is relative: the configuration directory.
func (c *Config) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Instance.ConfigDir, p)
}
