package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sparemx/sparemx/probes"
)

// Check tells all that is wrong with the values, each with what to type. It looks at nothing but the values.
func (c *Config) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }

	switch c.Mode {
	case "", Postfix:
	case Relay:
		bad("mode: relay is not in this version: write mode: postfix")
	default:
		bad("mode: %q is not a mode: write postfix", c.Mode)
	}
	if c.Hostname != "" && !validHost(c.Hostname) {
		bad("hostname: %q is not a host name: write it like mx2.example.net", c.Hostname)
	}
	if c.State == "" {
		bad("state: a directory is needed for what must survive a restart: write state: /var/lib/sparemx")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Domains)) {
		d := c.Domains[name]
		if !validHost(name) {
			bad("domains: %q is not a domain", name)
		}
		if d.Recipient != "" && !strings.Contains(strings.Trim(d.Recipient, "@"), "@") {
			bad("domains.%s.recipient: %q is not an address: write user@%s", name, d.Recipient, name)
		}
	}
	for _, l := range c.Web.Listen {
		if _, _, err := net.SplitHostPort(l); err != nil {
			bad("web.listen: %q is not an address: write \":19154\" or \"127.0.0.1:19154\"", l)
		}
	}

	length := func(key string, d Duration, least, most time.Duration) {
		if t := time.Duration(d); t < least || t > most {
			bad("%s: %v is out of range: from %v to %v", key, d, Duration(least), Duration(most))
		}
	}
	count := func(key string, n, least, most int) {
		if n < least || n > most {
			bad("%s: %d is out of range: from %d to %d", key, n, least, most)
		}
	}
	const ms = time.Millisecond
	length("probe.every", c.Probe.Every, 100*ms, time.Hour)
	length("probe.retry", c.Probe.Retry, 100*ms, time.Hour)
	length("probe.down", c.Probe.Down, 100*ms, time.Hour)
	length("probe.timeout", c.Probe.Timeout, 100*ms, 10*time.Minute)
	count("probe.fall", c.Probe.Fall, 1, 100)
	count("probe.rise", c.Probe.Rise, 1, 100)
	length("queue.every", c.Queue.Every, 100*ms, 24*time.Hour)
	length("queue.timeout", c.Queue.Timeout, 100*ms, 24*time.Hour)
	length("drain.stuck", c.Drain.Stuck, time.Second, 24*time.Hour)
	count("drain.window", c.Drain.Window, 1, 1000)
	count("outages.keep", c.Outages.Keep, 1, 10_000)
	length("log.stall", c.Log.Stall, time.Second, 30*24*time.Hour)
	switch c.Drain.Pace {
	case "window", "postfix", "none":
	default:
		bad("drain.pace: %q is not a pace: write window (gentle), postfix (a plain flush) or none (Postfix's own timers)", c.Drain.Pace)
	}
	for _, t := range c.Probe.Control {
		if _, _, err := net.SplitHostPort(t); err != nil {
			bad("probe.control: %q: write host:port", t)
		}
	}
	if b := c.Probe.Bind; b != "" {
		if _, err := netip.ParseAddr(b); err != nil {
			bad("probe.bind: %q is not an address of this host", b)
		}
	}
	if err := c.Alert.Check(slices.Sorted(maps.Keys(c.Domains)), c.primaryHosts()...); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Config) primaryHosts() []string {
	var hosts []string
	for _, d := range c.Domains {
		for _, h := range d.Primary {
			hosts = append(hosts, h.Host)
		}
	}
	return hosts
}

// Primaries groups the domains by their next hops: domains with the same ones share a primary. A domain without a next hop
// is left out; Missing tells those.
func (c *Config) Primaries() []probes.Primary {
	var out []probes.Primary
	index := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(c.Domains)) {
		d := c.Domains[name]
		if len(d.Primary) == 0 {
			continue
		}
		key := ""
		for _, h := range d.Primary {
			key += HopString(h) + " "
		}
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, probes.Primary{Name: HopString(d.Primary[0]), NextHops: d.Primary})
		}
		out[i].Domains = append(out[i].Domains, name)
		if out[i].Recipient == "" {
			out[i].Recipient = d.Recipient
		}
	}
	return unique(out)
}

// unique gives primaries that begin with the same next hop different names.
func unique(list []probes.Primary) []probes.Primary {
	count := map[string]int{}
	for i := range list {
		name := list[i].Name
		if count[name]++; count[name] > 1 {
			list[i].Name = fmt.Sprintf("%s#%d", name, count[name])
		}
	}
	return list
}

// Missing returns the domains for which no next hop is known.
func (c *Config) Missing() []string {
	var names []string
	for name, d := range c.Domains {
		if len(d.Primary) == 0 {
			names = append(names, name)
		}
	}
	return sorted(names)
}
